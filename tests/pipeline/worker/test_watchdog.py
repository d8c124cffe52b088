"""A helper thread that hangs is told from one that works, however slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.worker.watchdog import StallWatch, WatchedThreads


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def watched(clock: Clock, work: Callable[[], object]) -> tuple[StallWatch, ThreadPoolExecutor]:
    watch = StallWatch(10.0, clock)
    pool = ThreadPoolExecutor(1, initializer=watch.adopt)
    pool.submit(lambda: None).result()
    pool.submit(work)
    return watch, pool


def test_a_thread_that_waits_for_ever_hangs(release: threading.Event) -> None:
    clock = Clock()
    watch, pool = watched(clock, release.wait)
    time.sleep(0.05)
    assert not watch.hangs()
    clock.now = 9.0
    assert not watch.hangs()
    clock.now = 11.0
    assert watch.hangs()
    release.set()
    pool.shutdown()


def test_a_thread_that_works_does_not(release: threading.Event) -> None:
    clock = Clock()

    def work() -> None:
        while not release.is_set():
            sum(range(1000))

    watch, pool = watched(clock, work)
    for _ in range(3):
        assert not watch.hangs()
        time.sleep(0.2)
        clock.now += 100.0
    release.set()
    pool.shutdown()


def test_time_in_which_nobody_waits_does_not_count(release: threading.Event) -> None:
    clock = Clock()
    watch, pool = watched(clock, release.wait)
    time.sleep(0.05)
    assert not watch.hangs()
    watch.relax()
    clock.now = 100.0
    assert not watch.hangs()
    release.set()
    pool.shutdown()


def test_closing_watched_threads_cancels_what_has_not_begun_and_waits_for_nothing(release: threading.Event) -> None:
    threads = WatchedThreads("fetch", 0.0, 2)
    *running, waiting = (*(threads.submit(release.wait) for _ in range(2)), threads.submit(lambda: True))
    while not all(one.running() for one in running):
        time.sleep(0.001)
    threads.close()
    assert waiting.cancelled()
    assert not any(one.done() for one in running)


def test_while_one_thread_works_the_others_do_not_hang(release: threading.Event) -> None:
    clock = Clock()
    threads = WatchedThreads("fetch", 10.0, 2)
    threads.watch._clock = clock
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads.submit(release.wait)
    working = threads.submit(work)
    for _ in range(3):
        assert not threads.watch.hangs()
        time.sleep(0.2)
        clock.now += 100.0
    stop.set()
    working.result()
    assert not threads.watch.hangs()
    clock.now += 100.0
    assert threads.watch.hangs()
    threads.close()


def test_before_there_is_a_thread_nothing_hangs() -> None:
    assert not StallWatch(0.0).hangs()
