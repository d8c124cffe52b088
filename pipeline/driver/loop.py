"""The driver's loop: it keeps workers busy, commits what they publish, replaces lost ones and knows when to stop.

Log entries are written in a thread beside the loop (`Receipts`), because workers would wait while the store answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.cluster.executor import Event, Executor, Failure, Lost, Ready, Reported
from pipeline.driver.bad_nodes import BadNodes
from pipeline.driver.clock import DEFAULT_PACE, Clock, Pace, SystemClock
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.hosts import host_of, is_dead
from pipeline.driver.limits import FailureBudget, Limits, ShutOut, StorageOutage
from pipeline.driver.log_file import log_video
from pipeline.driver.progress import Progress
from pipeline.driver.receipts import Ledger, Receipts, Submit, in_a_thread
from pipeline.driver.workers import Workers
from pipeline.errors import StorageError
from pipeline.records import Ending, Outcome, Report
from pipeline.redact import redact_uri
from pipeline.text import counted

_log = logging.getLogger(__name__)

# How long the loop waits for news of the workers while a commit is being written, before it looks at that.
_LOOK_SECONDS = 0.1

# How long a loop that an error ends waits for the commit that is being written: most of them take a tenth of this.
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Interrupts:
    """What ends a loop from outside: `must_stop` says that a signal came, `check_owner` raises for another driver.

    `spent` says, by the seconds of all workers, what of the run's budget is used up; empty while nothing is.
    """

    must_stop: Callable[[], bool] = lambda: False
    check_owner: Callable[[], None] = lambda: None
    spent: Callable[[float], str] = lambda worker_seconds: ""


@dataclass(frozen=True)
class Timing:
    """The time that a loop goes by, and what writes its commits while it goes on."""

    clock: Clock = field(default_factory=SystemClock)
    pace: Pace = DEFAULT_PACE
    submit: Submit = in_a_thread


class Loop:
    """Runs a plan to its end. `last_failure` is what went wrong last, in words for a person."""

    def __init__(
        self,
        executor: Executor,
        dispatcher: Dispatcher,
        ledger: Ledger,
        progress: Progress,
        limits: Limits,
        interrupts: Interrupts,
        timing: Timing | None = None,
    ) -> None:
        self.last_failure = ""
        self._dispatcher = dispatcher
        self._progress = progress
        self._limits = limits
        self._interrupts = interrupts
        timing = timing or Timing()
        self._pace, self._clock = timing.pace, timing.clock
        self._workers = Workers(executor, self._clock, self._pace.release_seconds)
        self._nodes = BadNodes()
        self._receipts = Receipts(ledger, timing.submit)
        self._outage = StorageOutage(self._clock, limits.storage_patience_seconds)
        self._no_weights = StorageOutage(self._clock, limits.storage_patience_seconds)
        # Apart from the others, because workers that go on say nothing of whether the log can be written from here.
        self._no_commits = StorageOutage(self._clock, limits.storage_patience_seconds)
        self._no_commit_before = 0.0
        self._shut_out = ShutOut(self._clock, limits.storage_patience_seconds)
        self._budget = FailureBudget(max_failed_fraction=1.0)
        self._refusals: dict[str, str] = {}  # what storage said last of a video

    def run(self, budget: FailureBudget | None = None) -> Ending:
        """Label everything that is planned. Returns early for a signal, or when it makes no sense to go on.

        `budget` counts what failed and says when that is too much. Without one no number is.
        """
        self._budget = budget or self._budget
        try:
            return self._run()
        finally:
            self._receipts.settle(_SETTLE_SECONDS)

    def _run(self) -> Ending:
        while not self._dispatcher.done:
            self._interrupts.check_owner()
            ending = self._reason_to_stop()
            if ending is not None:
                self._drain()
                return self._end(ending)
            self._workers.start_missing(self._dispatcher.num_waiting)
            self._give_work()
            for event in self._wait():
                self._handle(event)
            self._give_work()
            self._commit()
            ready = self._workers.num_ready
            self._progress.tick("running", ready, self._workers.count - ready)
        self._commit_rest()
        return self._end(Ending.STORAGE if self._dispatcher.set_aside else Ending.DONE)

    def _end(self, ending: Ending) -> Ending:
        """How a run ends that came so far. Videos whose host never answered have failed, and are not left."""
        if ending is not Ending.STORAGE:
            return ending
        self._fail_unreachable()
        if self._dispatcher.done and not self._dispatcher.set_aside:
            return Ending.DONE
        if left := self._dispatcher.set_aside:
            named = ", ".join(map(repr, left[:3])) + (", …" if len(left) > 3 else "")
            videos, last = counted(len(left), "video"), self._outage.last_error
            self._note(
                f"left for a later run, because storage refused them again and again: {videos}, {named}; last: {last}"
            )
        return Ending.STORAGE

    def _fail_unreachable(self) -> None:
        """Give rows to the refused videos of which host nothing was ever read, while other places could be read."""
        refused = [item for item in self._dispatcher.unfinished() if item.video_id in self._refusals]
        try:
            hosts_read = self._receipts.hosts_read() if refused else ()
        except StorageError:
            return  # the job's own store is away, so that nothing can be said of others
        for item in refused:
            host = host_of(item.source.uri)
            if is_dead(host, hosts_read):
                self._dispatcher.give_up(item)
                self._receipts.unreachable(
                    item,
                    f"{redact_uri(item.source.uri or '')}: nothing was ever read from {host}, while other places can "
                    f"be read ({self._refusals[item.video_id]}); check the uri, or take the row away",
                )
        self._commit_rest()

    def _reason_to_stop(self) -> Ending | None:
        if self._interrupts.must_stop():
            return Ending.STOPPED
        if spent := self._interrupts.spent(self._progress.worker_seconds):
            self.last_failure = spent
            return Ending.BUDGET
        too_many = self._budget.exceeded()
        if too_many:
            self.last_failure = too_many
            return Ending.FAILURES
        if self._workers.cannot_start(self._limits.max_setup_failures) or self._workers.has_no_place():
            return Ending.ENVIRONMENT
        is_without_weights = self._no_weights.is_too_long() and not self._workers.has_started
        is_away = self._outage.is_too_long() or self._no_commits.is_too_long()
        return Ending.STORAGE if is_away or is_without_weights else None

    def _give_work(self) -> None:
        """Offer videos to each idle worker. One for which nothing is left publishes what it holds, or is ended."""
        now = self._clock()
        for worker_id in self._workers.idle():
            offers = self._dispatcher.offers(worker_id, now, self._workers.count)
            if offers or self._dispatcher.num_open(worker_id):
                self._workers.work(worker_id, offers)
            elif self._dispatcher.needs_flush(worker_id):
                self._workers.drain(worker_id)
            elif self._dispatcher.num_waiting(1) == 0 and self._workers.end_if_useless(worker_id):
                self._dispatcher.lost(worker_id, Failure.INFRASTRUCTURE)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Ready):
            self._workers.is_ready(event)
            self._no_weights.is_over()
            self._nodes.is_ready(event.worker_id, event.node)
            self._dispatcher.add_worker(event.worker_id)
        elif isinstance(event, Reported):
            self._workers.has_answered(event.worker_id, self._take(event.report))
            if (end := event.report.end) is not None:
                self._workers.kill(event.worker_id)
                failure = Failure.AMBIGUOUS if end.is_broken else Failure.STOPPED
                self._lose(Lost(event.worker_id, failure, end.reason))
            elif self._shut_out.is_to_go(event.report):
                self._workers.kill(event.worker_id)
                message = f"it cannot publish its videos, and others can: {event.report.storage_errors[-1]}"
                self._lose(Lost(event.worker_id, Failure.SHUT_OUT, message))
        else:
            self._lose(event)

    def _take(self, report: Report) -> float:
        """Note what a worker says. Returns until when it is left alone, because storage did not answer it."""
        self._progress.worked(report.done)
        if report.done.num_steps:
            self._nodes.has_labeled(report.worker_id)
        if report.segments or (report.done.num_steps and not report.storage_errors):
            self._storage_answered()
        pause_until = self._storage_failed(report.storage_errors[-1]) if report.storage_errors else 0.0
        noted = self._dispatcher.report(report, self._clock(), pause_until)
        if report.storage_errors:
            errors = report.storage_errors * len(report.returned)  # one for each, or one for all
            self._refusals |= {item.video_id: error for item, error in zip(report.returned, errors, strict=False)}
        for item in noted.set_aside:
            _log.warning("video %r is set aside: %s", item.video_id, self._outage.last_error)
        self._receipts.add(report.segments, noted.strikes)
        return pause_until

    def _lose(self, lost: Lost) -> None:
        """A worker is gone: its videos are labeled again, and those that may have been the cause get a strike."""
        self._note(f"worker {lost.worker_id}: {lost.failure.value}: {lost.message}")
        self._workers.is_lost(lost)
        self._shut_out.forget(lost.worker_id)
        if lost.failure is Failure.STORAGE:  # no fault of the worker, so that it does not count as a failed start
            self._workers.start_none_before(self._no_weights.failed(lost.message))
        if node := self._nodes.lost(lost, self._dispatcher.has_suspect(lost.worker_id)):
            self._note(f"node {node} is left alone: {self._nodes.left_alone[node]}")
            self._progress.left_alone[node] = self._nodes.left_alone[node]
            self._workers.leave_alone(node)
        loss = self._dispatcher.lost(lost.worker_id, lost.failure)
        self._receipts.add((), loss.strikes)
        for video_id, strikes in loss.strikes.items():
            about = {"video_id": video_id, "strikes": strikes, "worker_id": lost.worker_id}
            _log.warning("video %r was in flight: strike %d", video_id, strikes, extra=about)
        for item in loss.quarantined:
            deaths = counted(loss.strikes[item.video_id], "death")
            last = lost.message or lost.failure.value
            self._receipts.quarantine(item, f"in flight at {deaths} of its worker; last: {last}")

    def _wait(self) -> list[Event]:
        """News of the workers. While a commit is being written, the loop looks at that as well."""
        seconds = self._pace.wait_seconds
        return self._workers.wait(min(seconds, _LOOK_SECONDS) if self._receipts.is_writing else seconds)

    def _commit(self) -> None:
        """Take what was written, and begin one log entry for everything that came in meanwhile.

        After one that storage did not take, nothing is begun for 1 s, then 2 s, 4 s … up to 60 s.
        """
        self._take_commit(self._receipts.take)
        if self._clock() >= self._no_commit_before:
            self._receipts.begin()
            self._take_commit(self._receipts.take)

    def _commit_rest(self) -> None:
        """Write everything that came in, and wait for it. If storage is away, the next run goes on without it."""
        while self._take_commit(self._receipts.finish):
            pass

    def _take_commit(self, taken: Callable[[], list[Outcome] | None]) -> bool:
        """Note what a commit made final; False if none has ended. If storage is away, the next one says it again."""
        try:
            outcomes = taken()
        except StorageError as error:
            self._no_commit_before = self._no_commits.failed(str(error))
            self._note(self._no_commits.last_error)
            return False
        if outcomes is None:
            return False
        self._no_commits.is_over()
        if outcomes:
            self._storage_answered()
        # Another attempt may have been faster: a video counts once.
        new = {outcome.video_id: outcome for outcome in outcomes if self._dispatcher.awaits(outcome.video_id)}
        for outcome in new.values():
            log_video(outcome, self._dispatcher.attempt_of(outcome.video_id))
        self._dispatcher.committed(new)
        self._progress.committed(new.values())
        self._budget.count(new.values())
        return True

    def _drain(self) -> None:
        """Let workers publish what is finished, for up to 20 s, and commit it."""
        deadline = self._clock() + self._pace.drain_seconds
        self._workers.kill_starting()
        while self._workers.has_started and self._clock() < deadline:
            self._workers.retire_idle()
            for event in self._wait():
                self._handle(event)
            self._commit()
            self._progress.has_workers(self._workers.num_ready)
        self._commit_rest()

    def _storage_failed(self, message: str) -> float:
        """Returns until when to leave storage alone."""
        until = self._outage.failed(message)
        self._note(self._outage.last_error)
        return until

    def _storage_answered(self) -> None:
        if self._outage.is_over():
            self._dispatcher.storage_is_back()

    def _note(self, message: str) -> None:
        _log.warning("%s", message)
        self.last_failure = message
        self._progress.note(message)
