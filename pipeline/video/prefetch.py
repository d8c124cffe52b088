"""Run a generator in a helper thread, a bounded number of items ahead of its consumer.

The thread owns the generator: it runs it, and closes it when the items end, an error is raised or the consumer stops.
It never calls CUDA.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 10.0


class _End:
    """Stands after the last item. `error` is what the generator raised, if it raised anything."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class DecodeAhead(Generic[T]):
    """An iterator over `source`, which runs ahead in a thread by at most `max_items`.

    An error of `source` is raised here, after the items before it. `close` stops the thread and waits for it. The
    thread also stops when nobody refers to the iterator any more.
    """

    def __init__(self, source: Iterator[T], max_items: int) -> None:
        self._items: queue.Queue[T | _End] = queue.Queue(max_items)
        self._stop = threading.Event()
        # The thread must not refer to this object, because its end is what stops the thread.
        self._thread = threading.Thread(
            target=_produce, args=(source, self._items, self._stop), name="decode-ahead", daemon=True
        )
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

    def close(self) -> None:
        """Stop the thread and wait until it has closed its source, or for 10 s if a read hangs."""
        self._stop.set()
        self._thread.join(_JOIN_SECONDS)


def _produce(source: Iterator[T], items: queue.Queue[T | _End], stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in source:
            if not _put(items, item, stop):
                break
    except BaseException as raised:  # noqa: BLE001 - it is raised again where the items are consumed
        error = raised
    try:
        close = getattr(source, "close", None)
        if close is not None:
            close()
    except BaseException as raised:  # noqa: BLE001
        error = error or raised
    _put(items, _End(error), stop)


def _put(items: queue.Queue[T | _End], item: T | _End, stop: threading.Event) -> bool:
    """Hand an item over; False if the consumer has stopped."""
    while not stop.is_set():
        try:
            items.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
