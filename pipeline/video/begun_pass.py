"""A pass over a video that was stopped when enough was known of its frames, and that a walk goes on with.

The first 16 frames of each video are decoded to know how many there are. A walk that decoded them once more would
decode a tenth more frames of a video of 160.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing

from model import RawFrame
from pipeline.video.passes import NumberedFrames

_MOST_BYTES = 64 << 20  # 16 pictures of 1080p have 50 MB


class BegunPass:
    """The frames of a pass so far, as the decoder gave them, and the rest of it. `fits`: they are all kept."""

    def __init__(self, frames: NumberedFrames, most_bytes: int = _MOST_BYTES) -> None:
        self.fits = True
        self._frames = frames
        self._most_bytes = most_bytes
        self._kept: deque[tuple[int, RawFrame]] = deque()
        self._num_bytes = 0

    def scan(self, enough: Callable[[], bool]) -> None:
        """Decode on until enough is known, or to the end."""
        for frame_index, raw in self._frames:
            self._keep(frame_index, raw)
            if enough():
                return

    def has(self, frame_index: int) -> bool:
        """Whether a walk from this frame on finds it here."""
        return self.fits and bool(self._kept) and self._kept[0][0] <= frame_index <= self._kept[-1][0]

    def frames(self) -> NumberedFrames:
        """All frames from the first one on. They are handed out once."""
        with closing(self._frames):
            while self._kept:
                yield self._kept.popleft()
            yield from self._frames

    def close(self) -> None:
        """Drop the frames and close the file."""
        self._kept.clear()
        self._frames.close()

    def _keep(self, frame_index: int, raw: RawFrame) -> None:
        self._num_bytes += raw.picture.num_bytes
        self.fits = self.fits and self._num_bytes <= self._most_bytes
        if self.fits:
            self._kept.append((frame_index, raw))
        else:
            self._kept.clear()
