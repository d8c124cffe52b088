"""One small finished job for all formats, and the command that exports it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline.export import door
from pipeline.video.encode import encode_mp4
from tests.support.drawn_job import FPS, HEIGHT, USUAL, WIDTH, DrawnVideo, Truth, write_job
from tests.support.media_files import encode, pictures


class DrawnJob(NamedTuple):
    uri: str
    truth: Truth


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnJob:
    return DrawnJob(*write_job(tmp_path_factory.mktemp("drawn")))


@pytest.fixture
def export(drawn: DrawnJob, tmp_path: Path) -> Callable[..., Path]:
    """Export the drawn job into a new folder: `export("coco", "min_area=5")`."""

    return _exporting(drawn, tmp_path)


def _exporting(job: DrawnJob, folder: Path) -> Callable[..., Path]:
    def run(format_name: str, *words: str, to: str = "export") -> Path:
        code = door([f"output={job.uri}", f"format={format_name}", f"to={folder / to}", *words])
        assert code == 0
        return folder / to

    return run


FILMED = DrawnVideo("clip-1", {7: "cat", 3: "dog"}, num_frames=5, stride=2)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> DrawnJob:
    """The drawn job again, of MP4 files whose frames are those of `pictures`."""
    folder = tmp_path_factory.mktemp("films")
    videos = []
    for number, video in enumerate(USUAL):
        path = folder / f"film {number}.mp4"
        path.write_bytes(encode(pictures(video.frames[-1] + 1), rate=round(FPS)))
        videos.append(replace(video, uri=str(path)))
    return DrawnJob(*write_job(folder, tuple(videos)))


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> DrawnJob:
    """A job of one video whose file is there: gray frames, each as bright as its number says."""
    folder = tmp_path_factory.mktemp("filmed")
    frames = [np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8) for number in range(FILMED.frames[-1] + 1)]
    (folder / "clip.mp4").write_bytes(encode_mp4(frames, int(FPS)))
    return DrawnJob(*write_job(folder, (replace(FILMED, uri=str(folder / "clip.mp4")),), broken=()))


@pytest.fixture
def export_filmed(filmed: DrawnJob, tmp_path: Path) -> Callable[..., Path]:
    """Export the job whose video has its file."""
    return _exporting(filmed, tmp_path)
