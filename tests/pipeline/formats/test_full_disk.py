"""A disk that is full while an export is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.command import ExitCode
from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.full_disk import FULL, full_disk


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["coco", "cvat_video", "cvat_images", "label_studio", "hf_datasets", "webdataset", "fiftyone"]
)
def test_an_export_ends_with_one_line_and_goes_on_when_there_is_room(
    name: str, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"output={drawn.uri}", f"format={name}", f"to={tmp_path / 'x'}"]
    with full_disk(room_bytes=1500):
        assert door(words) == ExitCode.ENVIRONMENT
    said = capsys.readouterr().err
    assert FULL in said
    assert "Make room" in said
    left = [path for path in (tmp_path / "x").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["export.json"], "nothing half written is left"
    assert door(words) == ExitCode.DONE
