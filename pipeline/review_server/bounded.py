"""What is kept in memory up to so many bytes or things: what was asked for longest ago leaves first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Values by key, up to `most` of what `size_of` says of each. Methods may be called in any thread.

    `dropped` is called with each value that leaves, in the thread that has put another one in its place.
    """

    def __init__(
        self,
        most: int,
        size_of: Callable[[V], int] = lambda value: 1,
        dropped: Callable[[V], None] = lambda value: None,
    ) -> None:
        self._most = most
        self._size_of = size_of
        self._dropped = dropped
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """What is kept, as `size_of` counts it."""
        return self._size

    def get(self, key: K) -> V | None:
        """The value, which is now the youngest; None if there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: K, value: V) -> V:
        """Keep a value. One that is there already stays, and is returned."""
        with self._lock:
            if key in self._values:
                return self._values[key]
            self._values[key] = value
            self._size += self._size_of(value)
            gone = []
            while self._size > self._most and len(self._values) > 1:
                _, old = self._values.popitem(last=False)
                self._size -= self._size_of(old)
                gone.append(old)
        for old in gone:
            self._dropped(old)
        return value

    def __contains__(self, key: K) -> bool:
        with self._lock:
            return key in self._values

    def clear(self, matches: Callable[[K], bool] = lambda key: True) -> None:
        """Drop all, or those whose keys match."""
        with self._lock:
            keys = [key for key in self._values if matches(key)]
            gone = [self._values.pop(key) for key in keys]
            self._size -= sum(map(self._size_of, gone))
        for old in gone:
            self._dropped(old)
