"""The memories of one object: which are stored, which are evicted, and which a frame may look at.

Plain Python: spatial memories and pointers pass through unread, so that the rules are tested without tensors.

The rules (sam2, `_prepare_memory_conditioned_features`):
* prompted memories all count, or the nearest `max_prompted` of them, wherever they lie in time;
* tracked memories are those of exactly the six preceding frame indexes in the direction of travel; missing ones are
  skipped. A prompted memory that was not among the nearest counts as a tracked one of its index;
* pointers are those of the selected prompted frames that are not in the future, and of up to 15 preceding indexes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

T = TypeVar("T")

NUM_TRACKED = 6
# Row of the time code that prompted memories carry: the last one. A tracked memory `k` frames back carries row `k - 1`.
PROMPTED_ROW = 6

FORWARD, BACKWARD = 1, -1


@dataclass(frozen=True)
class Memory(Generic[T]):
    """What one frame left behind: a spatial memory and an object pointer."""

    frame_index: int
    spatial: T
    pointer: T


@dataclass(frozen=True)
class Selection(Generic[T]):
    """What one frame may look at: memories with their rows of the time code, pointers with their signed distances."""

    spatial: tuple[T, ...]
    temporal_rows: tuple[int, ...]
    pointers: tuple[T, ...]
    pointer_distances: tuple[int, ...]


@dataclass
class MemoryBank(Generic[T]):
    """The memories of one object: prompted ones, at most six tracked ones, and at most `max_pointers - 1` pointers.

    Each is held by the index of its frame. `prompted` holds whole memories. Of tracked frames `tracked` holds the
    spatial memories and `pointers` the pointers, because pointers are kept for longer.
    """

    max_prompted: int | None = None
    max_pointers: int = 16
    prompted: dict[int, Memory[T]] = field(default_factory=dict)
    tracked: dict[int, T] = field(default_factory=dict)
    pointers: dict[int, T] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_prompted is not None and self.max_prompted < 2:
            raise ValueError(f"max_prompted_memories must be at least 2 (one on each side), got {self.max_prompted}")

    def add_prompted(self, memory: Memory[T]) -> None:
        """Keeps the memory of a frame with prompts; it replaces an earlier memory of that frame."""
        self.prompted[memory.frame_index] = memory
        self.tracked.pop(memory.frame_index, None)
        self.pointers.pop(memory.frame_index, None)

    def remove_prompted(self, frame_index: int) -> None:
        """Forgets the memory of a frame whose prompts are gone."""
        self.prompted.pop(frame_index, None)

    def add_tracked(self, memory: Memory[T], direction: int) -> None:
        """Keeps the memory of a tracked frame and forgets those that no later frame of this walk can select."""
        self.tracked[memory.frame_index] = memory.spatial
        self.pointers[memory.frame_index] = memory.pointer
        upcoming = memory.frame_index + direction
        _evict(self.tracked, upcoming, direction, NUM_TRACKED)
        _evict(self.pointers, upcoming, direction, self.max_pointers - 1)

    def keep_prompted(self, frame_indexes: Collection[int]) -> None:
        """Forgets the prompted memories of all other frames."""
        for index in [index for index in self.prompted if index not in frame_indexes]:
            del self.prompted[index]

    def start_pass(self) -> None:
        """Forgets what was tracked: a pass starts from the prompted memories alone."""
        self.tracked.clear()
        self.pointers.clear()

    def copy(self) -> MemoryBank[T]:
        """A bank that remembers the same and then goes its own way; the memories themselves are shared."""
        return replace(self, prompted=dict(self.prompted), tracked=dict(self.tracked), pointers=dict(self.pointers))

    def take_tracked(self, other: MemoryBank[T]) -> None:
        """Replaces what was tracked by what another bank tracked, except on frames that have prompts here."""
        self.tracked = {i: spatial for i, spatial in other.tracked.items() if i not in self.prompted}
        self.pointers = {i: pointer for i, pointer in other.pointers.items() if i not in self.prompted}

    def wanted(self, prompted: Iterable[int], frame_index: int, direction: int) -> set[int]:
        """Which of an object's prompted frames `select` looks at on a frame; their memories must be there before it.

        Behind a walk memories may be dropped: a frame that lies behind and is not wanted now will not be wanted later.
        """
        indexes = sorted(prompted)
        recent = {index for index in indexes if 1 <= (frame_index - index) * direction < self.max_pointers}
        return recent | set(self._nearest(indexes, frame_index))

    def select(self, frame_index: int, direction: int) -> Selection[T]:
        """What a frame may look at when the walk moves in `direction` (+1 or -1); oldest tracked memory first."""
        selected = self._nearest(sorted(self.prompted), frame_index)
        unselected = {index: m for index, m in self.prompted.items() if index not in selected}
        spatial = [self.prompted[index].spatial for index in selected]
        rows = [PROMPTED_ROW] * len(selected)
        for distance in range(NUM_TRACKED, 0, -1):
            index = frame_index - direction * distance
            if index in self.tracked or index in unselected:
                spatial.append(self.tracked[index] if index in self.tracked else unselected[index].spatial)
                rows.append(distance - 1)
        pointers, distances = [], []
        for index in selected:
            distance = (frame_index - index) * direction
            if distance >= 0:
                pointers.append(self.prompted[index].pointer)
                distances.append(distance)
        for distance in range(1, self.max_pointers):
            index = frame_index - direction * distance
            if index in self.pointers or index in unselected:
                pointers.append(self.pointers[index] if index in self.pointers else unselected[index].pointer)
                distances.append(distance)
        return Selection(tuple(spatial), tuple(rows), tuple(pointers), tuple(distances))

    def _nearest(self, indexes: list[int], frame_index: int) -> list[int]:
        """The nearest one on each side, then the nearest of the rest (sam2, `select_closest_cond_frames`)."""
        if self.max_prompted is None or len(indexes) <= self.max_prompted:
            return indexes
        before = [index for index in indexes if index < frame_index][-1:]
        after = [index for index in indexes if index >= frame_index][:1]
        first = before + after
        rest = sorted((i for i in indexes if i not in first), key=lambda i: abs(i - frame_index))
        return sorted(first + rest[: self.max_prompted - len(first)])


def _evict(entries: dict[int, T], upcoming: int, direction: int, reach: int) -> None:
    for index in [i for i in entries if not 1 <= (upcoming - i) * direction <= reach]:
        del entries[index]
