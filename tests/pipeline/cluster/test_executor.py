"""The executor in this process. `test_ray_executor.py` has the one with actors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import pytest

from pipeline.cluster.executor import Failure, Lost, Ready, Reported, SerialExecutor, failure_of_start
from pipeline.errors import StorageError, describe
from pipeline.records import Report, WorkDone, WorkItem
from tests.support.fake_workers import item


class FakeWorker:
    """Reports what it was offered; fails where its id or the offer says so."""

    closed: ClassVar[Counter[str]] = Counter()

    def __init__(self, worker_id: str, bad_setup: bool = False) -> None:
        self.worker_id, self.bad_setup = worker_id, bad_setup

    def setup(self) -> str:
        if self.bad_setup:
            raise FileNotFoundError("no model at https://h/m?sig=hush")
        return "here"

    def work(self, offers: Sequence[WorkItem]) -> Report:
        if offers[0].video_id == "bad":
            raise ValueError("first line\nlast line")
        return Report(self.worker_id, done=WorkDone(len(offers)))

    def drain(self) -> Report:
        return Report(self.worker_id)

    def stop(self) -> None: ...

    def close(self) -> None:
        FakeWorker.closed[self.worker_id] += 1


def test_calls_run_inside_wait_in_their_order() -> None:
    executor = SerialExecutor(FakeWorker)
    worker_id = executor.start()
    assert executor.wait(0) == [Ready(worker_id, "here")]
    assert executor.wait(0) == []
    executor.work(worker_id, [item("a"), item("b")])
    assert executor.wait(0) == [Reported(worker_id, Report(worker_id, done=WorkDone(2)))]
    executor.drain(worker_id)
    assert executor.wait(0) == [Reported(worker_id, Report(worker_id))]


def test_a_worker_that_raises_is_lost_and_another_can_start() -> None:
    executor = SerialExecutor(FakeWorker)
    first = executor.start()
    executor.wait(0)
    executor.work(first, [item("bad")])
    assert executor.wait(0) == [Lost(first, Failure.AMBIGUOUS, "ValueError: last line")]
    second = executor.start()
    assert second != first
    assert executor.wait(0) == [Ready(second, "here")]


def test_a_worker_that_cannot_start_is_a_matter_of_the_environment() -> None:
    executor = SerialExecutor(lambda worker_id: FakeWorker(worker_id, bad_setup=True))
    worker_id = executor.start()
    (lost,) = executor.wait(0)
    assert lost == Lost(worker_id, Failure.ENVIRONMENT, "FileNotFoundError: no model at https://h/m?***")


def test_a_store_that_is_busy_when_a_worker_starts_is_no_fault_of_the_worker() -> None:
    assert failure_of_start(StorageError("429")) is Failure.STORAGE
    assert failure_of_start(StorageError("no such bucket", transient=False)) is Failure.ENVIRONMENT
    assert failure_of_start(RuntimeError("no GPU")) is Failure.ENVIRONMENT


def test_closing_closes_every_worker() -> None:
    FakeWorker.closed.clear()
    executor = SerialExecutor(FakeWorker)
    executor.start()
    executor.start()
    executor.close()
    assert FakeWorker.closed == {"w0000": 1, "w0001": 1}


def test_an_error_is_described_in_one_line() -> None:
    assert describe(RuntimeError("")) == "RuntimeError: "
    assert describe(RuntimeError("a\n\n  b  \n")) == "RuntimeError: b"
    assert len(describe(RuntimeError("x" * 10_000))) == 2000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "CUDA error: an illegal memory access was encountered\n"
            "Search for `cudaErrorIllegalAddress' in https://docs.nvidia.com for more information.\n"
            "CUDA kernel errors might be asynchronously reported at some other API call.\n"
            "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n",
            "CUDA error: an illegal memory access was encountered",
        ),
        (
            "backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler found\n\nfrom user code:\n"
            '   File "sam2.py", line 3, in forward\n    return x\n\nSet TORCHDYNAMO_VERBOSE=1 for the internal stack',
            "InvalidCxxCompiler: No working C++ compiler found",
        ),
    ],
)
def test_errors_of_torch_are_told_without_its_advice_to_its_own_people(text: str, told: str) -> None:
    assert describe(RuntimeError(text)) == f"RuntimeError: {told}"
