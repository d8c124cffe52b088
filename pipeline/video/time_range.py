"""Which frames lie in a range of times.

The times of a table are sums of durations, 32-bit floats or decimals, and the times of a file are rounded to its time
base. They are never compared exactly: a bound means the frame that is nearest to it, if one is nearer than half a
frame's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from model import RawFrame

_LATE_FRAMES = 16  # in a row end a range, because the times of some files do not rise from each frame to the next
_LONGEST_STEP_UNASKED = 1 / 30  # a claimed rate above 30 a second may be no rate at all, as in WebM from browsers


@dataclass(frozen=True)
class TimeBounds:
    """`start_seconds <= time < end_seconds`, within half a frame; `None` = no bound. `step_seconds`: a frame's time."""

    start_seconds: float | None = None
    end_seconds: float | None = None
    step_seconds: float | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether the range may be less than the video."""
        return self.start_seconds is not None or self.end_seconds is not None

    def frames(self, raws: Iterable[RawFrame]) -> Iterator[RawFrame]:
        """Those of the frames that lie in the range, up to its end. Frames follow on each other without gaps."""
        if not self.is_bounded:
            yield from raws
            return
        num_late = 0
        for raw, following in _with_following(raws):
            tolerance = self._tolerance(raw, following)
            if self._is_late(raw, tolerance):
                num_late += 1
                if num_late == _LATE_FRAMES:
                    return
                continue
            num_late = 0
            if not self._is_early(raw, tolerance):
                yield raw

    def _is_early(self, raw: RawFrame, tolerance: float) -> bool:
        if self.start_seconds is None:
            return False
        # Frames before the first known time are those that a cut without a key frame has left over.
        return raw.pts_seconds is None or raw.pts_seconds < self.start_seconds - tolerance

    def _is_late(self, raw: RawFrame, tolerance: float) -> bool:
        if self.end_seconds is None or raw.pts_seconds is None:
            return False
        return raw.pts_seconds >= self.end_seconds - tolerance

    def _tolerance(self, raw: RawFrame, following: RawFrame | None) -> float:
        """Half the time of a frame.

        It depends on the frame alone, so that of two ranges with a common bound exactly one has the frame. A frame
        before a gap is not shown longer than others are.
        """
        step = max(self.step_seconds or 0.0, _LONGEST_STEP_UNASKED)
        if following is not None and following.pts_seconds is not None and raw.pts_seconds is not None:
            distance = following.pts_seconds - raw.pts_seconds
            step = min(step, distance) if distance > 0 else step
        elif self.step_seconds:
            step = min(step, self.step_seconds)
        return step / 2


def _with_following(raws: Iterable[RawFrame]) -> Iterator[tuple[RawFrame, RawFrame | None]]:
    last: RawFrame | None = None
    for raw in raws:
        if last is not None:
            yield last, raw
        last = raw
    if last is not None:
        yield last, None
