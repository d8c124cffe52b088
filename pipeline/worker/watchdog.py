"""Helper threads that are watched: those that work are told from those that hang, by the processor time they use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_LEAST_SECONDS = 0.001


class StallWatch:
    """Watches helper threads, each of which calls `adopt`. Whoever waits for them asks `hangs` now and then.

    A thread that decodes or reads uses the processor, however slow its disk or its server is. A thread that waits for a
    lock that nobody holds uses none. Threads hang when none of them uses any: while one works, there is no hurry. Where
    the system cannot say how much a thread has used, no thread ever hangs.
    """

    def __init__(self, hang_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._hang_seconds = hang_seconds
        self._clock = clock
        self._thread_clocks: list[int] = []
        self._used = 0.0
        self._still_since: float | None = None

    def adopt(self) -> None:
        """Watch the thread that calls this, too. It must not end before the last call of `hangs`."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._thread_clocks.append(time.pthread_getcpuclockid(threading.get_ident()))

    def hangs(self) -> bool:
        """Whether the threads have used no processor for `hang_seconds` while somebody waited for them."""
        if not self._thread_clocks:
            return False
        used, now = sum(time.clock_gettime(one) for one in self._thread_clocks), self._clock()
        if self._still_since is None or used - self._used > _LEAST_SECONDS:
            self._used, self._still_since = used, now
        return now - self._still_since > self._hang_seconds

    def relax(self) -> None:
        """Nobody waits for the threads now. The time counts anew when somebody asks `hangs` again."""
        self._still_since = None


class WatchedThreads:
    """Helper threads that run what is submitted, in its order, under a `StallWatch`."""

    def __init__(
        self, name: str, hang_seconds: float, num_threads: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.watch = StallWatch(hang_seconds, clock)
        self._pool = ThreadPoolExecutor(num_threads, name, initializer=self.watch.adopt)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have `call` run when a thread has done the calls before it."""
        return self._pool.submit(call)

    def close(self) -> None:
        """Cancel what has not begun. A call that hangs is left alone, because nothing can end it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
