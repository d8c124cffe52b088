"""Which frames are nearest to the ticks of a rate, in one look at each frame and at the next one."""

from __future__ import annotations

import math

_UNKNOWN_STEP_SECONDS = 0.04
# Of the distance of two frames. Times in files are rounded, so a tick is never quite in the middle between two frames.
_TIE = 0.01


class RunningClock:
    """Seconds since the first frame, which never run backward.

    Pieces that were joined bring clocks of their own. Where the time of the file steps back, or is not known, a frame
    follows on the one before by `step_seconds`, and the clock goes on from there.
    """

    def __init__(self, step_seconds: float | None = None) -> None:
        self.step_seconds = step_seconds or _UNKNOWN_STEP_SECONDS
        self._elapsed: float | None = None
        self._offset: float | None = None  # from the time in the file to that of this clock

    def advance(self, pts_seconds: float | None) -> float:
        """The time of the next frame on this clock."""
        last = self._elapsed
        if pts_seconds is not None and self._offset is not None and last is not None:
            elapsed = pts_seconds + self._offset
            if elapsed >= last:
                self._elapsed = elapsed
                return elapsed
        self._elapsed = elapsed = 0.0 if last is None else last + self.step_seconds
        self._offset = None if pts_seconds is None else elapsed - pts_seconds
        return elapsed


class TickGrid:
    """Ticks at 0, 1 / fps, 2 / fps … on a running clock. The frame that is nearest to a tick is on the grid.

    Of two frames that are equally near, the earlier one is.
    """

    def __init__(self, fps: float, step_seconds: float | None = None) -> None:
        self._fps = fps
        self._clock = RunningClock(step_seconds)
        self._last_tick = -1
        self._pending: float | None = None

    def next_frame(self, pts_seconds: float | None) -> bool | None:
        """Take a frame, and tell whether the one before it is on the grid; `None` if it is the first one."""
        now = self._clock.advance(pts_seconds)
        before, self._pending = self._pending, now
        return None if before is None else self._reaches_tick(before + (now - before) * (0.5 + _TIE))

    def end(self) -> bool | None:
        """Whether the last frame is on the grid; `None` if there was none."""
        last, self._pending = self._pending, None
        return None if last is None else self._reaches_tick(last + self._clock.step_seconds / 2)

    def _reaches_tick(self, until: float) -> bool:
        """Whether a tick lies between those of earlier frames and a time."""
        tick = math.floor(until * self._fps)
        is_new = tick > self._last_tick
        self._last_tick = max(tick, self._last_tick)
        return is_new
