"""What the chaos tests share: drawn clips as a job's input, and the tables of an undisturbed run of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.run import main
from tests.support.azure_server import azure_server
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.fault_jobs import RunningJob, Tables, read_tables
from tests.support.gcs_server import gcs_server
from tests.support.proxy import Proxy
from tests.support.record import Record, record
from tests.support.s3_server import S3Server, s3_server

__all__ = ["Record", "S3Server", "azure_server", "gcs_server", "record", "s3_server"]


@dataclass(frozen=True)
class Inputs:
    """A job's input and what must come out of it."""

    folder: Path
    videos: str
    prompts: str
    num_videos: int
    num_frames: int
    expected: Tables

    def arguments(self, output: object, *more: str) -> list[str]:
        """The command's arguments for an output."""
        return ["conf=label", f"videos={self.videos}", f"prompts={self.prompts}", f"output={output}", *more]

    def redone(self, *runs: RunningJob) -> str:
        """Frames that workers reported in runs which ended by themselves, beyond those that there are."""
        worked = sum(
            int(frames) for job in runs for frames in re.findall(r"this run \d+ videos?, (\d+) frames?", job.log)
        )
        return f"{max(0, worked - self.num_frames)} frames of {self.num_frames}"


def make_inputs(folder: Path, num_videos: int, num_frames: int) -> Inputs:
    """Clips of one or two objects, and the tables of a run in one process."""
    clips = [
        moving_clip(f"clip-{number:03d}", num_frames=num_frames, num_objects=1 + number % 2, seed=number)
        for number in range(num_videos)
    ]
    videos, prompts = write_job_inputs(folder / "input", clips)
    output = folder / "undisturbed"
    assert main([f"videos={videos}", f"prompts={prompts}", f"output={output}", "cluster=serial"]) == 0
    return Inputs(
        folder / "input", str(videos), str(prompts), num_videos, num_videos * num_frames, read_tables(str(output))
    )


def s3_arguments(proxy: Proxy) -> tuple[str, ...]:
    """How a job reaches the server behind a proxy."""
    return (
        "storage_options.key=tests",
        "storage_options.secret=not-a-secret",
        f"storage_options.client_kwargs.endpoint_url=http://127.0.0.1:{proxy.port}",
    )


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Eight clips of eight frames."""
    return make_inputs(tmp_path_factory.mktemp("few"), 8, 8)


@pytest.fixture(scope="session")
def some(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Twenty clips of six frames: enough for two workers while a node comes or goes."""
    return make_inputs(tmp_path_factory.mktemp("some"), 20, 6)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Sixty clips of twelve frames."""
    return make_inputs(tmp_path_factory.mktemp("many"), 60, 12)
