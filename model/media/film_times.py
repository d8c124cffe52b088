"""When a decoded frame is shown, as the tools of FFmpeg say (`best_effort_timestamp`, and `ffmpeg` after the last one).

Files without presentation times, such as AVI, say only when a packet is decoded. The decoder hands frames out in their
order of presentation, so the time of the packet that made it hand a frame out can stand for the frame's own. Other
files have both times, and one of them is wrong. The series that has failed to rise less often is then believed.
"""

from __future__ import annotations


class PresentationClock:
    """The times of the frames of one reading, in the stream's time base. It must see every frame, in order."""

    def __init__(self, step: int) -> None:
        """`step`: how long a frame lasts that does not say so itself."""
        self._step = step
        self._pts = _Series()
        self._dts = _Series()
        self._end: int | None = None  # when the last frame ends

    def time_of(self, pts: int | None, dts: int | None, duration: int | None) -> int | None:
        """When a frame is shown; `None` before the first frame of which that is known.

        `pts` and `dts` are what FFmpeg says of the frame: its own time, and that of the packet that made the decoder
        hand it out.
        """
        own, packet = pts, dts
        self._dts.follow(packet, other=own)
        self._pts.follow(own, other=packet)
        trusts_own = own is not None and (packet is None or self._pts.num_faults <= self._dts.num_faults)
        time = own if trusts_own else packet
        if time is None:
            time = self._end
        if time is not None:
            self._end = time + (duration or self._step)
        return time


class _Series:
    """Times of one kind, and how often they have failed to rise."""

    def __init__(self) -> None:
        self.num_faults = 0
        self._last: int | None = None

    def follow(self, time: int | None, other: int | None) -> None:
        """Note a frame's time. Where it has none of this kind, its time of the other kind is the last one."""
        if time is not None:
            if self._last is not None and time <= self._last:
                self.num_faults += 1
            self._last = time
        elif other is not None:
            self._last = other
