"""Shots of a film: between two hard cuts lies a shot, and no object is followed from one into the next."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model import Frame, FrameSource
from pipeline.records import FramePosition


class LabeledFrames(FrameSource, Protocol):
    """The frames to label; see `pipeline.video.frames.VideoFrames`."""

    @property
    def num_frames(self) -> int | None: ...

    def locate(self, position: FramePosition) -> int | None: ...

    def absence(self, position: FramePosition) -> str: ...

    def position(self, index: int) -> FramePosition: ...


GapsOf = Callable[[int], tuple[float, float]]
"""Seconds from the frame before one, by its `frame_index`, and to the one after it; infinite where nothing tells."""


def no_gaps(frame_index: int) -> tuple[float, float]:
    """Nothing is known of the frames around one."""
    return math.inf, math.inf


@dataclass(frozen=True)
class Shots:
    """The times at which shots begin, ascending. The first shot begins with the video, and is number 0.

    A shot begins with the frame that is nearest to its time. A frame lasts `frame_seconds` by the rate of the file (0:
    not known), and no longer than to the next one, of which `gaps_of` tells: phones and screens record at no even rate.
    """

    cuts_seconds: tuple[float, ...] = ()
    frame_seconds: float = 0.0
    gaps_of: GapsOf = field(default=no_gaps, compare=False)

    def __bool__(self) -> bool:
        return bool(self.cuts_seconds)

    def shot_of(self, position: FramePosition) -> int:
        """The number of the shot of a frame, by its time in the file. A video without times is one shot."""
        if position.pts_seconds is None or not self.cuts_seconds:
            return 0
        _, after = (math.inf, math.inf) if position.frame_index is None else self.gaps_of(position.frame_index)
        return bisect_right(self.cuts_seconds, position.pts_seconds + min(self.frame_seconds, after) / 2)


ONE_SHOT = Shots()


class ShotFrames:
    """The frames of one shot. They keep their indexes, so that what is said of them holds for the whole video."""

    def __init__(self, frames: LabeledFrames, shots: Shots, number: int) -> None:
        self._frames = frames
        self._shots = shots
        self._number = number

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the video in pixels."""
        return self._frames.size_hw

    def length_up_to(self, limit: int) -> int:
        """`min(number of frames, limit)` of the whole video, because indexes are its own."""
        return self._frames.length_up_to(limit)

    def forward(self, start: int) -> Iterator[Frame]:
        """Frames from `start`, or from the first one of the shot, to its end."""
        return self._of_shot(self._frames.forward(start), 1)

    def backward(self, end: int) -> Iterator[Frame]:
        """Frames before `end`, or from the last one of the shot, back to its first one."""
        return self._of_shot(self._frames.backward(end), -1)

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """These frames, wherever they are."""
        return self._frames.at(indexes)

    def _of_shot(self, frames: Iterator[Frame], heading: int) -> Iterator[Frame]:
        """Frames before the shot are passed over, because a session that encodes several at a time begins there."""
        try:
            for frame in frames:
                shot = self._shots.shot_of(self._frames.position(frame.index))
                if (shot - self._number) * heading > 0:
                    return
                if shot == self._number:
                    yield frame
        finally:
            if (close := getattr(frames, "close", None)) is not None:  # a thread decodes ahead of what was taken
                close()
