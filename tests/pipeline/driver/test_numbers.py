"""Whole jobs whose network computes nan: no such video is ok; on a GPU another process has a try before it fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from model import FrameResult, Step, advance
from pipeline.driver import driver
from pipeline.driver.executors import open_executor
from pipeline.standing import read_status
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.equipment import Stages
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.jobs import JobFolder
from tests.support.pretended_gpu import pretended_gpu
from tests.support.sessions import save_small

pytestmark = pytest.mark.slow

NUM_OBJECTS = {"once": 1, "always": 2, "sound": 3}


@dataclass
class Damaged:
    """A network that gives nan for one pixel of the second frame, so many times by the number of a video's objects.

    `workers` are those that were started.
    """

    num_times: dict[int, float]
    workers: list[str] = field(default_factory=list)

    def advance(self, steps: Sequence[Step]) -> list[FrameResult]:
        return [self._damaged(result) for result in advance(steps)]

    def _damaged(self, result: FrameResult) -> FrameResult:
        num_objects = len(result.object_ids)
        if result.frame_index != 1 or self.num_times.get(num_objects, 0) == 0:
            return result
        self.num_times[num_objects] -= 1
        logits = result.logits_BHW.clone()
        logits[0, 3, 4] = math.nan
        return replace(result, logits_BHW=logits)

    def make_worker(self, settings: WorkerSettings, worker_id: str) -> Worker:
        self.workers.append(worker_id)
        return Worker(settings, worker_id, Stages(advance=self.advance))


def run(job: JobFolder, network: Damaged, *overrides: str) -> int:
    parts = driver.Parts(partial(open_executor, make_worker=network.make_worker))
    small = f"model.checkpoint={job.folder / 'small'}"
    return driver.run(job.config("cluster=serial", small, "model.dtype=float32", *overrides), parts)


def make_job(tmp_path: Path, *names: str) -> JobFolder:
    clips = [moving_clip(name, num_frames=2, num_objects=NUM_OBJECTS[name]) for name in names]
    write_job_inputs(tmp_path / "in", clips)
    save_small(tmp_path / "small")
    return JobFolder(tmp_path)


def test_a_video_with_such_numbers_fails_and_is_tried_again_when_asked(tmp_path: Path) -> None:
    job = make_job(tmp_path, *NUM_OBJECTS)
    network = Damaged({1: 1, 2: math.inf})
    assert run(job, network, "max_failed_fraction=0.7") == 0
    found = job.tables()
    assert found.statuses == {"sound": "ok", "once": "failed", "always": "failed"}
    assert found.videos["once"]["error_class"] == "numbers"
    assert found.videos["once"]["message"].startswith("frame 1, object 1: the network's numbers are not finite")
    assert {row["status"] for row in found.tracks.to_pylist() if row["video_id"] != "sound"} == {"failed"}
    assert set(found.masks["video_id"].to_pylist()) == {"sound"}
    assert len(network.workers) == 1, "on a CPU it is no fault of the process"
    status = read_status(JobStorage(str(job.output)))
    assert status.run is not None
    assert status.run.failures == {"numbers": 2}
    assert run(job, network, "retry=failed") == 0
    assert job.tables().statuses == {"sound": "ok", "once": "ok", "always": "failed"}
    assert run(job, network, "max_failed_fraction=0.1") == 4


def test_on_a_gpu_another_process_tries_before_a_video_fails(tmp_path: Path) -> None:
    job = make_job(tmp_path, "once", "always")
    network = Damaged({1: 1, 2: math.inf})
    with pretended_gpu():
        assert run(job, network, "model.device=cuda") == 0
    found = job.tables()
    assert found.statuses == {"once": "ok", "always": "failed"}
    assert found.videos["always"]["error_class"] == "numbers"
    assert len(network.workers) > 1, "the first one was replaced"
