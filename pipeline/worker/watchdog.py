"""A helper thread that is watched: one that works is told from one that hangs, by the processor time that it uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_LEAST_SECONDS = 0.001


class StallWatch:
    """Watches one helper thread, which calls `adopt`. Whoever waits for it asks `hangs` now and then.

    A thread that decodes or reads uses the processor, however slow its disk or its server is. A thread that waits for a
    lock that nobody holds uses none. Where the system cannot say how much a thread has used, no thread ever hangs.
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
        """Whether the thread has used no processor for `hang_seconds` while somebody waited for it."""
        if self._thread_clock is None:
            return False
        used, now = time.clock_gettime(self._thread_clock), self._clock()
        if self._still_since is None or used - self._used > _LEAST_SECONDS:
            self._used, self._still_since = used, now
        return now - self._still_since > self._hang_seconds

    def relax(self) -> None:
        """Nobody waits for the thread now. The time counts anew when somebody asks `hangs` again."""
        self._still_since = None


class WatchedThread:
    """One helper thread that runs what is submitted, one call after the other, under a `StallWatch`."""

    def __init__(self, name: str, hang_seconds: float) -> None:
        self.watch = StallWatch(hang_seconds)
        self._pool = ThreadPoolExecutor(1, name, initializer=self.watch.adopt)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have `call` run when the calls before it are done."""
        return self._pool.submit(call)

    def close(self) -> None:
        """Cancel what has not begun. A call that hangs is left alone, because nothing can end it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
