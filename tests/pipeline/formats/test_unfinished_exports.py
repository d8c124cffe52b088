"""An export that was killed is no labels: some are missing, and nothing tells yet what its names and numbers mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.formats.engine import ExportJob, export
from pipeline.formats.folder import ExportFolder
from pipeline.formats.labels import read_labels
from pipeline.formats.registry import load
from pipeline.formats.selection import Content, Selection
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.dying_storage import Died
from tests.support.quick_storage import QuickStorage

pytestmark = pytest.mark.slow


class DyingWhenJoined(QuickStorage):
    """Its process dies when all parts are there, and nothing yet that says what the numbers in them mean."""

    def adopt(self, local: Path, path: str) -> None:
        if path.startswith("manifest"):
            raise Died
        super().adopt(local, path)


@pytest.mark.parametrize(
    ("format_name", "part"),
    [
        ("coco", ""),
        ("cvat_video", "train/c/annotations.xml"),
        ("davis", ""),
        ("davis", "Annotations/480p"),
        ("hf_datasets", "data/masks"),
        ("mots", "train"),
        ("yolo_seg", "labels"),
    ],
)
def test_what_a_killed_export_has_left_is_not_read_as_labels(
    drawn: DrawnJob, tmp_path: Path, format_name: str, part: str
) -> None:
    made = load(format_name)
    folder = ExportFolder(DyingWhenJoined(str(tmp_path / "to")), None)
    job = ExportJob(drawn.uri, {}, made.make(made.options()), Selection(), Content(), folder)
    with pytest.raises(Died):
        export(job, 8, False)
    for name in (format_name, "auto"):
        with pytest.raises(
            InputError, match=r"is of an export that is not whole, .* run the same pipeline\.export again"
        ):
            list(read_labels(str(tmp_path / "to" / part), name))
