"""The workers of a job: which start, which wait for work, which are at it, and when one comes or goes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pipeline.cluster.executor import Event, Executor, Failure, Lost, Ready
from pipeline.driver.clock import DEFAULT_PACE, Clock
from pipeline.driver.limits import pause_seconds
from pipeline.records import WorkItem

_log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.05


class Workers:
    """Starts workers and ends them. Each is *starting*, *idle* (no call is outstanding) or *busy*.

    A worker that has had nothing to do for `release_seconds` is ended, so that others can have its GPU.
    """

    def __init__(self, executor: Executor, clock: Clock, release_seconds: float = DEFAULT_PACE.release_seconds) -> None:
        self._executor = executor
        self._clock = clock
        self._release_seconds = release_seconds
        self._starting: set[str] = set()
        self._idle: dict[str, float] = {}  # not before which time it is asked again
        self._busy: set[str] = set()
        self._retired: set[str] = set()
        self._useless_since: dict[str, float] = {}
        self._num_failed_starts = 0
        self._no_start_before = 0.0
        self._has_no_node = False

    @property
    def count(self) -> int:
        """Workers that live, those that are starting included."""
        return len(self._idle) + len(self._busy) + len(self._starting)

    @property
    def num_ready(self) -> int:
        """Workers that have loaded their model."""
        return len(self._idle) + len(self._busy)

    @property
    def has_started(self) -> bool:
        """Whether a worker lives that has loaded its model."""
        return self.num_ready > 0

    def start_missing(self, num_waiting: Callable[[int], int]) -> None:
        """Start as many as can run and have something to do.

        `num_waiting` counts the videos that wait, up to a number. After a failed start nothing is started for a while.
        """
        if self._clock() < self._no_start_before or self._has_no_node:
            return
        room = self._executor.capacity - self.count
        wanted = num_waiting(room + len(self._starting)) - len(self._starting) if room > 0 else 0
        for _ in range(min(room, wanted)):
            self._starting.add(self._executor.start())

    def cannot_start(self, max_failures: int) -> bool:
        """Whether so many starts failed in a row and no worker lives. A bad node among good ones is no such case."""
        return self._num_failed_starts >= max_failures and not self.has_started

    def start_none_before(self, time: float) -> None:
        """Start no worker before this time, because what kept one from starting is left alone until then."""
        self._no_start_before = max(self._no_start_before, time)

    def leave_alone(self, node: str) -> None:
        """Start no more workers on this node."""
        self._has_no_node = not self._executor.avoid(node) or self._has_no_node

    def has_no_place(self) -> bool:
        """Whether no worker lives, and all nodes where one could start are left alone."""
        return self._has_no_node and self.count == 0

    def idle(self) -> list[str]:
        """Workers that can be asked now."""
        now = self._clock()
        return [worker_id for worker_id, not_before in self._idle.items() if not_before <= now]

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        """Have an idle worker go on with its videos and these."""
        self._is_asked(worker_id)
        self._executor.work(worker_id, offers)

    def drain(self, worker_id: str) -> None:
        """Have an idle worker publish what is finished."""
        self._is_asked(worker_id)
        self._executor.drain(worker_id)

    def retire_idle(self) -> None:
        """Have each idle worker publish what is finished. One that has done this is asked for nothing more."""
        for worker_id in list(self._idle):
            if worker_id in self._retired:
                del self._idle[worker_id]
            else:
                self._retired.add(worker_id)
                self.drain(worker_id)

    def wait(self, timeout_seconds: float) -> list[Event]:
        """What happened, at least one event unless the time is over or nothing is outstanding."""
        if self._busy or self._starting:
            return self._executor.wait(timeout_seconds)
        self._clock.sleep(_IDLE_SECONDS)
        return []

    def is_ready(self, ready: Ready) -> None:
        """A worker has loaded its model."""
        _log.info("worker %s is ready: %s", ready.worker_id, ready.device)
        self._num_failed_starts = 0
        self._starting.discard(ready.worker_id)
        self._idle[ready.worker_id] = 0.0

    def has_answered(self, worker_id: str, not_before: float) -> None:
        """A worker's call came back. It is left alone until then."""
        self._busy.discard(worker_id)
        self._idle[worker_id] = not_before

    def is_lost(self, lost: Lost) -> None:
        """A worker is gone. If it could not start, no worker is started for 1 s, then 2 s, 4 s … up to 60 s."""
        self._forget(lost.worker_id)
        if lost.failure is Failure.ENVIRONMENT:
            self._num_failed_starts += 1
            self._no_start_before = self._clock() + pause_seconds(self._num_failed_starts)

    def kill(self, worker_id: str) -> None:
        """End a worker at once."""
        self._executor.kill(worker_id)
        self._forget(worker_id)

    def kill_starting(self) -> None:
        """End those that have not loaded their model."""
        for worker_id in list(self._starting):
            self.kill(worker_id)

    def end_if_useless(self, worker_id: str) -> bool:
        """Say that there was nothing for an idle worker. Returns whether it is ended for that; the last one stays."""
        now = self._clock()
        since = self._useless_since.setdefault(worker_id, now)
        if now - since < self._release_seconds or self.count == 1:
            return False
        _log.info("worker %s is ended, because no video is left for it", worker_id)
        self.kill(worker_id)
        return True

    def _is_asked(self, worker_id: str) -> None:
        self._useless_since.pop(worker_id, None)
        del self._idle[worker_id]
        self._busy.add(worker_id)

    def _forget(self, worker_id: str) -> None:
        self._starting.discard(worker_id)
        self._busy.discard(worker_id)
        self._idle.pop(worker_id, None)
        self._useless_since.pop(worker_id, None)
