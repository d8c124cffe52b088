"""How a worker ends, and what it publishes and gives back then: hangs, broken devices, signals, full disks."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from model import FrameBuffers
from pipeline.records import Status, WorkerEnd, WorkItem
from pipeline.worker.equipment import Stages, load_network
from pipeline.worker.labeler import Labels, MakeSession, Steps, label_steps
from pipeline.worker.worker import Worker
from tests.support.full_disk import full_disk
from tests.support.labeling_workers import (
    AwayStorage,
    Clock,
    Fails,
    MakeWorker,
    Waits,
    broken,
    finish,
    label_unpublished,
    outcomes,
)


@pytest.mark.slow
def test_a_fetch_that_hangs_is_said_and_what_is_finished_is_published(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    waits, clock = Waits("c"), Clock()
    worker = make(Stages(read_prompts=waits, clock=clock), beat_seconds=0.1, hang_seconds=1000.0)
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    reports = [worker.work([items["c"]])]
    assert reports[-1].end is None
    while reports[-1].end is None:  # the limit of each test ends it
        clock.now += 1001.0
        reports.append(worker.work([]))
    waits.give_up()
    assert "fetching 'c' hangs: nothing has moved for 1000 s" in broken(reports[-1])
    assert outcomes(reports) == {"b": Status.OK}


@pytest.mark.slow
def test_another_device_error_poisons_the_worker_and_finished_videos_are_published(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    worker = make(Stages(label_steps=Fails(error, video_id="c")))
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    report = worker.work([items["c"]])
    assert "device-side assert" in broken(report)
    assert outcomes([report]) == {"b": Status.OK}
    assert [progress.video_id for progress in report.in_flight] == ["c"]


class NoPinnedMemory(FrameBuffers):
    """Buffers that the system does not give from some time on."""

    is_full = False

    def refill(self) -> None:
        if self.is_full:
            raise torch.AcceleratorError("CUDA error: out of memory")


@pytest.mark.slow
def test_a_host_without_memory_for_frames_ends_the_worker_and_finished_videos_are_published(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    buffers = NoPinnedMemory((1, 1, 3), torch.device("cpu"))
    worker = make(Stages(load_network=lambda settings: replace(load_network(settings), buffers=buffers)))
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    buffers.is_full = True
    report = worker.work([items["c"]])
    assert "out of memory" in broken(report)
    assert outcomes([report]) == {"b": Status.OK}


@pytest.mark.slow
def test_asked_to_stop_it_publishes_and_gives_back(worker: Worker, items: dict[str, WorkItem]) -> None:
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    worker.stop()
    report = worker.work([items["c"]])
    assert report.returned == (items["c"],)
    assert outcomes([report]) == {"b": Status.OK}
    assert report.end == WorkerEnd("SIGTERM; it has given its videos back", is_broken=False)


@pytest.mark.parametrize("moment", range(5))
def test_a_second_signal_in_the_middle_of_the_first_one_blocks_no_worker(worker: Worker, moment: int) -> None:
    calls = itertools.count()

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and next(calls) == moment:
            sys.setprofile(None)
            worker.stop()

    def signals() -> None:
        sys.setprofile(interrupt)
        worker.stop()
        sys.setprofile(None)

    thread = threading.Thread(target=signals, daemon=True)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive()


@pytest.mark.slow
def test_before_a_suspect_everything_is_published(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("c")
    worker = make(Stages(read_prompts=waits), beat_seconds=0.1)
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    suspect = replace(items["c"], alone=True)
    report = worker.work([suspect])
    waits.give_up()
    assert outcomes([report]) == {"b": Status.OK}
    assert [progress.stage for progress in report.in_flight] == ["fetching"]


@pytest.mark.slow
def test_a_full_spool_disk_gives_the_item_back(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    with contextlib.ExitStack() as stack:

        def full_in_the_end(*arguments: Any) -> Steps[Labels]:
            labels = yield from label_steps(*arguments)
            stack.enter_context(full_disk())
            return labels

        report = make(Stages(label_steps=full_in_the_end)).work([items["a"]])
    assert report.returned == (items["a"],)
    assert "Free some space" in report.storage_errors[0]


@pytest.mark.slow
def test_a_publication_that_fails_is_repeated(make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path) -> None:
    storage = AwayStorage(str(tmp_path / "job"))
    worker = make(storage=storage)
    report = worker.work([items["a"]])
    assert (report.segments, report.unflushed) == ((), ("a",))
    assert "the store is away" in report.storage_errors[0]
    storage.is_away = False
    assert outcomes([worker.drain()]) == {"a": Status.OK}


class BreaksAtItsEnd:
    """`label_steps` of one video whose last masks never come; asked for them after a while, the device is broken."""

    def __init__(self, video_id: str) -> None:
        self.video_id = video_id
        self.is_broken = False

    def __call__(self, make_session: MakeSession, video_id: str, *arguments: Any) -> Steps[Labels]:
        steps = label_steps(make_session, video_id, *arguments)
        return self._broken() if video_id == self.video_id else steps

    def _broken(self) -> Steps[Labels]:
        while not self.is_broken:
            yield None
        raise RuntimeError("CUDA error: device-side assert triggered")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["SIGTERM", "drain"])
def test_a_device_that_breaks_while_videos_are_given_back_costs_nobody_anything(
    way: str, make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    breaks = BreaksAtItsEnd("c")
    worker = make(Stages(label_steps=breaks), beat_seconds=0.1)
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    assert [progress.video_id for progress in worker.work([items["c"]]).in_flight] == ["c"]
    breaks.is_broken = True
    if way == "SIGTERM":
        worker.stop()
    report = worker.work([]) if way == "SIGTERM" else worker.drain()
    assert outcomes([report]) == {"b": Status.OK}, "what is finished is published"
    assert (report.returned, report.in_flight) == ((items["c"],), ()), "and nobody gets a strike"
    assert report.end is None or not report.end.is_broken


def test_a_broken_device_is_no_fault_of_videos_that_it_has_not_seen(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    worker = make(Stages(label_steps=Fails(error, video_id="a")))
    report = worker.work(list(items.values()))
    assert "device-side assert" in broken(report)
    assert [progress.video_id for progress in report.in_flight] == ["a"]
    assert report.returned == (items["b"], items["c"])
