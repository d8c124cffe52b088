"""What an object left on the frames of its walks, so that a later prompt there can correct its mask.

A correction is decoded with the memory and the mask that its frame had. Every memory would need 0.5 MiB for each
object and frame at full size. A history therefore keeps all masks, but the memory bank of every few frames only. When
the memory of a frame in between is asked for, the object is tracked again from the bank before that frame
(`model.tracking.replay`). A stream keeps its newest frame alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from model.network.features import Segmentation
from model.tracking.memory_bank import MemoryBank


@dataclass(frozen=True)
class HistoryRule:
    """How much is kept: one bank for every `snapshot_every` frames, or the newest frame alone if `newest_only`."""

    snapshot_every: int = 16
    newest_only: bool = False


@dataclass(frozen=True)
class Record:
    """The mask of one tracked frame, with the number of the walk that made it.

    `revision` is how often the object's prompts had changed by then: a later change makes the mask out of date.
    """

    walk: int
    revision: int
    segmentation: Segmentation


def _same_memories(first: Mapping[int, object], second: Mapping[int, object]) -> bool:
    """Whether two banks hold the very same prompted memories (the same tensors, not only equal ones)."""
    return first.keys() == second.keys() and all(first[index] is second[index] for index in first)


@dataclass
class Walk:
    """One walk through frames that follow one another, with the bank as it was just before some of these frames.

    Objects remember every frame of a walk but `unremembered`, which is its last one.
    """

    direction: int
    banks: dict[int, MemoryBank[Tensor]] = field(default_factory=dict)
    unremembered: int | None = None

    def starts(self, frame_indexes: list[int]) -> list[int]:
        """For each frame, the last frame with a snapshot that the walk passed before it, or the frame itself."""
        steps = sorted(index * self.direction for index in self.banks)
        return [steps[bisect_right(steps, i * self.direction) - 1] * self.direction for i in frame_indexes]


@dataclass
class History:
    """The records of one object by frame, and the walks that they come from.

    `passed` has the frames with prompts that a walk passed since these prompts gave their masks, with the number of the
    walk. Such a frame has no record: its mask is that of the prompt.
    """

    rule: HistoryRule
    records: dict[int, Record] = field(default_factory=dict)
    walks: dict[int, Walk] = field(default_factory=dict)
    num_walks: int = 0
    num_new_snapshots: int = 0
    passed: dict[int, int] = field(default_factory=dict)

    def start_walk(self, direction: int) -> None:
        """Begins a new walk. The session calls this where an object does not come from the frame before."""
        self.num_walks += 1
        self.walks[self.num_walks] = Walk(direction)

    def before_frame(self, frame_index: int, bank: MemoryBank[Tensor]) -> None:
        """Called before a frame is tracked: takes a snapshot if the last one is too far away or lacks a prompt.

        Between a snapshot and the frames that are tracked again from it, prompted memories must neither come nor go.
        """
        walk = self.walks[self.num_walks]
        if walk.banks and not self.rule.newest_only:
            newest = next(reversed(walk.banks))
            is_near = abs(frame_index - newest) < self.rule.snapshot_every
            if is_near and _same_memories(walk.banks[newest].prompted, bank.prompted):
                return
        walk.banks[frame_index] = bank.copy()
        self.num_new_snapshots += 1
        # Pruning looks at every record, so it waits until a good part of the snapshots is new.
        if self.num_new_snapshots > 8 + sum(len(walk.banks) for walk in self.walks.values()) // 2:
            self._prune()

    def after_frame(
        self, frame_index: int, revision: int, segmentation: Segmentation, *, remembered: bool = True
    ) -> None:
        """Called when a frame has been tracked: records its mask.

        After a frame that is not remembered another walk begins, because tracking this one again would remember it.
        """
        self._keep_newest_only(frame_index)
        self.records[frame_index] = Record(self.num_walks, revision, segmentation)
        if not remembered:
            walk = self.walks[self.num_walks]
            walk.unremembered = frame_index
            self.start_walk(walk.direction)

    def pass_prompted(self, frame_index: int, bank: MemoryBank[Tensor]) -> None:
        """Called when a walk comes to a frame with a prompt: a refinement of that prompt needs the bank."""
        self.before_frame(frame_index, bank)
        self._keep_newest_only(frame_index)
        self.passed[frame_index] = self.num_walks

    def has(self, frame_index: int) -> bool:
        """Whether a walk came to a frame, so that the bank before the frame can be found again."""
        return frame_index in self.passed or frame_index in self.records

    def is_latest(self, frame_index: int, direction: int, reach: int) -> bool:
        """Whether a walk came to a frame in a direction, and none has come later to a frame that it looks back at."""
        if not self.has(frame_index) or self.direction(frame_index) != direction:
            return False
        return self._number(frame_index) >= max(self.behind(frame_index, direction, reach), default=0)

    def behind(self, frame_index: int, direction: int, reach: int) -> dict[int, list[int]]:
        """The frames to which walks in a direction came last, of those at most `reach` before a frame, nearest first.

        They are by the numbers of these walks. A history of the newest frame alone has none.
        """
        found: dict[int, list[int]] = {}
        for distance in range(1, 1 if self.rule.newest_only else reach + 1):
            index = frame_index - direction * distance
            if self.has(index) and self.direction(index) == direction:
                found.setdefault(self._number(index), []).append(index)
        return found

    def direction(self, frame_index: int) -> int:
        """The direction in which the last walk came to a frame."""
        return self._walk_to(frame_index).direction

    def is_remembered(self, frame_index: int) -> bool:
        """Whether the last walk to a frame remembered it."""
        return self._walk_to(frame_index).unremembered != frame_index

    def snapshot(self, frame_index: int) -> tuple[int, MemoryBank[Tensor]]:
        """Where to start in order to come to a frame again: a frame, and a copy of the bank before it."""
        walk = self._walk_to(frame_index)
        (start,) = walk.starts([frame_index])
        return start, walk.banks[start].copy()

    def _walk_to(self, frame_index: int) -> Walk:
        return self.walks[self._number(frame_index)]

    def _number(self, frame_index: int) -> int:
        """The number of the last walk to a frame."""
        passed = self.passed.get(frame_index)
        return self.records[frame_index].walk if passed is None else passed

    def _keep_newest_only(self, frame_index: int) -> None:
        """Where the rule says this, forgets all that is not about the present frame."""
        if self.rule.newest_only:
            self.records.clear()
            self.passed.clear()
            walk = self.walks[self.num_walks]
            walk.banks = {frame_index: walk.banks[frame_index]}

    def _prune(self) -> None:
        """Drops the snapshots that no frame needs any more."""
        newest = next(reversed(self.walks[self.num_walks].banks))
        recorded: dict[int, list[int]] = {number: [] for number in self.walks}
        recorded[self.num_walks].append(newest)
        for frame_index, record in self.records.items():
            recorded[record.walk].append(frame_index)
        for frame_index, number in self.passed.items():
            recorded[number].append(frame_index)
        for number, walk in self.walks.items():
            needed = set(walk.starts(recorded[number]))
            walk.banks = {index: bank for index, bank in walk.banks.items() if index in needed}
        self.walks = {number: walk for number, walk in self.walks.items() if walk.banks}
        self.num_new_snapshots = 0
