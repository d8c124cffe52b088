from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.video.prefetch import DecodeAhead
from tests.support.waiting import wait_until


class Source:
    """Counts up; notes what was made, and that it was closed."""

    def __init__(self, count: int = 10**9, error: Exception | None = None) -> None:
        self.made = 0
        self.closed = threading.Event()
        self.thread = ""
        self._count = count
        self._error = error

    def items(self) -> Iterator[int]:
        try:
            self.thread = threading.current_thread().name
            while self.made < self._count:
                self.made += 1
                yield self.made
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()


def test_items_come_in_order_and_end() -> None:
    source = Source(50)
    assert list(DecodeAhead(source.items(), lambda _: 4)) == list(range(1, 51))
    assert source.closed.is_set()
    assert source.thread == "decode-ahead"


def test_it_runs_ahead_by_no_more_than_it_may() -> None:
    source = Source()
    ahead = DecodeAhead(source.items(), lambda _: 3)
    assert next(ahead) == 1
    wait_until(lambda: source.made >= 2)
    time.sleep(0.1)
    assert source.made <= 5
    ahead.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    source = Source(3, OSError("broken"))
    found = []
    with pytest.raises(OSError, match="broken"):
        found.extend(iter(DecodeAhead(source.items(), lambda _: 2)))
    ahead = DecodeAhead(Source(2, OSError("broken")).items(), lambda _: 2)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="broken"):
        next(ahead)
    assert next(ahead, None) is None


def test_closing_stops_the_thread_and_closes_the_source() -> None:
    source = Source()
    ahead = DecodeAhead(source.items(), lambda _: 2)
    next(ahead)
    ahead.close()
    assert source.closed.is_set()
    assert next(ahead, None) is None
    ahead.close()


@pytest.mark.slow
def test_dropping_stops_the_thread_too() -> None:
    source = Source()
    ahead = DecodeAhead(source.items(), lambda _: 2)
    next(ahead)
    del ahead
    gc.collect()
    assert source.closed.wait(100)


def test_a_consumer_that_waits_is_released_by_close() -> None:
    gate = threading.Event()

    def slow() -> Iterator[int]:
        gate.wait(100)
        yield 1

    ahead = DecodeAhead(slow(), lambda _: 1)
    threading.Timer(0.1, ahead.close).start()
    assert next(ahead, None) is None
    gate.set()


def test_it_is_ready_when_as_many_items_wait_as_are_asked_for() -> None:
    gate, arrivals = threading.Semaphore(0), threading.Semaphore(0)

    def gated() -> Iterator[int]:
        for item in range(3):
            gate.acquire()
            yield item

    ahead = DecodeAhead(gated(), lambda _: 4, arrived=arrivals.release)
    assert not ahead.ready()
    for _ in range(2):
        gate.release()
        assert arrivals.acquire(timeout=100)
    assert (ahead.ready(1), ahead.ready(2), ahead.ready(3)) == (True, True, False)
    assert [next(ahead), ahead.ready(1), ahead.ready(2)] == [0, True, False]
    gate.release()  # the last item, and then the end: no more items come, however many are asked for
    assert arrivals.acquire(timeout=100)
    assert arrivals.acquire(timeout=100)
    assert ahead.ready(9)
    assert [next(ahead), next(ahead), next(ahead, None), ahead.ready()] == [1, 2, None, True]


def test_it_is_ready_when_no_more_items_may_wait() -> None:
    arrivals = threading.Semaphore(0)
    ahead = DecodeAhead(Source().items(), lambda _: 2, arrived=arrivals.release)
    assert arrivals.acquire(timeout=100)
    assert arrivals.acquire(timeout=100)
    assert ahead.ready(8)
    ahead.close()
