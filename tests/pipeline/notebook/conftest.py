"""One small finished job for all that people look at: drawn masks, and MP4 files whose frames differ in brightness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline import tables
from pipeline.video.encode import encode_mp4
from tests.support.drawn_job import FPS, HEIGHT, USUAL, WIDTH, Truth, write_job


class Filmed(NamedTuple):
    """A job's URI, its true masks, the folder of its videos, and their frames as any decoder gives them."""

    uri: str
    truth: Truth
    folder: Path
    paths: dict[str, Path]


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    folder = tmp_path_factory.mktemp("filmed")
    (folder / "in").mkdir()
    videos, paths = [], {}
    for number, video in enumerate(USUAL):
        paths[video.video_id] = path = folder / "in" / f"film {number}.mp4"
        path.write_bytes(encode_mp4([gray(frame) for frame in range(video.frames[-1] + 1)], round(FPS)))
        videos.append(replace(video, uri=str(path)))
    uri, truth = write_job(folder, tuple(videos))
    return Filmed(uri, truth, folder, paths)


def gray(frame: int) -> np.ndarray:
    """A frame that tells its number."""
    return np.full((HEIGHT, WIDTH, 3), 20 + 10 * frame, np.uint8)


@pytest.fixture
def job(filmed: Filmed) -> tables.JobTables:
    return tables.open(filmed.uri)
