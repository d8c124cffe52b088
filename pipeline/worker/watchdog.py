"""Tells a helper thread that works from one that hangs, by the processor time that it uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_LEAST_SECONDS = 0.001


class StallWatch:
    """For one helper thread, which calls `adopt`. Whoever waits for it asks `hangs` now and then, and `relax`es after.

    A thread that decodes or reads uses the processor, however slow its disk or server is; one that waits for a lock
    that nobody holds does not. Where the system cannot say how much a thread has used, nothing ever hangs.
    """

    def __init__(self, hang_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._hang_seconds = hang_seconds
        self._clock = clock
        self._thread_clock: int | None = None
        self._used = 0.0
        self._still_since: float | None = None

    def adopt(self) -> None:
        """Watch the thread that calls this."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._thread_clock = time.pthread_getcpuclockid(threading.get_ident())

    def hangs(self) -> bool:
        """Whether the thread has done nothing for `hang_seconds` in which it was asked for."""
        if self._thread_clock is None:
            return False
        used, now = time.clock_gettime(self._thread_clock), self._clock()
        if self._still_since is None or used - self._used > _LEAST_SECONDS:
            self._used, self._still_since = used, now
        return now - self._still_since > self._hang_seconds

    def relax(self) -> None:
        """Nobody waits for the thread."""
        self._still_since = None
