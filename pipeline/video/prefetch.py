"""Run a generator in a helper thread, a bounded number of items ahead of its consumer.

The thread owns the generator: it runs it, and closes it when the items end, an error is raised or the consumer stops.
It never calls CUDA.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 10.0


class _End:
    """Stands after the last item. `error` is what the generator raised, if it raised anything."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@dataclass
class _Channel(Generic[T]):
    """What the thread and its consumer share. `has_ended`: nothing comes after what waits in `items`."""

    items: queue.Queue[T | _End]
    arrived: Callable[[], None]
    stop: threading.Event = field(default_factory=threading.Event)
    has_ended: threading.Event = field(default_factory=threading.Event)

    def put(self, item: T | _End) -> bool:
        """Hand an item over; False if the consumer has stopped."""
        while not self.stop.is_set():
            try:
                self.items.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            if isinstance(item, _End):
                self.has_ended.set()
            self.arrived()
            return True
        return False


class DecodeAhead(Generic[T]):
    """An iterator over `source`, which runs ahead in a thread by at most `max_items`.

    An error of `source` is raised here, after the items before it. `close` stops the thread and waits for it. The
    thread also stops when nobody refers to the iterator any more. `arrived` is called in the thread after each item and
    after the end.
    """

    def __init__(self, source: Iterator[T], max_items: int, arrived: Callable[[], None] = lambda: None) -> None:
        self._channel: _Channel[T] = _Channel(queue.Queue(max_items), arrived)
        self._items, self._stop = self._channel.items, self._channel.stop
        # The thread must not refer to this object, because its end is what stops the thread.
        self._thread = threading.Thread(target=_produce, args=(source, self._channel), name="decode-ahead", daemon=True)
        self._finalizer = weakref.finalize(self, self._stop.set)
        self._thread.start()

    def __iter__(self) -> DecodeAhead[T]:
        return self

    def __next__(self) -> T:
        while not self._stop.is_set():
            try:
                item = self._items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if not isinstance(item, _End):
                return item
            self.close()
            if item.error is not None:
                raise item.error
        raise StopIteration

    def ready(self, num_items: int = 1) -> bool:
        """Whether so many items can be taken without waiting, or all that are left, or as many as may ever wait."""
        enough = min(num_items, self._items.maxsize)
        return self._stop.is_set() or self._channel.has_ended.is_set() or self._items.qsize() >= enough

    def close(self) -> None:
        """Stop the thread and wait until it has closed its source, or for 10 s if a read hangs."""
        self._stop.set()
        self._thread.join(_JOIN_SECONDS)


def _produce(source: Iterator[T], channel: _Channel[T]) -> None:
    error: BaseException | None = None
    try:
        for item in source:
            if not channel.put(item):
                break
    except BaseException as raised:  # noqa: BLE001 - it is raised again where the items are consumed
        error = raised
    try:
        close = getattr(source, "close", None)
        if close is not None:
            close()
    except BaseException as raised:  # noqa: BLE001
        error = error or raised
    channel.put(_End(error))
