"""Log entries are written beside the loop: one at a time, in order, and none is lost at any end of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.commits.finished import FinishedVideo, Tally
from pipeline.commits.snapshot import JobState
from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.driver.driver import _dispatcher
from pipeline.driver.loop import Timing
from pipeline.driver.receipts import Receipts
from pipeline.errors import LostOwnership, StorageError
from pipeline.records import Ending, Outcome, Segment, Status
from tests.pipeline.driver.test_loop import LIMITS, Driven, loop_over
from tests.support.fake_workers import FakeExecutor, FakeLedger, item, published

PATIENCE_SECONDS = 200.0


@dataclass
class SlowLedger(FakeLedger):
    """A ledger whose commits wait until something has happened meanwhile."""

    until: Callable[[], bool] = lambda: True
    at_work: threading.Lock = field(default_factory=threading.Lock)
    has_waited_in_vain: bool = False

    def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
        assert self.at_work.acquire(blocking=False), "two commits at once"
        try:
            waiting = threading.Event()
            for _ in range(int(PATIENCE_SECONDS / 0.01)):
                if self.until():
                    return super().commit(segments, strikes)
                waiting.wait(0.01)
            self.has_waited_in_vain = True
            return super().commit(segments, strikes)
        finally:
            self.at_work.release()


def beside(executor: FakeExecutor, ledger: FakeLedger, folder: Path, must_stop: Callable[[], bool]) -> Driven:
    return loop_over(executor, "abcdefgh", folder, ledger, must_stop, timing=Timing())


def test_workers_get_their_next_videos_while_an_entry_is_being_written(tmp_path: Path) -> None:
    executor = FakeExecutor(2)
    ledger = SlowLedger(until=lambda: len({one.video_id for _, offers in executor.offered for one in offers}) == 8)
    loop = beside(executor, ledger, tmp_path, lambda: False)
    assert loop.run() is Ending.DONE
    assert not ledger.has_waited_in_vain
    assert loop.statuses == dict.fromkeys("abcdefgh", "ok")
    assert next(name for names, _ in ledger.commits for name in names).endswith("a")
    assert len(ledger.commits) <= 3, "what came in meanwhile is one entry"


def test_a_signal_ends_the_run_when_the_entry_that_is_being_written_is_there(tmp_path: Path) -> None:
    executor = FakeExecutor(2, flush_every=2)
    ledger = SlowLedger(until=lambda: len(executor.drained) == 2)
    loop = beside(executor, ledger, tmp_path, must_stop=lambda: ledger.at_work.locked())
    assert loop.run() is Ending.STOPPED
    assert not ledger.has_waited_in_vain
    finished = {one.video_id for outcomes in executor.finished.values() for one in outcomes}
    offered = {one.video_id for _, offers in executor.offered for one in offers}
    assert set(loop.statuses) >= {"a", "b"}
    assert not finished & set(loop.statuses)
    assert set(loop.statuses) <= offered


def test_a_driver_that_has_lost_the_job_stops_though_another_thread_found_out(tmp_path: Path) -> None:
    class Taken(FakeLedger):
        def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
            raise LostOwnership("driver x has taken this job over")

    with pytest.raises(LostOwnership, match="driver x"):
        beside(FakeExecutor(1), Taken(), tmp_path, lambda: False).run()


def test_an_error_that_ends_the_loop_leaves_no_thread_that_writes(tmp_path: Path) -> None:
    ledger = SlowLedger(until=lambda: stopped.is_set())
    stopped = threading.Event()

    def stop() -> bool:
        if ledger.at_work.locked():
            stopped.set()
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        beside(FakeExecutor(1), ledger, tmp_path, stop).run()
    assert not ledger.at_work.locked()
    assert ledger.outcomes.keys() == {"a"}, "an entry that is on its way is not torn off"


@dataclass
class RefusingLedger(FakeLedger):
    """A ledger that takes nothing, and notes when it was asked."""

    clock: Callable[[], float] = lambda: 0.0
    asked_at: list[float] = field(default_factory=list)

    def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
        self.asked_at.append(self.clock())
        raise StorageError("create _log/1.json was refused", transient=False)


def test_a_log_that_cannot_be_written_ends_the_job_though_workers_go_on(tmp_path: Path) -> None:
    """It may be refused to the driver alone, whose credentials have expired, while workers have those of a role."""
    executor, ledger = FakeExecutor(2), RefusingLedger()
    loop = loop_over(executor, [f"v{number}" for number in range(500)], tmp_path, ledger, clock_step=0.2)
    ledger.clock = lambda: loop.clock.now
    assert loop.run() is Ending.STORAGE
    assert loop.loop.last_failure == "storage: create _log/1.json was refused"
    assert loop.clock.now - ledger.asked_at[0] < 1.5 * LIMITS.storage_patience_seconds
    assert len(executor.offered) < 200
    assert len(ledger.asked_at) < 12, "it is asked after 1, 2, 4 … 60 s, and not as often as workers report"
    pauses = [then - before for before, then in pairwise(ledger.asked_at[:6])]
    assert pauses[-1] > 3 * pauses[0]


def test_items_of_a_round_are_made_without_a_look_at_what_another_thread_is_writing() -> None:
    """A roll-up puts all finished videos into other columns meanwhile, and whoever looks then gets wrong ones."""
    state = JobState()
    for name, num_failed in (("tried-again", 1), ("corrected", 0)):
        state.finished.put(name, FinishedVideo(Status.OK, "hash", "s", Tally(num_failed, 0, attempts=3)))
        state.formers[name] = "s"
    config = JobConfig(videos="v", prompts="p", output="o", model=ModelConfig(name="mini", checkpoint="mini"))
    job, plan = SimpleNamespace(config=config, log=SimpleNamespace(state=state)), SimpleNamespace(num_to_label=3)
    items = [item(name) for name in ("tried-again", "corrected", "new")]
    dispatcher = _dispatcher(job, plan, items, gpus_per_worker=1.0)  # type: ignore[arg-type]
    del state.finished
    dispatcher.add_worker("w")
    assert [(one.video_id, one.attempt) for one in dispatcher.offers("w", now=0.0)] == [
        ("tried-again", 4),
        ("corrected", 1),
        ("new", 1),
    ]


def outcome(video_id: str) -> Outcome:
    return Outcome(video_id, Status.OK, "hash", 1, 1)


def test_what_came_in_while_storage_refused_is_in_the_entry_that_repeats_the_refused_one() -> None:
    class Refuses(FakeLedger):
        def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
            began.set()
            assert came_in.wait(PATIENCE_SECONDS)
            return super().commit(segments, strikes)

    began, came_in = threading.Event(), threading.Event()
    ledger = Refuses(num_away=1)
    receipts = Receipts(ledger)
    receipts.add([published("s", [outcome("a")])], {"x": 1, "y": 1})
    receipts.begin()
    assert began.wait(PATIENCE_SECONDS)
    assert receipts.take() is None
    receipts.add([published("t", [outcome("b")])], {"x": 2})
    receipts.begin()
    came_in.set()
    with pytest.raises(StorageError):
        receipts.finish()
    assert [one.video_id for one in receipts.finish() or ()] == ["a", "b"]
    assert ledger.commits == [(["s", "t"], {"x": 2, "y": 1})]
    assert receipts.finish() is None
