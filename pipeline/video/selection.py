"""Which frames of a video are labeled, and what a labeled frame is called in the tables.

A frame has two names. The tables use its `frame_index`: its ordinal in presentation order, counted from the first
frame of the labeled range, with every frame counted whatever the stride is. A model session uses its *label*, which
counts the labeled frames only: 0, 1, 2 … without gaps. The frames of the stride (or rate) are labeled, and every
prompted frame is, so that a prompt between two steps of the stride is never lost.
"""

from __future__ import annotations

import math
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import FramePosition, check_range
from pipeline.video.grid import TickGrid


@dataclass(frozen=True)
class FrameSelection:
    """Every `stride`-th frame, or those nearest to `fps` ticks per second, of `start_seconds <= pts < end_seconds`.

    Times are those of the file (`pts × time base`), compared within half a frame (`time_range.TimeBounds`). Raises
    `ValueError` for a value that selects nothing.
    """

    stride: int = 1
    fps: float | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"stride: expected 1 or more, got {self.stride}")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps: expected a number above 0, got {self.fps}")
        if self.fps is not None and self.stride != 1:
            raise ValueError(f"give stride or fps, not both (stride={self.stride}, fps={self.fps})")
        check_range(self.start_seconds, self.end_seconds)


class InconsistentFrames(Exception):
    """A decoding pass met other frames than the pass before."""


class FrameIndex:
    """What is known so far of the frames in a range: their times, key frames, and which are labeled.

    It grows while frames are decoded. Several passes, also in helper threads, record into one index. A pass over frames
    that are known is checked against what is known. With a rate, whether a frame is labeled is known when the next one
    is. `step_seconds` is how long a frame lasts that does not say so, for rates.
    """

    def __init__(self, selection: FrameSelection, step_seconds: float | None = None) -> None:
        self._selection = selection
        self._lock = threading.Lock()
        self._pts_seconds = array("d")  # NaN: not known
        self._keys = array("q")
        self._faults: dict[int, str] = {}
        self._undecoded: set[int] = set()
        self._on_grid = bytearray()
        self._labeled = array("q")
        self._prompted: frozenset[int] = frozenset()
        self._grid = None if selection.fps is None else TickGrid(selection.fps, step_seconds)
        self._seekable = True
        self.complete = False

    @property
    def num_known(self) -> int:
        """Frames of the range that were decoded so far, labeled or not."""
        return len(self._pts_seconds)

    @property
    def num_labeled(self) -> int:
        """Labeled frames that were decoded so far; all of them once `complete`."""
        return len(self._labeled)

    @property
    def _num_decided(self) -> int:
        """Frames of which it is known whether they are on the grid: all that are known, or with a rate one less."""
        return len(self._on_grid)

    def set_prompted(self, frame_indexes: Iterable[int]) -> None:
        """Label these frames too. Call it before labels are used, because it renumbers them."""
        with self._lock:
            self._prompted = frozenset(frame_indexes)
            chosen = (i for i, on_grid in enumerate(self._on_grid) if self._is_labeled(i, bool(on_grid)))
            self._labeled = array("q", chosen)

    @property
    def num_undecoded(self) -> int:
        """Known frames that were counted only."""
        return len(self._undecoded)

    def is_decoded(self, frame_index: int) -> bool:
        """Whether a known frame was decoded, and not counted only."""
        return frame_index not in self._undecoded

    def record(
        self, frame_index: int, pts_seconds: float | None, is_key: bool, fault: str = "", *, is_decoded: bool = True
    ) -> bool:
        """Note a frame, and tell whether it is decoded for the first time. One with a fault gets no label.

        Raises `InconsistentFrames` if another time is known for it, or frames before it are not known, or it could be
        read before and cannot now, or the other way round.
        """
        with self._lock:
            known = len(self._pts_seconds)
            if frame_index < known:
                if self.pts_of(frame_index) != pts_seconds:
                    raise InconsistentFrames(f"frame {frame_index} was at {self.pts_of(frame_index)} s before")
                if (frame_index in self._faults) != bool(fault):
                    raise InconsistentFrames(f"frame {frame_index} could be read at one time and not at another")
                if is_decoded and frame_index in self._undecoded:
                    self._undecoded.discard(frame_index)
                    return True
                return False
            if frame_index > known or self.complete:
                raise InconsistentFrames(f"frame {frame_index} follows on {known} frames")
            if known and pts_seconds is not None and pts_seconds <= self._pts_seconds[-1]:
                self._seekable = False  # times that do not rise name no single frame to seek to
            self._pts_seconds.append(math.nan if pts_seconds is None else pts_seconds)
            if fault:
                self._faults[frame_index] = fault
            if is_key:
                self._keys.append(frame_index)
            if not is_decoded:
                self._undecoded.add(frame_index)
            if self._grid is None:
                self._decide(frame_index % self._selection.stride == 0)
            else:
                self._decide(self._grid.next_frame(pts_seconds))
            return True

    def finish(self, num_frames: int) -> None:
        """Note that the range ends after `num_frames`. Raises `InconsistentFrames` if more are known."""
        with self._lock:
            if num_frames != len(self._pts_seconds):
                raise InconsistentFrames(f"{num_frames} frames, {len(self._pts_seconds)} were known")
            if self._grid is not None:
                self._decide(self._grid.end())
            self.complete = True

    def _decide(self, on_grid: bool | None) -> None:
        """Note whether the next undecided frame is on the grid. `None`: that is not known yet."""
        if on_grid is None:
            return
        frame_index = len(self._on_grid)
        self._on_grid.append(on_grid)
        if self._is_labeled(frame_index, on_grid):
            self._labeled.append(frame_index)

    def _is_labeled(self, frame_index: int, on_grid: bool) -> bool:
        return (on_grid or frame_index in self._prompted) and frame_index not in self._faults

    def forbid_seeking(self) -> None:
        """From now on, no frame is a place to start decoding from."""
        self._seekable = False

    def key_before(self, frame_index: int) -> int | None:
        """The last known key frame at or before a frame, or `None` if decoding has to begin at the start."""
        with self._lock:
            place = bisect_right(self._keys, frame_index)
            return self._keys[place - 1] if place and self._seekable else None

    def pts_of(self, frame_index: int) -> float | None:
        """Time of a known frame in seconds; `None` if the file does not say it."""
        pts_seconds = self._pts_seconds[frame_index]
        return None if math.isnan(pts_seconds) else pts_seconds

    def gaps_of(self, frame_index: int) -> tuple[float, float]:
        """Seconds from the frame before a known one, and to the one after it; infinite where they do not tell."""
        num_known, around = self.num_known, range(frame_index - 1, frame_index + 2)
        times = [self._pts_seconds[at] if 0 <= at < num_known else math.nan for at in around]
        before, after = (gap if gap > 0 else math.inf for gap in (times[1] - times[0], times[2] - times[1]))
        return before, after

    def span_seconds(self) -> tuple[float, float] | None:
        """The earliest and the latest time of known frames; `None` if none has a time."""
        times = np.array(self._pts_seconds)
        times = times[~np.isnan(times)]
        return (float(times.min()), float(times.max())) if times.size else None

    def fault_of(self, frame_index: int) -> str:
        """Why a known frame cannot be read; empty if it can."""
        return self._faults.get(frame_index, "")

    def frame_of(self, label: int) -> int:
        """`frame_index` of a known label."""
        return self._labeled[label]

    def label_of(self, frame_index: int) -> int | None:
        """Label of a known frame, `None` if it is not labeled."""
        with self._lock:
            place = bisect_left(self._labeled, frame_index)
            found = place < len(self._labeled) and self._labeled[place] == frame_index
            return place if found else None

    def first_label_from(self, frame_index: int) -> int:
        """The first label at or after a frame."""
        with self._lock:
            return bisect_left(self._labeled, frame_index)

    def covers(self, position: FramePosition) -> bool:
        """Whether enough is known to say which frame is at a position."""
        if self.complete:
            return True
        if position.frame_index is not None:
            return position.frame_index < self._num_decided
        last_two = self._pts_seconds[max(0, self._num_decided - 2) : self._num_decided]
        return any(pts_seconds > _time(position) for pts_seconds in last_two)

    def find(self, position: FramePosition) -> int | None:
        """`frame_index` of the frame at a position; `None` beyond the range.

        A time means the nearest frame, and the earlier one of two that are equally near. In a gap, where the next frame
        is further off than the frame before lasts, it means the frame that is still shown. A time further off the first
        or the last frame than that frame lasts is beyond the range.
        """
        if position.frame_index is not None:
            return position.frame_index if 0 <= position.frame_index < self._num_decided else None
        with self._lock:
            return _nearest(self._pts_seconds[: self._num_decided], _time(position))


def _time(position: FramePosition) -> float:
    if position.pts_seconds is None:
        raise ValueError("a frame position needs frame_index or pts_seconds")
    return position.pts_seconds


def _nearest(times: Sequence[float], wanted: float) -> int | None:
    """The place of the frame that a time means; see `FrameIndex.find`."""
    if not times:
        return None
    distances = np.abs(np.array(times) - wanted)
    if np.isnan(distances).all():
        return None
    nearest = int(np.nanargmin(distances))
    early = times[nearest] - wanted
    before = times[nearest - 1] if nearest else math.nan
    after = times[nearest + 1] if nearest + 1 < len(times) else math.nan
    if early > 0 and before <= wanted:
        # How long a frame lasts is told by the frames before, because those after may not be known yet.
        in_gap = nearest > 1 and early > before - times[nearest - 2] > 0
        return nearest - 1 if in_gap else nearest
    if early <= 0 and after > wanted:
        return nearest
    # The time lies before or after all frames, or where the clock of the file starts again, or next to unknown times.
    durations = (times[nearest] - before, after - times[nearest])
    duration = next((seconds for seconds in durations if seconds > 0), 1.0)
    return nearest if abs(early) <= duration else None


def last_positions(positions: Sequence[FramePosition]) -> list[FramePosition]:
    """The last of those by index and the last of those by time. When these two are known, all are."""
    by_index = [position for position in positions if position.frame_index is not None]
    by_time = [position for position in positions if position.frame_index is None]
    return [
        *sorted(by_index, key=lambda position: position.frame_index or 0)[-1:],
        *sorted(by_time, key=lambda position: position.pts_seconds or 0.0)[-1:],
    ]
