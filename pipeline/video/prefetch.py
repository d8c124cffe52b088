"""Run a generator in a helper thread, a bounded number of items ahead of its consumer.

The thread owns the generator: it runs it, and closes it when the items end, an error is raised or the consumer stops.
It never calls CUDA.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 10.0


class _End:
    """Stands after the last item. `error` is what the generator raised, if it raised anything."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Channel(Generic[T]):
    """What the thread and its consumer share: the items that wait, and whether there will be more."""

    def __init__(self, limit: Callable[[T], int], arrived: Callable[[], None]) -> None:
        self.stop = threading.Event()
        self._limit = limit
        self._arrived = arrived
        self._changed = threading.Condition()
        self._items: deque[T | _End] = deque()
        self._max_items: int | None = None  # unknown before the first item
        self._has_ended = False

    def put(self, item: T) -> bool:
        """Hand an item over when there is room; False if the consumer has stopped."""
        with self._changed:
            if self._max_items is None:
                self._max_items = self._limit(item)
            while len(self._items) >= self._max_items and not self.stop.is_set():
                self._changed.wait(_POLL_SECONDS)
            self._items.append(item)
            self._changed.notify_all()
        self._arrived()
        return not self.stop.is_set()

    def end(self, error: BaseException | None) -> None:
        """Nothing comes after what waits."""
        with self._changed:
            self._has_ended = True
            self._items.append(_End(error))
            self._changed.notify_all()
        self._arrived()

    def get(self, taken: Callable[[T], None]) -> T | _End | None:
        """The next item or the end; waits for it. `None` if the consumer has stopped.

        `taken` is called before the item makes room for another one.
        """
        with self._changed:
            while not self._items and not self.stop.is_set():
                self._changed.wait(_POLL_SECONDS)
            if self.stop.is_set():
                return None
            item = self._items[0]
        if not isinstance(item, _End):
            taken(item)
        with self._changed:
            self._items.popleft()
            self._changed.notify_all()
        return item

    def has(self, num_items: int) -> bool:
        """Whether so many items wait, or all that are left, or as many as may wait."""
        with self._changed:
            if self._has_ended or self.stop.is_set():
                return True
            return self._max_items is not None and len(self._items) >= min(num_items, self._max_items)


class DecodeAhead(Generic[T]):
    """An iterator over `source`, which runs ahead in a thread.

    An error of `source` is raised here, after the items before it. `close` stops the thread and waits for it. The
    thread also stops when nobody refers to the iterator any more.
    """

    def __init__(
        self,
        source: Iterator[T],
        limit: Callable[[T], int],
        *,
        arrived: Callable[[], None] = lambda: None,
        taken: Callable[[T], None] = lambda _: None,
    ) -> None:
        """`limit` is asked for the first item how many like it may wait.

        `arrived` is called in the thread after each item and after the end. `taken` is called where the items are
        consumed, before the thread goes on because of the room that an item has left.
        """
        self._taken = taken
        self._channel = _Channel(limit, arrived)
        # The thread must not refer to this object, because its end is what stops the thread.
        self._thread = threading.Thread(target=_produce, args=(source, self._channel), name="decode-ahead", daemon=True)
        self._finalizer = weakref.finalize(self, self._channel.stop.set)
        self._thread.start()

    def __iter__(self) -> DecodeAhead[T]:
        return self

    def __next__(self) -> T:
        item = self._channel.get(self._taken)
        if item is None:
            raise StopIteration
        if not isinstance(item, _End):
            return item
        self.close()
        if item.error is not None:
            raise item.error
        raise StopIteration

    def ready(self, num_items: int = 1) -> bool:
        """Whether so many items can be taken without waiting, or all that are left, or as many as may ever wait."""
        return self._channel.has(num_items)

    def close(self) -> None:
        """Stop the thread and wait until it has closed its source, or for 10 s if a read hangs."""
        self._channel.stop.set()
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
    channel.end(error)
