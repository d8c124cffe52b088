"""Workers that come and go, on an executor that only notes what it is asked."""

from __future__ import annotations

import pytest

from pipeline.cluster.executor import Failure, Lost, Ready
from pipeline.driver.workers import Workers
from tests.support.fake_workers import Clock, FakeExecutor


def three_workers(executor: FakeExecutor, clock: Clock) -> Workers:
    workers = Workers(executor, clock)
    workers.start_missing(lambda at_most: min(3, at_most))
    for event in workers.wait(1.0):
        assert isinstance(event, Ready)
        workers.is_ready(event)
    assert sorted(workers.idle()) == ["w0", "w1", "w2"]
    return workers


def test_workers_without_work_are_ended_after_a_while_but_the_last_one() -> None:
    """One long video at the end: the other workers' GPUs are free meanwhile."""
    executor, clock = FakeExecutor(capacity=3), Clock()
    workers = three_workers(executor, clock)
    workers.work("w0", [])
    ended = []
    for seconds in (0.0, 14.0, 3.0):
        clock.sleep(seconds)
        ended.append(workers.end_if_useless("w1"))
    assert ended == [False, False, True]
    assert executor.killed == ["w1"]
    assert workers.end_if_useless("w2") is False
    workers.is_lost(Lost("w0", Failure.INFRASTRUCTURE, "gone"))
    clock.sleep(100.0)
    assert workers.end_if_useless("w2") is False
    assert workers.count == 1


def test_a_worker_that_was_asked_meanwhile_is_not_ended() -> None:
    clock = Clock()
    workers = three_workers(FakeExecutor(capacity=3), clock)
    workers.end_if_useless("w1")
    clock.sleep(10.0)
    workers.work("w1", [])
    workers.has_answered("w1", 0.0)
    clock.sleep(10.0)
    assert workers.end_if_useless("w1") is False


def test_a_worker_is_left_alone_while_storage_does_not_answer_it() -> None:
    clock = Clock()
    workers = three_workers(FakeExecutor(capacity=3), clock)
    workers.work("w1", [])
    workers.has_answered("w1", clock.now + 8.0)
    assert sorted(workers.idle()) == ["w0", "w2"]
    clock.sleep(8.0)
    assert sorted(workers.idle()) == ["w0", "w1", "w2"]


@pytest.mark.parametrize(("num_failures", "pause"), [(1, 1.0), (2, 2.0), (3, 4.0), (20, 60.0)])
def test_the_pause_after_failed_starts_doubles_up_to_a_minute(num_failures: int, pause: float) -> None:
    executor, clock = FakeExecutor(capacity=1), Clock()
    workers = Workers(executor, clock)
    for number in range(num_failures):
        workers.is_lost(Lost(f"w{number}", Failure.ENVIRONMENT, "no model"))
    clock.sleep(pause - 0.1)
    workers.start_missing(lambda at_most: at_most)
    assert executor.num_started == 0
    clock.sleep(0.1)
    workers.start_missing(lambda at_most: at_most)
    assert executor.num_started == 1


def test_each_worker_is_drained_once_and_then_left_alone() -> None:
    executor = FakeExecutor(capacity=3)
    workers = three_workers(executor, Clock())
    workers.work("w0", [])
    workers.retire_idle()
    assert sorted(executor.drained) == ["w1", "w2"]
    for worker_id in ("w0", "w1", "w2"):
        workers.has_answered(worker_id, 0.0)
    workers.retire_idle()
    assert sorted(executor.drained) == ["w0", "w1", "w2"]
    workers.has_answered("w0", 0.0)
    workers.retire_idle()
    assert not workers.has_started
