"""Workers with a small network that label drawn clips: how they are run, what they published, stages that go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pycocotools import mask as coco

from model import FrameResult, Step, advance
from pipeline.config.worker_config import FlushConfig
from pipeline.errors import StorageError
from pipeline.inputs.prompts import VideoPrompts, read_prompts
from pipeline.records import Report, Status, WorkItem
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.labeler import LabeledFrames, LabelOptions, Labels, MakeSession, Saving, Steps, label_steps
from pipeline.worker.worker import Worker

NUM_FRAMES = 3
PATIENCE_SECONDS = 200.0
"""Longer than anything takes here on a slow machine; no test waits so long."""
LAZY = FlushConfig(megabytes=1 << 20, seconds=1e9, elapsed_fraction=1.0)

MakeWorker = Callable[..., Worker]


class KilledWorker(Worker):
    """A worker in this process that is killed, and its driver with it, when it is offered a video."""

    def work(self, offers: Sequence[WorkItem]) -> Report:
        if offers:
            raise KeyboardInterrupt
        return super().work(offers)


def published(worker: Worker, table: str) -> list[dict[str, object]]:
    folder = Path(worker.settings.job.storage.uri) / table
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    rows: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
    return rows


def finish(worker: Worker, *items: WorkItem) -> list[Report]:
    """Works until nothing is open, then drains."""
    reports = [worker.work(items)]
    while reports[-1].in_flight:
        reports.append(worker.work(()))
    return [*reports, worker.drain()]


def label_unpublished(worker: Worker, item: WorkItem) -> None:
    """Label a video that is not the worker's first, which would be published at once."""
    report = worker.work([item])
    while report.in_flight:
        report = worker.work(())
    assert report.unflushed == (item.video_id,)


def broken(report: Report) -> str:
    """Why the worker can label nothing any more, as its last report says."""
    assert report.end is not None
    assert report.end.is_broken
    return report.end.reason


def outcomes(reports: list[Report]) -> dict[str, Status]:
    return {
        outcome.video_id: outcome.status
        for report in reports
        for segment in report.segments
        for outcome in segment.outcomes
    }


class Fails:
    """`label_steps` that raises on its first `count` calls, for all videos or one."""

    def __init__(self, error: Exception, count: int = 1, video_id: str = "") -> None:
        self.error, self.count, self.video_id = error, count, video_id
        self.options: list[LabelOptions] = []

    def __call__(
        self,
        make_session: MakeSession,
        video_id: str,
        prompts: VideoPrompts,
        frames: LabeledFrames,
        options: LabelOptions,
        saving: Saving | None,
    ) -> Steps[Labels]:
        if video_id == (self.video_id or video_id):
            self.options.append(options)
            if len(self.options) <= self.count:
                return self._raise()
        return label_steps(make_session, video_id, prompts, frames, options, saving)

    def _raise(self) -> Steps[Labels]:
        raise self.error
        yield


class Clock:
    """The time that a test lets pass, by which fetching and decoding hang."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Waits:
    """`read_prompts` that waits before one video until it is released, or given up at the end of a test.

    A fetch that is given up fails, because one that went on would write to a spool that the test is about to delete.
    """

    def __init__(self, video_id: str) -> None:
        self.video_id = video_id
        self.released = threading.Event()
        self.is_given_up = False

    def give_up(self) -> None:
        self.is_given_up = True
        self.released.set()

    def __call__(self, item: WorkItem, *arguments: Any) -> VideoPrompts:
        if item.video_id == self.video_id:
            assert self.released.wait(PATIENCE_SECONDS)
            if self.is_given_up:
                raise StorageError("given up")
        return read_prompts(item, *arguments)


def masks(worker: Worker) -> dict[tuple[object, ...], np.ndarray]:
    return {
        (row["video_id"], row["object_id"], row["frame_index"]): coco.decode(row["rle"])
        for row in published(worker, "masks")
    }


class Together:
    """`label_steps` that begins when `count` videos are here. Their first steps are one batch, however slow a fetch is.

    A worker asks each video that waits once a pass, in the order of their ids. The first of them opens the gate when it
    is asked for the second time since all have come: by then each of the others has been asked, too.
    """

    def __init__(self, count: int, label_steps: Callable[..., Steps[Labels]] = label_steps) -> None:
        self.count, self.label_steps = count, label_steps
        self.begun: set[str] = set()
        self.num_asked = 0
        self.is_open = False

    def __call__(self, make_session: MakeSession, video_id: str, *arguments: Any) -> Steps[Labels]:
        self.begun.add(video_id)
        while not self.is_open:
            if len(self.begun) >= self.count and video_id == min(self.begun):
                self.num_asked += 1
                self.is_open = self.num_asked > 1
            if not self.is_open:
                yield None
        return (yield from self.label_steps(make_session, video_id, *arguments))


class StopsAt:
    """`label_steps` that never gets the result of this frame, counted from 1.

    All frames before it are labeled, and saved if that is due: how many does not depend on how fast a save is.
    """

    def __init__(self, frame: int) -> None:
        self.frame = frame

    def __call__(self, *arguments: Any) -> Steps[Labels]:
        steps = label_steps(*arguments)
        num_steps, sent = 0, None
        while num_steps < self.frame:
            step = steps.send(sent)
            num_steps += step is not None
            sent = yield step
        while True:
            yield None


class TooLarge:
    """`label_steps` and `advance` with one video that fits into memory in no batch."""

    def __init__(self, video_id: str) -> None:
        self.video_id = video_id
        self.sizes: list[int] = []
        self._steps: list[Step] = []

    def label_steps(
        self, make_session: MakeSession, video_id: str, prompts: VideoPrompts, *arguments: Any
    ) -> Steps[Labels]:
        steps = label_steps(make_session, video_id, prompts, *arguments)
        return self._noted(steps) if video_id == self.video_id else steps

    def advance(self, steps: Sequence[Step]) -> list[FrameResult]:
        self.sizes.append(len(steps))
        if any(step is one for step in steps for one in self._steps):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return advance(steps)

    def _noted(self, steps: Steps[Labels]) -> Steps[Labels]:
        self._steps.append(next(steps))
        yield self._steps[-1]
        raise AssertionError("no step of this video has a result")


@dataclass(repr=False)
class AwayStorage(JobStorage):
    """A store that takes no segments while `is_away`."""

    is_away: bool = True

    def put_file(self, local: Path, path: str) -> int:
        if self.is_away:
            raise StorageError("the store is away")
        return super().put_file(local, path)
