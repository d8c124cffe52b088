"""The driver's loop on fake workers: every failure class, commits, and when it stops."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.cluster.executor import Failure, Lost
from pipeline.driver.blame import Blame
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.hosts import host_of
from pipeline.driver.limits import FailureBudget, Limits
from pipeline.driver.loop import Interrupts, Loop, Timing
from pipeline.driver.progress import Progress
from pipeline.errors import StorageError
from pipeline.records import Ending, Outcome, Status, VideoSource, WorkItem
from pipeline.storage.job_storage import JobStorage
from tests.support.fake_workers import Clock, FakeExecutor, FakeLedger, Fate, at_once, item

LIMITS = Limits(max_setup_failures=3, storage_patience_seconds=100.0)


@dataclass
class Driven:
    """A loop with everything that a test looks at."""

    loop: Loop
    ledger: FakeLedger
    progress: Progress
    clock: Clock

    def run(self, budget: FailureBudget | None = None) -> Ending:
        return self.loop.run(budget)

    @property
    def statuses(self) -> dict[str, str]:
        return {video_id: outcome.status.value for video_id, outcome in sorted(self.ledger.outcomes.items())}


def loop_over(
    executor: FakeExecutor,
    video_ids: Iterable[str],
    tmp_path: Path,
    ledger: FakeLedger | None = None,
    must_stop: Callable[[], bool] = lambda: False,
    clock_step: float = 0.01,
    uris: Mapping[str, str] | None = None,
    timing: Timing | None = None,
    spent: Callable[[float], str] = lambda used: "",
) -> Driven:
    clock, ledger = Clock(clock_step), ledger or FakeLedger()
    blame = Blame(patience_seconds=LIMITS.storage_patience_seconds)
    items = [replace(item(one), source=VideoSource((uris or {}).get(one, f"/{one}.mp4"))) for one in video_ids]
    dispatcher = Dispatcher(items, blame)
    progress = Progress(10, 0, JobStorage(str(tmp_path)), stream=io.StringIO(), clock=clock)
    timing = timing or Timing(clock, submit=at_once)
    loop = Loop(executor, dispatcher, ledger, progress, LIMITS, Interrupts(must_stop, spent=spent), timing)
    return Driven(loop, ledger, progress, clock)


def fates(**special: Fate) -> Callable[[WorkItem], Fate]:
    return lambda one: special.get(one.video_id, Status.OK)


class Times:
    """A fate that applies to the first `count` attempts of a video, which then ends well."""

    def __init__(self, video_id: str, fate: Fate, count: int) -> None:
        self.video_id, self.fate, self.count = video_id, fate, count
        self.attempts: list[WorkItem] = []

    def __call__(self, one: WorkItem) -> Fate:
        if one.video_id != self.video_id:
            return Status.OK
        self.attempts.append(one)
        return self.fate if len(self.attempts) <= self.count else Status.OK


@pytest.mark.parametrize("capacity", [1, 2, 5])
@pytest.mark.parametrize("flush_every", [1, 3, 100])
def test_every_video_is_committed_once(capacity: int, flush_every: int, tmp_path: Path) -> None:
    loop = loop_over(FakeExecutor(capacity, flush_every=flush_every), "abcdefgh", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcdefgh", "ok")
    assert loop.progress.by_status == {Status.OK: 8}


def test_no_more_workers_start_than_there_are_videos(tmp_path: Path) -> None:
    executor = FakeExecutor(capacity=50)
    loop_over(executor, "abc", tmp_path).run()
    assert executor.num_started == 3


def test_two_videos_are_labeled_by_two_workers(tmp_path: Path) -> None:
    executor = FakeExecutor(2)
    loop_over(executor, "ab", tmp_path).run()
    assert sorted(worker_id for worker_id, offers in executor.offered if offers) == ["w0", "w1"]


def test_receipts_that_come_together_are_one_commit(tmp_path: Path) -> None:
    executor = FakeExecutor(capacity=4)
    loop = loop_over(executor, "abcd", tmp_path)
    loop.run()
    assert max(len(names) for names, _ in loop.ledger.commits) >= 2


@pytest.mark.parametrize("failure", [Failure.AMBIGUOUS, Failure.HANG])
def test_a_video_that_always_kills_its_worker_is_quarantined_and_the_others_are_done(
    failure: Failure, tmp_path: Path
) -> None:
    executor = FakeExecutor(2, fates(d=failure))
    loop = loop_over(executor, "abcdefg", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcefg", "ok") | {"d": "quarantined"}
    strikes = [entry[1]["d"] for entry in loop.ledger.commits if "d" in entry[1]]
    assert strikes == [1, 2, 3]
    assert "boom" in loop.ledger.outcomes["d"].message
    assert loop.progress.causes.num_by_class() == {"crash": 1}


def test_a_suspect_runs_alone(tmp_path: Path) -> None:
    executor = FakeExecutor(1, fates(b=Failure.AMBIGUOUS))
    loop_over(executor, "abcdef", tmp_path).run()
    alone = [[one.video_id for one in offers] for _, offers in executor.offered if any(one.alone for one in offers)]
    assert all(len(offers) == 1 for offers in alone)
    assert alone.count(["b"]) == 2


def test_a_poisoned_worker_is_killed_and_its_finished_videos_count(tmp_path: Path) -> None:
    fate = Times("b", "poison: CUDA error", 1)
    executor = FakeExecutor(1, fate, flush_every=10)
    loop = loop_over(executor, "abcd", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcd", "ok")
    assert executor.killed == ["w0"]
    assert "a" not in loop.ledger.commits[0][1]
    assert loop.ledger.commits[0] == (["w0-a"], {"b": 1}), "c only waited in the inbox"


def test_a_worker_that_was_asked_to_stop_is_replaced_without_a_strike_and_is_not_called_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executor = FakeExecutor(1, Times("b", "asked to stop", 1), flush_every=10)
    loop = loop_over(executor, "abcd", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcd", "ok")
    assert executor.killed == ["w0"]
    assert all(not strikes for _, strikes in loop.ledger.commits)
    assert "worker w0: the worker was asked to stop" in caplog.text
    assert "died" not in caplog.text


def test_lost_nodes_quarantine_nobody(tmp_path: Path) -> None:
    fate = Times("c", Failure.INFRASTRUCTURE, 20)
    loop = loop_over(FakeExecutor(2, fate), "abcde", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcde", "ok")
    assert all(not strikes for _, strikes in loop.ledger.commits)


def test_a_storage_fault_is_never_a_failed_video(tmp_path: Path) -> None:
    fate = Times("b", "reset by peer", 5)
    loop = loop_over(FakeExecutor(1, fate), "abc", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abc", "ok")
    assert [one.attempt for one in fate.attempts] == [1, 2, 3, 4, 5, 6]


def test_storage_that_stays_away_ends_the_job_resumably(tmp_path: Path) -> None:
    loop = loop_over(FakeExecutor(1, fates(a="no route", b="no route")), "ab", tmp_path)
    assert loop.run() is Ending.STORAGE
    assert loop.loop.last_failure == "storage: no route"
    assert loop.statuses == {}


def test_a_disk_that_is_full_at_the_end_of_a_video_again_and_again_ends_the_job(tmp_path: Path) -> None:
    executor = FakeExecutor(1, fates(a="at the end: no space left"))
    loop = loop_over(executor, "ab", tmp_path)
    assert loop.run() is Ending.STORAGE
    assert loop.progress.num_frames > 5
    assert loop.statuses == {"b": "ok"}
    assert loop.loop.last_failure == (
        "left for a later run, because storage refused them again and again: 1 video, 'a'; "
        "last: storage: at the end: no space left"
    )


def test_a_video_that_cannot_be_fetched_does_not_end_the_job_while_another_is_labeled(tmp_path: Path) -> None:
    """Each call labels a frame of a long video, or asks for what is not there."""
    frames_left = [400]

    def fate(one: WorkItem) -> Fate:
        frames_left[0] -= 1
        return "no such host" if one.video_id == "dead" else Status.OK if frames_left[0] < 0 else "goes on"

    executor = FakeExecutor(2, fate)
    loop = loop_over(executor, ["dead", "long"], tmp_path, clock_step=0.2)
    assert loop.run() is Ending.STORAGE
    assert loop.statuses == {"long": "ok"}


def test_videos_that_cannot_be_fetched_do_not_hold_up_the_others(tmp_path: Path) -> None:
    good = [f"v{number}" for number in range(30)]
    loop = loop_over(FakeExecutor(2, fates(**dict.fromkeys("abcd", "no such host"))), [*"abcd", *good], tmp_path)
    assert loop.run() is Ending.STORAGE
    assert loop.statuses == dict.fromkeys(good, "ok")


DEAD = {"d": "https://user:secret@gone.example/d.mp4?sig=1", "e": "https://gone.example/e.mp4"}


@pytest.mark.parametrize("others", ["abc", "abcdefghijklmnopqrstuvwxyz"])
def test_a_host_of_which_nothing_was_ever_read_is_its_videos_fault_while_other_places_can_be_read(
    others: str, tmp_path: Path
) -> None:
    ledger = FakeLedger(read={"", "s3://bucket"})
    executor = FakeExecutor(2, fates(d="no route", e="no such host"))
    loop = loop_over(executor, dict.fromkeys([*DEAD, *others]), tmp_path, ledger, uris=DEAD)
    assert loop.run(FailureBudget(0.9)) is Ending.DONE
    assert loop.statuses == {one: "failed" if one in DEAD else "ok" for one in {*DEAD, *others}}
    message = ledger.outcomes["d"].message
    assert message.startswith("https://***@gone.example/d.mp4?***: nothing was ever read from https://gone.example")
    assert "(no route)" in message
    assert "(no such host)" in ledger.outcomes["e"].message
    assert loop.progress.causes.num_by_class() == {"input": 2}


@pytest.mark.parametrize(
    "ledger",
    [
        FakeLedger(read={"", "https://gone.example"}),  # it has answered before, and may come back
        FakeLedger(),  # nothing could be read of any place: the network of this machine may be away
    ],
)
def test_a_host_that_may_come_back_is_left_for_a_later_run(ledger: FakeLedger, tmp_path: Path) -> None:
    loop = loop_over(FakeExecutor(1, fates(d="no route", e="no route")), "abcde", tmp_path, ledger, uris=DEAD)
    assert loop.run() is Ending.STORAGE
    assert loop.statuses == dict.fromkeys("abc", "ok")


def test_a_disk_of_this_machine_is_never_a_videos_fault(tmp_path: Path) -> None:
    loop = loop_over(FakeExecutor(1, fates(b="input/output error")), "ab", tmp_path, FakeLedger(read={"s3://bucket"}))
    assert loop.run() is Ending.STORAGE
    assert loop.statuses == {"a": "ok"}


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        (None, ""),
        ("/data/a.mp4", ""),
        ("file:///data/a.mp4", ""),
        ("s3://bucket/a/b.mp4", "s3://bucket"),
        ("https://user:secret@host:8080/a.mp4?token=1", "https://host:8080"),
        ("https://host/shard.tar::clip.mp4", "https://host"),
        ("tar://clip.mp4::s3://bucket/a.tar", "s3://bucket"),
        ("/data/shard.tar::clip.mp4", ""),
    ],
)
def test_the_host_of_a_video(uri: str | None, host: str) -> None:
    assert host_of(uri) == host


def test_a_commit_that_storage_refused_is_made_later(tmp_path: Path) -> None:
    ledger = FakeLedger(num_away=3)
    loop = loop_over(FakeExecutor(2), "abcdef", tmp_path, ledger)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcdef", "ok")


def test_a_job_whose_workers_cannot_start_ends_after_k_in_a_row(tmp_path: Path) -> None:
    executor = FakeExecutor(1, setup=lambda n: Lost(f"w{n}", Failure.ENVIRONMENT, "no such checkpoint"))
    loop = loop_over(executor, "abc", tmp_path)
    assert loop.run() is Ending.ENVIRONMENT
    assert executor.num_started == 3
    assert "no such checkpoint" in loop.loop.last_failure


def test_workers_that_start_between_failures_keep_the_job_going(tmp_path: Path) -> None:
    executor = FakeExecutor(2, setup=lambda n: Lost(f"w{n}", Failure.ENVIRONMENT, "one bad node") if n % 2 else None)
    loop = loop_over(executor, "abcdefgh", tmp_path)
    assert loop.run() is Ending.DONE
    assert len(loop.statuses) == 8


def test_a_node_where_no_worker_starts_does_not_stop_the_others(tmp_path: Path) -> None:
    executor = FakeExecutor(2, setup=lambda n: Lost(f"w{n}", Failure.ENVIRONMENT, "a bad node") if n else None)
    loop = loop_over(executor, [f"v{number}" for number in range(400)], tmp_path)
    assert loop.run() is Ending.DONE
    assert len(loop.statuses) == 400
    assert executor.num_started > 4


def test_a_failed_start_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    executor = FakeExecutor(1, setup=lambda n: Lost(f"w{n}", Failure.ENVIRONMENT, "busy") if n < 2 else None)
    loop = loop_over(executor, "ab", tmp_path)
    started = loop.clock()
    assert loop.run() is Ending.DONE
    assert loop.clock() - started > 1 + 2


def test_weights_that_cannot_be_fetched_for_a_while_are_no_failed_starts(tmp_path: Path) -> None:
    """A thousand workers that begin at once are told by the Hub to come back later."""
    busy = Counter[int]()

    def setup(number: int) -> Lost | None:
        busy[number] += 1
        return Lost(f"w{number}", Failure.STORAGE, "429 Too Many Requests") if number < 6 else None

    loop = loop_over(FakeExecutor(2, setup=setup), "abcdef", tmp_path)
    assert loop.run() is Ending.DONE
    assert loop.statuses == dict.fromkeys("abcdef", "ok")
    assert len(busy) >= 6


def test_weights_that_nobody_can_fetch_end_the_job_when_its_patience_ends(tmp_path: Path) -> None:
    executor = FakeExecutor(1, setup=lambda n: Lost(f"w{n}", Failure.STORAGE, "503 Service Unavailable"))
    loop = loop_over(executor, "abc", tmp_path)
    started = loop.clock()
    assert loop.run() is Ending.STORAGE
    assert 100 < loop.clock() - started < 300
    assert executor.num_started > 3
    assert "503" in loop.loop.last_failure


def test_too_many_failures_stop_the_job_after_a_hundred_videos(tmp_path: Path) -> None:
    video_ids = [f"v{number}" for number in range(1000)]
    executor = FakeExecutor(1, lambda one: Status.FAILED if int(one.video_id[1:]) % 3 else Status.OK)
    loop = loop_over(executor, video_ids, tmp_path)
    assert loop.run(FailureBudget(0.5)) is Ending.FAILURES
    assert 100 <= len(loop.statuses) <= 105


def test_videos_that_were_refused_before_work_began_do_not_stop_it(tmp_path: Path) -> None:
    loop = loop_over(FakeExecutor(1), [f"v{number}" for number in range(150)], tmp_path)
    loop.progress.committed(Outcome(f"r{number}", Status.FAILED, "", 0, 0, "input") for number in range(110))
    assert loop.run() is Ending.DONE


def test_a_quarantined_video_has_its_row_once_the_drivers_disk_is_free_again(tmp_path: Path) -> None:
    class FullDisk(FakeLedger):
        num_refusals = 3

        def write_quarantined(self, item: WorkItem, message: str) -> None:
            if self.num_refusals:
                self.num_refusals -= 1
                raise StorageError("no space left")
            super().write_quarantined(item, message)

    loop = loop_over(FakeExecutor(1, fates(b=Failure.AMBIGUOUS)), "abc", tmp_path, FullDisk())
    assert loop.run() is Ending.DONE
    assert loop.statuses == {"a": "ok", "b": "quarantined", "c": "ok"}


def test_failures_within_the_budget_do_not_stop_it(tmp_path: Path) -> None:
    video_ids = [f"v{number}" for number in range(150)]
    executor = FakeExecutor(1, lambda one: Status.FAILED if int(one.video_id[1:]) % 3 == 0 else Status.OK)
    loop = loop_over(executor, video_ids, tmp_path)
    assert loop.run(FailureBudget(0.5)) is Ending.DONE
    assert Counter(loop.statuses.values()) == {"ok": 100, "failed": 50}


def test_a_signal_drains_what_is_finished(tmp_path: Path) -> None:
    executor = FakeExecutor(2, flush_every=100)
    rounds = iter(range(100))
    loop = loop_over(executor, "abcdefghij", tmp_path, must_stop=lambda: next(rounds) >= 4)
    assert loop.run() is Ending.STOPPED
    assert set(executor.drained) == {"w0", "w1"}
    finished = loop.statuses
    assert 2 <= len(finished) < 10
    assert set(finished.values()) == {"ok"}


def test_a_signal_waits_20_seconds_for_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    executor = FakeExecutor(1)
    stopped_at: list[float] = []

    def must_stop() -> bool:
        """Once there is work, which nobody reports any more."""
        if executor.offered and not stopped_at:
            executor.wait = lambda timeout_seconds: []  # type: ignore[method-assign]
            stopped_at.append(loop.clock.now)
        return bool(stopped_at)

    loop = loop_over(executor, "ab", tmp_path, must_stop=must_stop)
    assert loop.run() is Ending.STOPPED
    assert loop.clock.now - stopped_at[0] == pytest.approx(20, abs=0.5)
    assert loop.statuses == {}


def test_a_signal_drains_a_worker_that_had_just_finished(tmp_path: Path) -> None:
    """Its last report has nothing in flight, but a finished video is still on its disk."""
    executor = FakeExecutor(1, flush_every=100)
    loop = loop_over(executor, "ab", tmp_path, must_stop=lambda: bool(executor.finished.get("w0")))
    assert loop.run() is Ending.STOPPED
    assert loop.statuses == {"a": "ok", "b": "ok"}


def test_a_signal_before_a_worker_is_ready_ends_at_once(tmp_path: Path) -> None:
    executor = FakeExecutor(2)
    executor.wait = lambda timeout_seconds: []  # type: ignore[method-assign]
    rounds = iter(range(10))
    loop = loop_over(executor, "ab", tmp_path, must_stop=lambda: next(rounds) >= 1)
    assert loop.run() is Ending.STOPPED
    assert sorted(executor.killed) == ["w0", "w1"]


def test_a_run_ends_when_its_budget_is_used_up_and_what_was_begun_is_committed(tmp_path: Path) -> None:
    """Each worker costs while it has its model loaded: three of them take a budget three times as fast."""
    seconds: dict[int, float] = {}
    for capacity in (1, 3):
        executor = FakeExecutor(capacity, flush_every=2)
        loop = loop_over(
            executor, map(str, range(1000)), tmp_path / str(capacity), spent=lambda used: "max" * (used > 6)
        )
        assert loop.run() is Ending.BUDGET
        assert loop.loop.last_failure == "max"
        assert 6 < loop.progress.worker_seconds < 7
        offered = {one.video_id for _, offers in executor.offered for one in offers}
        assert set(loop.ledger.outcomes) <= offered
        assert set(executor.drained) == {f"w{number}" for number in range(capacity)}
        seconds[capacity] = loop.progress.seconds
    assert seconds[1] == pytest.approx(3 * seconds[3], rel=0.2)
