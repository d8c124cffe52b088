"""Videos that no worker has: the rest of the plan, what was given back, and suspects."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.records import WorkItem


class Waiting:
    """A queue in which lost items come first, then the plan, then what storage refused; suspects wait apart.

    The plan is a stream: it is read only as far as somebody asks, and counted without that where `num_planned` says how
    many items it has. `strikes` says how many strikes a planned video has
    from an earlier run; one that has any is a suspect.
    """

    def __init__(self, plan: Iterable[WorkItem], strikes: Callable[[str], int], num_planned: int = 0) -> None:
        self._plan: Iterator[WorkItem] = iter(plan)
        self._num_unread = num_planned
        self._strikes = strikes
        self._is_plan_read = False
        self._front: deque[WorkItem] = deque()
        self._suspects: deque[WorkItem] = deque()
        self._later: list[tuple[float, str, WorkItem]] = []

    def add_first(self, items: Sequence[WorkItem]) -> None:
        """These items are the next ones, in this order."""
        self._front.extendleft(reversed(items))

    def add_suspect(self, item: WorkItem) -> None:
        """This item is the last of the suspects."""
        self._suspects.append(replace(item, alone=True))

    def add_later(self, item: WorkItem, not_before: float) -> None:
        """This item waits until then, and for all others that are not suspects."""
        heapq.heappush(self._later, (not_before, item.video_id, item))

    def next(self, now: float) -> WorkItem | None:
        """Take the next item that is no suspect.

        What storage refused comes after everything else, because a host that is gone would hold up all other videos.
        """
        if self.has_fresh():
            return self._front.popleft()
        if self._later and self._later[0][0] <= now:
            _, _, item = heapq.heappop(self._later)
            if not item.alone:
                return item
            self._suspects.append(item)
        return None

    def next_suspect(self, now: float) -> WorkItem | None:
        """Take the next suspect."""
        if not self._suspects and self._later and self._later[0][0] <= now and self._later[0][2].alone:
            return heapq.heappop(self._later)[2]
        return self._suspects.popleft() if self._suspects else None

    def has_suspects(self) -> bool:
        """Whether a suspect waits that storage did not refuse."""
        return bool(self._suspects)

    def has_fresh(self) -> bool:
        """Whether an item waits that is no suspect and that storage did not refuse."""
        while not self._front and self._read_plan():
            pass
        return bool(self._front)

    def known(self) -> list[WorkItem]:
        """All that waits, as far as the plan was read."""
        return [*self._front, *self._suspects, *(item for _, _, item in self._later)]

    def forget(self, video_id: str) -> None:
        """This video waits no more."""
        self._front = deque(item for item in self._front if item.video_id != video_id)
        self._suspects = deque(item for item in self._suspects if item.video_id != video_id)
        self._later = [entry for entry in self._later if entry[2].video_id != video_id]
        heapq.heapify(self._later)

    def next_seconds(self) -> float:
        """The expected length of the next item; 0 if nobody knows it, or nothing fresh waits."""
        return self._front[0].expected_seconds if self.has_fresh() else 0.0

    def count(self, at_most: int) -> int:
        """How many items wait, counted up to `at_most`.

        The plan's own number is taken for what is not read of it, but for the first item that waits: an item in memory
        takes 1 kB, and a fleet of 1,000 workers counts to 66,000.
        """
        while self._num_read() + self._num_unread < at_most and not (self._num_read() and self._num_unread):
            if not self._read_plan():
                break
        return min(self._num_read() + self._num_unread, at_most)

    def _num_read(self) -> int:
        return len(self._front) + len(self._suspects) + len(self._later)

    def _read_plan(self) -> bool:
        """Take one item over from the plan; False at its end."""
        item = None if self._is_plan_read else next(self._plan, None)
        self._num_unread = max(0, self._num_unread - 1)
        if item is None:
            self._is_plan_read, self._num_unread = True, 0
        elif strikes := self._strikes(item.video_id):
            self.add_suspect(replace(item, attempt=strikes + 1))
        else:
            self._front.append(item)
        return item is not None
