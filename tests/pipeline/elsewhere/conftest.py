"""A drawn job that went out to be reviewed: exported once, and given to each test as its own copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.export import door as export_door
from pipeline.prompts import door as prompts_door
from pipeline.reviews.corrections import read_rows
from pipeline.reviews.files import Listed
from pipeline.reviews.verdicts import read_verdict_files
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, Truth, write_job

VIDEOS = (DrawnVideo("clip-1", {7: "cat", 3: "dog"}), DrawnVideo("b/odd name.mp4", {0: "cat"}, num_frames=4))
FORMATS = ("cvat_video", "cvat_images", "label_studio")


@dataclass(frozen=True)
class Out:
    """A job that went out, and the folders of its exports. `truth` are the masks of its rows."""

    folder: Path
    truth: Truth

    @property
    def uri(self) -> str:
        return str(self.folder / "job")

    @property
    def storage(self) -> JobStorage:
        return JobStorage(self.uri)

    def take_in(self, file: Path, format_name: str, *words: str, reviewer: str = "ann") -> int:
        """The command that takes a file in."""
        said = [f"from={file}", f"format={format_name}", f"to_review={self.uri}", *words]
        return prompts_door([*said, *([f"reviewer={reviewer}"] if reviewer else [])])

    def corrections(self) -> list[dict[str, Any]]:
        """All rows, the older ones first."""
        rows = [row for _, row in read_rows(self.storage, Listed(self.storage).paths())]
        return sorted(rows, key=lambda row: (row["reviewed_at"], row["object_id"], row["frame_index"]))

    def verdicts(self) -> list[dict[str, Any]]:
        """All rows, the older ones first."""
        rows = [row for _, of_file in read_verdict_files(self.storage) for row in of_file]
        return sorted(rows, key=lambda row: (row["reviewed_at"], row["video_id"], row["object_id"]))

    def said(self) -> dict[tuple[str, int], str]:
        """The newest verdict on each track."""
        return {(row["video_id"], row["object_id"]): row["verdict"] for row in self.verdicts()}

    def files(self) -> set[str]:
        """What lies below `reviews/`."""
        return {path.name for path in (self.folder / "job" / "reviews").iterdir()}


@pytest.fixture(scope="session")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> Out:
    """All tracks of two videos, in each format."""
    folder = tmp_path_factory.mktemp("out")
    uri, truth = write_job(folder, VIDEOS, broken=())
    for name in FORMATS:
        assert export_door([f"output={uri}", f"format={name}", f"to={folder / name}", "review=true"]) == 0
    return Out(folder, truth)


@pytest.fixture
def out(handed_out: Out, tmp_path: Path) -> Out:
    """A copy for one test."""
    shutil.copytree(handed_out.folder, tmp_path / "out")
    return Out(tmp_path / "out", handed_out.truth)
