"""A worker that is killed while it finds or labels objects: the next one has the same objects, ids and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model import FrameResult, Step, advance
from pipeline.config.compose import job_config
from pipeline.demo.inputs import clip_mp4
from pipeline.driver.executors import worker_settings
from pipeline.driver.job import open_job, plan_job
from pipeline.worker.equipment import Stages
from pipeline.worker.worker import Worker
from tests.pipeline.worker.test_discovering import OPTIONS, drawn
from tests.support.labeling_workers import published

pytestmark = pytest.mark.slow

NUM_FRAMES = 5


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def dies_at(step: int) -> Callable[[Sequence[Step]], list[FrameResult]]:
    """`advance` until a step, counted from 1."""
    done: list[int] = []

    def advance_until(steps: Sequence[Step]) -> list[FrameResult]:
        done.append(len(done) + 1)
        if done[-1] == step:
            raise Killed
        return advance(steps)

    return advance_until


def rows_of(folder: Path, output: str, *kills: int) -> list[dict[str, Any]]:
    """Masks of the video, after workers that were killed at these steps, one after the other."""
    words = [*OPTIONS, f"videos={folder / 'short.mp4'}", f"output={folder / output}", "checkpoint.every_frames=1"]
    job = open_job(job_config("discover", words[1:]))
    (item,) = plan_job(job).items()
    for step in (*kills, 0):
        worker = Worker(worker_settings(job), "w", Stages(advance=dies_at(step)))
        worker.setup()
        try:
            report = worker.work([item])
            while report.in_flight:
                report = worker.work(())
            worker.drain()
            assert not step
        except Killed:
            pass
        finally:
            worker.close()
    return [{name: row[name] for name in row} for row in published(worker, "masks")]


def test_what_was_found_before_a_kill_is_found_and_labeled_after_it(tmp_path: Path) -> None:
    clip = drawn(0)
    short = replace(clip, frames_THW3=clip.frames_THW3[:NUM_FRAMES], masks_TBHW=clip.masks_TBHW[:NUM_FRAMES])
    (tmp_path / "short.mp4").write_bytes(clip_mp4(short))
    whole = rows_of(tmp_path, "whole")
    assert len({row["object_id"] for row in whole}) == 2
    while_finding, while_labeling = 3, NUM_FRAMES + 4
    assert rows_of(tmp_path, "killed", while_finding, while_labeling) == whole
