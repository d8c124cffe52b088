"""The driver's loop: keeps workers busy, commits what they publish, replaces lost ones, knows when to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.cluster.executor import Event, Executor, Failure, Lost, Ready, Reported
from pipeline.config.job_config import WorkerConfig
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.log_file import log_video
from pipeline.driver.progress import Progress
from pipeline.errors import StorageError
from pipeline.records import Ending, Outcome, Report, Segment, Status, WorkItem
from pipeline.text import counted

_log = logging.getLogger(__name__)

_WAIT_SECONDS = 1.0
_DRAIN_SECONDS = 20.0
_RELEASE_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 60.0
_MIN_VIDEOS_TO_JUDGE = 100


class Ledger(Protocol):
    """Where results become final. Both raise `StorageError` if storage is away, and may be called again."""

    def commit(self, segments: list[Segment], strikes: dict[str, int]) -> list[Outcome]:
        """Commit published segments and strikes; returns all their outcomes, also of videos finished before."""

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        """Have a row for a video that no worker survives; it is published with the next commit."""


@dataclass(frozen=True)
class Limits:
    """When the loop gives up."""

    max_failed_fraction: float
    max_setup_failures: int
    storage_patience_seconds: float

    @classmethod
    def of(cls, worker: WorkerConfig, max_failed_fraction: float) -> Limits:
        """The limits of a config."""
        return cls(max_failed_fraction, worker.max_setup_failures, worker.storage_patience_seconds)


@dataclass
class Loop:
    """Runs a plan to its end. `must_stop` says that a signal came; `check_owner` raises if another driver took over."""

    executor: Executor
    dispatcher: Dispatcher
    ledger: Ledger
    progress: Progress
    limits: Limits
    must_stop: Callable[[], bool]
    check_owner: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    last_failure: str = ""
    _idle: dict[str, float] = field(default_factory=dict)
    _idle_since: dict[str, float] = field(default_factory=dict)
    _starting: set[str] = field(default_factory=set)
    _busy: set[str] = field(default_factory=set)
    _segments: list[Segment] = field(default_factory=list)
    _strikes: dict[str, int] = field(default_factory=dict)
    _setup_failures: int = 0
    _no_start_before: float = 0.0
    _storage_errors: int = 0
    _storage_error: str = ""
    _storage_away_since: float | None = None
    _num_judged: int = 0
    _num_bad: int = 0
    _unwritten: list[tuple[WorkItem, str]] = field(default_factory=list)

    def run(self) -> Ending:
        """Label everything that is planned; returns early for a signal or when it makes no sense to go on."""
        while not self.dispatcher.done:
            self.check_owner()
            ending = self._reason_to_stop()
            if ending is not None:
                self._drain()
                return ending
            self._start_workers()
            self._give_work()
            for event in self._wait():
                self._handle(event)
            self._give_work()
            self._commit()
            self.progress.tick("running", self.num_workers)
        left = self.dispatcher.set_aside
        if not left:
            return Ending.DONE
        named = ", ".join(map(repr, left[:3])) + (", …" if len(left) > 3 else "")
        self._note(f"left for a later run: {len(left)} refused again and again, {named}; last: {self._storage_error}")
        return Ending.STORAGE

    @property
    def num_workers(self) -> int:
        """Workers that live, those that are starting included."""
        return len(self._idle) + len(self._busy) + len(self._starting)

    def _reason_to_stop(self) -> Ending | None:
        if self.must_stop():
            return Ending.STOPPED
        if (
            self._num_judged >= _MIN_VIDEOS_TO_JUDGE
            and self._num_bad > self.limits.max_failed_fraction * self._num_judged
        ):
            self.last_failure = f"{self._num_bad} of the first {self._num_judged} of this run"
            return Ending.FAILURES
        # A bad node among good ones is no reason: the workers that live go on.
        if self._setup_failures >= self.limits.max_setup_failures and not (self._busy or self._idle):
            return Ending.ENVIRONMENT
        since = self._storage_away_since
        if since is not None and self.clock() - since > self.limits.storage_patience_seconds:
            return Ending.STORAGE
        return None

    def _start_workers(self) -> None:
        """As many as can run and have something to do, unless the last ones could not start a moment ago."""
        if self.clock() < self._no_start_before:
            return
        room = self.executor.capacity - self.num_workers
        wanted = self.dispatcher.num_waiting(room + len(self._starting)) - len(self._starting) if room > 0 else 0
        for _ in range(min(room, wanted)):
            self._starting.add(self.executor.start())

    def _give_work(self) -> None:
        """Offers to every worker that waits for them; who has nothing more to do publishes what it holds."""
        now = self.clock()
        for worker_id in [worker_id for worker_id, not_before in self._idle.items() if not_before <= now]:
            offers = self.dispatcher.offers(worker_id, now, self.num_workers)
            if offers or self.dispatcher.num_open(worker_id):
                self.executor.work(worker_id, offers)
            elif self.dispatcher.needs_flush(worker_id):
                self.executor.drain(worker_id)
            else:
                self._release_if_useless(worker_id, now)
                continue
            self._idle_since.pop(worker_id, None)
            del self._idle[worker_id]
            self._busy.add(worker_id)

    def _release_if_useless(self, worker_id: str, now: float) -> None:
        """End a worker that has had nothing to do for a while, so that others can have its GPU; the last one stays."""
        since = self._idle_since.setdefault(worker_id, now)
        has_work = not self.dispatcher.holds_nothing(worker_id) or self.dispatcher.num_waiting(1) > 0
        if has_work or now - since < _RELEASE_SECONDS or self.num_workers == 1:
            return
        _log.info("worker %s is ended: nothing is left for it", worker_id)
        self.executor.kill(worker_id)
        self.dispatcher.lost(worker_id, Failure.INFRASTRUCTURE)
        del self._idle[worker_id], self._idle_since[worker_id]

    def _wait(self) -> list[Event]:
        if self._busy or self._starting:
            return self.executor.wait(_WAIT_SECONDS)
        self.sleep(0.05)
        return []

    def _handle(self, event: Event) -> None:
        if isinstance(event, Ready):
            _log.info("worker %s is ready: %s", event.worker_id, event.device)
            self._setup_failures = 0
            self._starting.discard(event.worker_id)
            self.dispatcher.add_worker(event.worker_id)
            self._idle[event.worker_id] = 0.0
        elif isinstance(event, Reported):
            self._busy.discard(event.worker_id)
            self._idle[event.worker_id] = self._take(event.report)
            if event.report.poisoned:
                self.executor.kill(event.worker_id)
                self._lose(Lost(event.worker_id, Failure.AMBIGUOUS, event.report.poisoned))
        else:
            self._lose(event)

    def _take(self, report: Report) -> float:
        """Note what a worker says; returns until when it is left alone, because storage did not answer."""
        self.progress.worked(report.num_frames, report.stage_seconds)
        self._segments.extend(report.segments)
        if report.segments or (report.num_frames and not report.storage_errors):
            self._storage_is_back()
        pause_until = self._storage_failed(report.storage_errors[-1]) if report.storage_errors else 0.0
        num_before = len(self.dispatcher.set_aside)
        self.dispatcher.report(report, self.clock(), pause_until)
        for video_id in self.dispatcher.set_aside[num_before:]:
            _log.warning("video %r is left for a later run: %s", video_id, self._storage_error)
        self._strikes.update(self.dispatcher.take_cleared())
        return pause_until

    def _lose(self, lost: Lost) -> None:
        for workers in (self._busy, self._starting):
            workers.discard(lost.worker_id)
        self._idle.pop(lost.worker_id, None)
        self._idle_since.pop(lost.worker_id, None)
        self._note(f"worker {lost.worker_id}: {lost.failure.value}: {lost.message}")
        if lost.failure is Failure.ENVIRONMENT:
            self._setup_failures += 1
            self._no_start_before = self.clock() + _pause(self._setup_failures)
        loss = self.dispatcher.lost(lost.worker_id, lost.failure)
        self._strikes.update(loss.strikes)
        for video_id, strikes in loss.strikes.items():
            about = {"video_id": video_id, "strikes": strikes, "worker_id": lost.worker_id}
            _log.warning("video %r was in flight: strike %d", video_id, strikes, extra=about)
        for item in loss.quarantined:
            count = loss.strikes[item.video_id]
            message = (
                f"in flight at {counted(count, 'death')} of its worker; last: {lost.message or lost.failure.value}"
            )
            self._unwritten.append((item, message))

    def _commit(self) -> None:
        """One log entry for everything that came in; if storage is away, the next round tries again."""
        try:
            while self._unwritten:
                self.ledger.write_quarantined(*self._unwritten[-1])
                self._unwritten.pop()
            outcomes = self.ledger.commit(self._segments, self._strikes)
        except StorageError as error:
            self._storage_failed(str(error))
            return
        if outcomes:
            self._storage_is_back()
        self._segments, self._strikes = [], {}
        # Another attempt may have been faster: a video counts once.
        new = {outcome.video_id: outcome for outcome in outcomes if self.dispatcher.awaits(outcome.video_id)}
        for outcome in new.values():
            log_video(outcome, self.dispatcher.attempt_of(outcome.video_id))
        self.dispatcher.committed(new)
        self.progress.committed(new.values())
        self._num_judged += len(new)
        self._num_bad += sum(outcome.status is not Status.OK for outcome in new.values())

    def _drain(self) -> None:
        """Let workers publish what is finished, for a while; commit it."""
        deadline = self.clock() + _DRAIN_SECONDS
        for worker_id in list(self._starting):
            self._starting.discard(worker_id)
            self.executor.kill(worker_id)
        asked: set[str] = set()
        while (self._idle or self._busy) and self.clock() < deadline:
            for worker_id in list(self._idle):
                del self._idle[worker_id]
                if worker_id not in asked:
                    asked.add(worker_id)
                    self.executor.drain(worker_id)
                    self._busy.add(worker_id)
            for event in self.executor.wait(_WAIT_SECONDS):
                self._handle(event)
            self._commit()

    def _storage_failed(self, message: str) -> float:
        """Returns until when to leave storage alone."""
        self._storage_error = f"storage: {message}"
        self._note(self._storage_error)
        self._storage_errors += 1
        if self._storage_away_since is None:
            self._storage_away_since = self.clock()
        return self.clock() + _pause(self._storage_errors)

    def _storage_is_back(self) -> None:
        if self._storage_away_since is not None:
            self.dispatcher.storage_is_back()
        self._storage_errors, self._storage_away_since = 0, None

    def _note(self, message: str) -> None:
        _log.warning("%s", message)
        self.last_failure = self.progress.last_error = message


def _pause(num_failures: int) -> float:
    return min(float(2 ** min(num_failures - 1, 10)), _LONGEST_PAUSE_SECONDS)
