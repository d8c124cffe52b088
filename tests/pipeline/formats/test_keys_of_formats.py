"""A key that would change nothing of an export is refused, with what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sa_v", "variant=png", "kind=auto"], "kind= is for variant=json: leave it out, or give that variant"),
        (["sa_v", "variant=png", "unlabeled=unknown"], "unlabeled= is for variant=json"),
        (["sa_v", "variant=png", "fps_key=true"], "fps_key= is for variant=json"),
        (["sa_v", "object_numbers=id"], "object_numbers= is for variant=png"),
        (["mots", "role=results"], "role=results is for texts: give variant=kitti or variant=mots_challenge too"),
        (["label_studio", "image_prefix=/data/"], "image_prefix= is for images: give variant=images too"),
    ],
    ids=str,
)
def test_a_key_of_the_other_variant_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert door([f"output={tmp_path}", f"to={tmp_path / 'to'}", f"format={words[0]}", *words[1:]]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fiftyone", "lerobot", "label_studio"])
def test_images_are_refused_where_a_format_has_none(
    name: str, filmed: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"output={filmed.uri}", f"to={tmp_path / 'to'}", f"format={name}", "frames=jpg"]
    assert door(arguments) == 2
    assert "frames=jpg: programs that read" in capsys.readouterr().err
