"""Which masks that were found on key frames are objects of their own, by what the tracks so far cover.

A mask found on a key frame is *new* where no track covers it. It becomes a track at once, but only a tentative one: a
later key frame must find it again where the track says it is. Two tracks that lie on each other are one object.

Legend: H, W pixels of the video.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from model import FoundMask
from pipeline.arrays import BoolArray
from pipeline.seeds.detected import DetectedMask


@dataclass(frozen=True)
class DiscoveryRules:
    """When a mask is a new object, when it is confirmed, and when two tracks are one object.

    A mask is new where tracks cover less than `max_covered` of it and none has an IoU of `max_overlap` with it. A track
    is confirmed by a mask of a later key frame with an IoU of `min_match`, on one of the next `max_looks` key frames.
    At the end it must have been found again on `min_again` of the later key frames on which it shows, because what is
    lost and follows something else is found by chance. A mask whose score is `sure_score` needs none of this, nor do
    those of a video with a single key frame. Two tracks are one object where their IoU is `min_same` on half of the key
    frames on which both are seen, and on the first of them: of two that come together later, one has lost its object.
    """

    max_covered: float = 0.5
    max_overlap: float = 0.3
    min_match: float = 0.5
    max_looks: int = 3
    sure_score: float = 0.9
    min_same: float = 0.5
    max_objects: int = 64
    min_again: float = 0.5


@dataclass
class FoundObject:
    """An object that was found: its mask on the key frame that found it, and what later key frames said of it.

    Of the `num_looks` later key frames its track shows on `num_seen`, and `num_again` of them found it there again.
    `duplicate_of` is the object that it turned out to be.
    """

    object_id: int
    frame_index: int
    mask: FoundMask
    num_looks: int = 0
    num_seen: int = 0
    num_again: int = 0
    duplicate_of: int | None = None

    @property
    def category(self) -> str | None:
        """What a detector calls it; None for what a grid of clicks has found."""
        return category_of(self.mask)


def category_of(mask: FoundMask) -> str | None:
    """What a detector calls a mask. Masks of two categories are never one object."""
    return mask.said.category if isinstance(mask, DetectedMask) else None


@dataclass(frozen=True)
class Look:
    """What one key frame has brought: objects to follow from here on, and tracks that nothing confirmed."""

    new: tuple[FoundObject, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True)
class Discovered:
    """The objects of a video, in the order in which they were found.

    `unexplained` is the share of the key frames' area that was found and belongs to no object; `num_ambiguous` counts
    masks that are neither new nor a track, `num_left_out` those beyond `max_objects`, `num_unconfirmed` tracks that no
    later key frame confirmed, or too few.
    """

    objects: tuple[FoundObject, ...]
    duplicates: tuple[FoundObject, ...]
    unexplained: float
    num_ambiguous: int
    num_left_out: int
    num_unconfirmed: int
    num_looks: int = 1

    @classmethod
    def of_shots(cls, shots: Sequence[Discovered]) -> Discovered:
        """The objects of a video from those of its shots."""
        num_looks = sum(shot.num_looks for shot in shots)
        return cls(
            tuple(one for shot in shots for one in shot.objects),
            tuple(one for shot in shots for one in shot.duplicates),
            sum(shot.unexplained * shot.num_looks for shot in shots) / max(1, num_looks),
            sum(shot.num_ambiguous for shot in shots),
            sum(shot.num_left_out for shot in shots),
            sum(shot.num_unconfirmed for shot in shots),
            num_looks,
        )


class Discovery:
    """The objects of one shot, key frame by key frame. The same looks give the same objects and ids.

    Ids count from `first_id`.
    """

    def __init__(self, rules: DiscoveryRules | None = None, first_id: int = 1) -> None:
        self.rules = rules or DiscoveryRules()
        self._objects: dict[int, FoundObject] = {}
        self._seen_together: Counter[tuple[int, int]] = Counter()
        self._lay_on_each_other: Counter[tuple[int, int]] = Counter()
        self._two_at_first: set[tuple[int, int]] = set()
        self._next_id = first_id
        self._num_looks = 0
        self._unexplained: list[float] = []
        self._num_ambiguous = self._num_left_out = self._num_unconfirmed = 0

    def look(self, frame_index: int, found: Sequence[FoundMask], tracks_HW: Mapping[int, BoolArray]) -> Look:
        """Compares what was found on a key frame (the best first) with the masks of the tracks there, bool `[H, W]`."""
        self._num_looks += 1
        tracks = {object_id: _Track(mask) for object_id, mask in tracks_HW.items() if object_id in self._objects}
        seen = {object_id: track for object_id, track in tracks.items() if track.area}
        dropped = self._confirm(found, seen)
        for object_id in dropped:
            seen.pop(object_id, None)
        self._count_pairs(seen)
        new = self._new(frame_index, found, seen)
        return Look(tuple(new), tuple(dropped))

    def end(self) -> Discovered:
        """The objects, once the video has been walked to its end."""
        lost = [
            one.object_id
            for one in self._objects.values()
            if not self._is_sure(one)
            or (one.num_again < self.rules.min_again * one.num_seen and one.mask.score < self.rules.sure_score)
        ]
        self._drop(lost)
        self._mark_duplicates()
        objects = list(self._objects.values())
        return Discovered(
            tuple(one for one in objects if one.duplicate_of is None),
            tuple(one for one in objects if one.duplicate_of is not None),
            float(np.mean(self._unexplained)) if self._unexplained else 0.0,
            self._num_ambiguous,
            self._num_left_out,
            self._num_unconfirmed,
            self._num_looks,
        )

    def next_shot(self) -> Discovery:
        """An empty one for the shot after this one, which has ended: ids go on, and so does the count of objects."""
        rules = replace(self.rules, max_objects=max(0, self.rules.max_objects - len(self._objects)))
        return Discovery(rules, self._next_id)

    def _confirm(self, found: Sequence[FoundMask], seen: Mapping[int, _Track]) -> list[int]:
        """Confirms tracks that were found again, and drops those that were not for too long."""
        for one in self._objects.values():
            one.num_looks += 1
            if (track := seen.get(one.object_id)) is not None:
                one.num_seen += 1
                one.num_again += any(
                    track.iou(mask) >= self.rules.min_match for mask in found if category_of(mask) == one.category
                )
        late = [one for one in self._objects.values() if one.num_looks == self.rules.max_looks]
        return self._drop([one.object_id for one in late if not self._is_sure(one)])

    def _is_sure(self, one: FoundObject) -> bool:
        # A photo, or a clip with one key frame, has no second look.
        return self._num_looks == 1 or one.num_again > 0 or one.mask.score >= self.rules.sure_score

    def _drop(self, object_ids: Iterable[int]) -> list[int]:
        dropped = list(object_ids)
        for object_id in dropped:
            del self._objects[object_id]
        self._num_unconfirmed += len(dropped)
        return dropped

    def _count_pairs(self, seen: Mapping[int, _Track]) -> None:
        for one, other in combinations(sorted(seen), 2):
            if self._objects[one].category != self._objects[other].category:
                continue
            is_same = seen[one].iou_with(seen[other]) >= self.rules.min_same
            if not is_same and (one, other) not in self._seen_together:
                self._two_at_first.add((one, other))
            self._seen_together[one, other] += 1
            self._lay_on_each_other[one, other] += is_same

    def _new(self, frame_index: int, found: Sequence[FoundMask], seen: Mapping[int, _Track]) -> list[FoundObject]:
        new: list[FoundObject] = []
        if not found:
            self._unexplained.append(0.0)
            return new
        covered = defaultdict[str | None, BoolArray](lambda: np.zeros(found[0].size_hw, np.bool_))
        for object_id, track in seen.items():
            covered[self._objects[object_id].category] |= track.mask_HW
        everything_HW = np.zeros(found[0].size_hw, np.bool_)
        for mask in found:
            x0, y0, x1, y1 = mask.box_xyxy
            everything_HW[y0:y1, x0:x1] |= mask.inner_hw
            category = category_of(mask)
            alike = (track for object_id, track in seen.items() if self._objects[object_id].category == category)
            best = max((track.iou(mask) for track in alike), default=0.0)
            if best >= self.rules.min_match:
                continue
            covered_HW = covered[category]
            is_covered = (
                np.count_nonzero(covered_HW[y0:y1, x0:x1] & mask.inner_hw) >= self.rules.max_covered * mask.area
            )
            if is_covered or best >= self.rules.max_overlap:
                self._num_ambiguous += 1
            elif len(self._objects) >= self.rules.max_objects:
                self._num_left_out += 1
            else:
                new.append(self._add(frame_index, mask))
                covered_HW[y0:y1, x0:x1] |= mask.inner_hw
        for covered_HW in covered.values():
            everything_HW &= ~covered_HW
        self._unexplained.append(float(np.count_nonzero(everything_HW)) / everything_HW.size)
        return new

    def _add(self, frame_index: int, mask: FoundMask) -> FoundObject:
        one = FoundObject(self._next_id, frame_index, mask)
        self._objects[one.object_id] = one
        self._next_id += 1
        return one

    def _mark_duplicates(self) -> None:
        """Of two tracks that are one object, the one that was found with the lower score is the duplicate."""
        for pair, together in sorted(self._seen_together.items()):
            if (
                pair in self._two_at_first
                or not all(object_id in self._objects for object_id in pair)
                or 2 * self._lay_on_each_other[pair] < together
            ):
                continue
            better, worse = sorted((self._objects[i] for i in pair), key=lambda one: (-one.mask.score, one.object_id))
            if better.duplicate_of is None and worse.duplicate_of is None:
                worse.duplicate_of = better.object_id


class _Track:
    """A track's mask on the key frame, and its box: most pairs of tracks are told apart by their boxes alone."""

    def __init__(self, mask_HW: BoolArray) -> None:
        self.mask_HW = mask_HW
        rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
        self._box_xyxy = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)
        self.area = self._count(self._box_xyxy, mask_HW)

    def iou(self, mask: FoundMask) -> float:
        x0, y0, x1, y1 = mask.box_xyxy
        common = int(np.count_nonzero(self.mask_HW[y0:y1, x0:x1] & mask.inner_hw))
        return common / (self.area + mask.area - common)

    def iou_with(self, other: _Track) -> float:
        (x0, y0, x1, y1), (left, top, right, bottom) = self._box_xyxy, other._box_xyxy
        common = self._count((max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)), other.mask_HW)
        return common / (self.area + other.area - common)

    def _count(self, box_xyxy: tuple[int, int, int, int], other_HW: BoolArray) -> int:
        """So many pixels of a box have both masks."""
        x0, y0, x1, y1 = box_xyxy
        if x0 >= x1 or y0 >= y1:
            return 0
        return int(np.count_nonzero(self.mask_HW[y0:y1, x0:x1] & other_HW[y0:y1, x0:x1]))
