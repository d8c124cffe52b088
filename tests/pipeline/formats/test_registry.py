"""All formats together: their keys, their help, and what importing them takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.export import ExportArguments, door
from pipeline.formats.registry import FORMATS, load

EXTRAS = ("datasets", "rerun", "webdataset", "torch", "ray", "polars", "fiftyone", "datumaro")


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
def test_keys_of_a_format_are_its_own_and_stand_in_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = load(name).options.model_fields
    assert not own.keys() & ExportArguments.model_fields.keys()
    assert all(field.description and not field.is_required() for field in own.values())
    assert door(["--help", f"format={name}"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {key}=" in shown for key in own)


def test_the_last_format_counts_as_of_other_keys(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["output=nowhere", "to=nowhere", "format=coco", "variant=result", "format=youtube_vis"]
    assert door(words) == 2
    assert "variant=result: allowed are gt, results" in capsys.readouterr().err


def test_help_lists_every_format_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert door(["--help"]) == 0
    shown = capsys.readouterr().out
    for one in FORMATS:
        assert f"  {one.name} " in shown
        assert one.summary in shown
        assert all(f"  {key}=" in shown for key in load(one.name).options.model_fields)


@pytest.mark.slow
def test_all_formats_are_known_without_the_packages_of_their_consumers() -> None:
    code = (
        "import sys; from pipeline.export import door; door(['--help']); "
        f"print('imported:', [name for name in {EXTRAS} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "imported: []"
