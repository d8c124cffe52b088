"""What is found in the frames of one video that a reader of its labels should know: damage, other sizes, odd clocks."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from model import RawFrame
from pipeline.text import counted

_MAX_NAMED = 8  # frames of one kind


class Findings:
    """Collects what is found, frame by frame. Each frame of the range is noted once, in stretches that are in order.

    Without `tells_sizes` other sizes are left to the reader, which for a folder can name the files.
    """

    def __init__(self, tells_sizes: bool = True) -> None:
        self._tells_sizes = tells_sizes
        self.damaged = array("q")
        self._size_hw: tuple[int, int] | None = None
        self._resized: tuple[int, tuple[int, int], tuple[int, int]] | None = None
        self._last_frame = -1
        self._last_seconds: float | None = None
        self._steps_back: tuple[int, float, float] | None = None

    def note(self, frame_index: int, raw: RawFrame) -> None:
        """Look at a frame."""
        if raw.is_damaged:
            self.damaged.append(frame_index)
        if self._tells_sizes:
            size_hw = raw.picture.size_hw
            if self._size_hw is not None and size_hw != self._size_hw and self._resized is None:
                self._resized = (frame_index, self._size_hw, size_hw)
            self._size_hw = self._size_hw or size_hw
        if raw.pts_seconds is not None:
            last = self._last_seconds if frame_index > self._last_frame else None
            if last is not None and raw.pts_seconds < last and self._steps_back is None:
                self._steps_back = (frame_index, last, raw.pts_seconds)
            self._last_frame, self._last_seconds = frame_index, raw.pts_seconds

    def texts(self) -> list[str]:
        """Each finding as a clause of the video's message."""
        found = []
        if self.damaged:
            found.append(
                f"{counted(len(self.damaged), 'damaged frame')}, labeled all the same: {_named(sorted(self.damaged))}"
            )
        if self._resized is not None:
            frame_index, (height, width), (new_height, new_width) = self._resized
            found.append(
                f"the size changes from {width} × {height} to {new_width} × {new_height} at frame {frame_index}; masks "
                f"and prompts of all frames are in pixels of {width} × {height}"
            )
        if self._steps_back is not None:
            frame_index, last, now = self._steps_back
            found.append(f"the clock of the file steps back from {last:g} s to {now:g} s at frame {frame_index}")
        return found


def _named(frames: Sequence[int]) -> str:
    names = ", ".join(str(frame) for frame in frames[:_MAX_NAMED])
    more = len(frames) - _MAX_NAMED
    return f"frame {names}" + (f" and {more} more" if more > 0 else "")
