"""Frames of a walk in aligned groups, so that the image encoder takes several at a time.

Groups are cut at multiples of their size, whatever the walk's start and direction, and the encoder gets a group in
ascending order: a walk that is resumed in the middle of a group, or goes the other way, repeats the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from model.network.features import ImageFeatures
from model.tracking.frames import Frame, FrameSource
from model.tracking.memory_bank import FORWARD


class FrameGroups:
    """The frames of `source` from `start` on in the direction of `heading`; it can be iterated once.

    `encode` makes the features of some frames in one batch. `is_tracked` says whether the features of the frame with
    this index will be asked for. Its answer must not depend on `start`, because a resumed walk would then make other
    batches.
    """

    def __init__(
        self,
        source: FrameSource,
        start: int,
        heading: int,
        size: int,
        encode: Callable[[Sequence[Frame]], ImageFeatures],
        is_tracked: Callable[[int], bool],
    ) -> None:
        self._start, self._heading, self._size = start, heading, size
        self._encode, self._is_tracked = encode, is_tracked
        group_start = start - start % size
        if heading == FORWARD:
            self._frames = source.forward(group_start)
        else:
            self._frames = source.backward(source.length_up_to(group_start + size))
        self._group: list[Frame] = []
        self._features: dict[int, ImageFeatures] = {}

    def __iter__(self) -> Iterator[Frame]:
        while group := self._next_group():
            self._group = [frame for frame in group if self._is_tracked(frame.index)]
            for frame in group:
                if not self._is_behind(frame.index):
                    yield frame
                    self._features.pop(frame.index, None)

    def features(self, frame_index: int) -> ImageFeatures | None:
        """Image features of a frame of the present group; the whole group is encoded when one is first asked for."""
        if self._group and any(frame.index == frame_index for frame in self._group):
            ascending = sorted(self._group, key=lambda frame: frame.index)
            self._group = []
            encoded = self._encode(ascending)
            for row, frame in enumerate(ascending):
                if not self._is_behind(frame.index):
                    self._features[frame.index] = encoded.frame(row)
        return self._features.get(frame_index)

    @property
    def held(self) -> Collection[int]:
        """The frames whose features are computed and still to be asked for."""
        return self._features.keys()

    def _is_behind(self, frame_index: int) -> bool:
        """Whether a frame of the first group lies before the start of the walk."""
        return (frame_index - self._start) * self._heading < 0

    def _next_group(self) -> list[Frame]:
        last = self._size - 1 if self._heading == FORWARD else 0
        group = []
        for frame in self._frames:
            group.append(frame)
            if frame.index % self._size == last:
                break
        return group
