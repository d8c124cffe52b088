"""What the chaos tests share: drawn clips as a job's input, and the tables of an undisturbed run of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clips import moving_clip, write_job_inputs
from tests.faults.jobs import Tables, read_tables, run
from tests.pipeline.s3_server import S3Server, s3_server

__all__ = ["S3Server", "s3_server"]


@dataclass(frozen=True)
class Inputs:
    """A job's input and what must come out of it."""

    folder: Path
    videos: str
    prompts: str
    num_videos: int
    expected: Tables

    def arguments(self, output: object, *more: str) -> list[str]:
        """The command's arguments for an output."""
        return ["conf=label", f"videos={self.videos}", f"prompts={self.prompts}", f"output={output}", *more]


def make_inputs(folder: Path, num_videos: int, num_frames: int) -> Inputs:
    """Clips of one or two objects, and the tables of a run in one process."""
    clips = [
        moving_clip(f"clip-{number:03d}", num_frames=num_frames, num_objects=1 + number % 2, seed=number)
        for number in range(num_videos)
    ]
    videos, prompts = write_job_inputs(folder / "input", clips)
    output = folder / "undisturbed"
    arguments = [f"videos={videos}", f"prompts={prompts}", f"output={output}", "cluster=serial"]
    done = run(folder, "conf=label", *arguments)
    assert done.process.returncode == 0, done.log
    return Inputs(folder / "input", str(videos), str(prompts), num_videos, read_tables(str(output)))


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Six clips of ten frames."""
    return make_inputs(tmp_path_factory.mktemp("few"), 6, 10)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Sixty clips of six frames."""
    return make_inputs(tmp_path_factory.mktemp("many"), 60, 6)
