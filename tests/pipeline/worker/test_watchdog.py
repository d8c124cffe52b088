"""A helper thread that hangs is told from one that works, however slowly."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from pipeline.worker.watchdog import StallWatch, WatchedThreads
from tests.support.waiting import wait_until


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@dataclass
class Work:
    """What a thread does until it is released. `rounds` grow by 1000 with at least 5 ms of its processor time."""

    release: threading.Event
    rounds: int = 0

    def __call__(self) -> None:
        while not self.release.is_set():
            sum(range(1000))
            self.rounds += 1

    def wait(self) -> None:
        """Wait until the thread has worked for longer than what a watch takes for stillness."""
        enough = self.rounds + 1000
        wait_until(lambda: self.rounds >= enough, "work of the thread")


def watched(clock: Clock, work: Callable[[], object]) -> tuple[StallWatch, ThreadPoolExecutor]:
    """A watch over one thread that is at its work."""
    watch, begun = StallWatch(10.0, clock), threading.Event()
    pool = ThreadPoolExecutor(1, initializer=watch.adopt)
    pool.submit(lambda: (begun.set(), work()))
    begun.wait()
    return watch, pool


def test_a_thread_that_waits_for_ever_hangs(release: threading.Event) -> None:
    clock = Clock()
    watch, pool = watched(clock, release.wait)
    assert not watch.hangs()
    clock.now = 9.0
    assert not watch.hangs()
    clock.now = 11.0
    assert watch.hangs()
    release.set()
    pool.shutdown()


def test_a_thread_that_works_does_not(release: threading.Event) -> None:
    clock = Clock()
    work = Work(release)
    watch, pool = watched(clock, work)
    for _ in range(3):
        assert not watch.hangs()
        work.wait()
        clock.now += 100.0
    release.set()
    pool.shutdown()


def test_time_in_which_nobody_waits_does_not_count(release: threading.Event) -> None:
    clock = Clock()
    watch, pool = watched(clock, release.wait)
    assert not watch.hangs()
    watch.relax()
    clock.now = 100.0
    assert not watch.hangs()
    release.set()
    pool.shutdown()


def test_closing_watched_threads_cancels_what_has_not_begun_and_waits_for_nothing(release: threading.Event) -> None:
    threads = WatchedThreads("fetch", 0.0, 2)
    *running, waiting = (*(threads.submit(release.wait) for _ in range(2)), threads.submit(lambda: True))
    wait_until(lambda: all(one.running() for one in running), "two calls that run")
    threads.close()
    assert waiting.cancelled()
    assert not any(one.done() for one in running)


HANGS = """
import threading
from pipeline.worker import watchdog
watchdog._EXIT_SECONDS = 0.1
threads = watchdog.WatchedThreads("fetch", 1.0, 2)
begun = threading.Event()
threads.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
threads.close()
"""


@pytest.mark.slow
def test_a_call_that_hangs_does_not_keep_its_process_from_ending() -> None:
    """As a fetch does from a server of files that is gone, in a run without Ray, whose summary is printed already."""
    assert subprocess.run([sys.executable, "-c", HANGS], timeout=60, check=True).returncode == 0


def test_calls_end_with_what_they_give_or_raise_and_none_comes_after_the_end(release: threading.Event) -> None:
    threads = WatchedThreads("fetch", 10.0, 1)
    given, failed = threads.submit(lambda: 5), threads.submit(lambda: 1 // 0)
    assert given.result() == 5
    with pytest.raises(ZeroDivisionError):
        failed.result()
    held = threads.submit(release.wait)
    wait_until(held.running, "a call that runs")
    threads.submit(lambda: 6).cancel()
    last = threads.submit(lambda: 7)
    release.set()
    assert last.result() == 7
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(lambda: 8)


def test_while_one_thread_works_the_others_do_not_hang(release: threading.Event) -> None:
    clock = Clock()
    threads = WatchedThreads("fetch", 10.0, 2)
    threads.watch._clock = clock
    work = Work(threading.Event())
    threads.submit(release.wait)
    working = threads.submit(work)
    for _ in range(3):
        assert not threads.watch.hangs()
        work.wait()
        clock.now += 100.0
    work.release.set()
    working.result()
    assert not threads.watch.hangs()
    clock.now += 100.0
    assert threads.watch.hangs()
    threads.close()


def test_before_there_is_a_thread_nothing_hangs() -> None:
    assert not StallWatch(0.0).hangs()
