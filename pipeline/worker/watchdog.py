"""Helper threads that are watched: those that work are told from those that hang, by the processor time they use."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

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


_Calls = queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
_EXIT_SECONDS = 5.0
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class WatchedThreads:
    """Helper threads that run what is submitted, in its order, under a `StallWatch`.

    They are daemons, because a call that hangs must not keep the process from ending. Python's own pool waits there for
    its threads, however long.
    """

    def __init__(
        self, name: str, hang_seconds: float, num_threads: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.watch = StallWatch(hang_seconds, clock)
        self._calls: _Calls = queue.SimpleQueue()
        self._end = weakref.finalize(self, _end, self._calls, num_threads)
        for number in range(num_threads):
            thread = threading.Thread(
                target=_run, args=(self._calls, self.watch.adopt), name=f"{name}_{number}", daemon=True
            )
            thread.start()
            _threads.add(thread)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have `call` run when a thread has done the calls before it."""
        if not self._end.alive:
            raise RuntimeError("these threads are closed")
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Cancel what has not begun. A call that hangs is left alone, because nothing can end it."""
        self._end()


def _run(calls: _Calls, adopt: Callable[[], None]) -> None:
    adopt()
    while (found := calls.get()) is not None:
        future, call = found
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  # whoever wants the result gets it
                future.set_exception(error)
        del found, future, call  # what a call has made must not live until the next one


def _end(calls: _Calls, num_threads: int) -> None:
    with contextlib.suppress(queue.Empty):
        while (waiting := calls.get_nowait()) is not None:
            waiting[0].cancel()
    for _ in range(num_threads):
        calls.put(None)


@atexit.register
def _wait_for_calls() -> None:
    """Give calls that are under way a few seconds: Python does not end well in the middle of a library."""
    deadline = time.monotonic() + _EXIT_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
