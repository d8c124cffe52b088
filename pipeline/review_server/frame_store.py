"""Frames of the videos that people look at, as JPEGs: decoded ahead of whoever plays, and kept for a while.

A video that is open has a walk: its decoder stands behind the frame that was asked for last and goes on from there. A
frame elsewhere lets the walk begin anew at that frame, which takes as long as decoding from the key frame before it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from pipeline.arrays import UInt8Array
from pipeline.masks.shrink import shrunk
from pipeline.review_server.bounded import Bounded

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip

ClipKey = tuple[str, str]
"""A video id, and when it was labeled: a video that is labeled again may have another file and other frames."""

_MOST_BYTES = 256 << 20
_MOST_VIDEOS = 3
_MOST_PIXELS = 1920
_QUALITY = 88
_AHEAD = 48  # frames: two seconds of a film
_STEPPED_OVER = 24  # fewer frames are decoded on the way faster than a file is entered anew
_BACK = 16  # a walk that steps backward begins so many frames earlier


class FrameStore:
    """JPEGs of frames by video and frame index. Methods may be called in any thread."""

    def __init__(
        self, most_bytes: int = _MOST_BYTES, most_videos: int = _MOST_VIDEOS, most_pixels: int = _MOST_PIXELS
    ) -> None:
        self.jpegs: Bounded[tuple[ClipKey, int], bytes] = Bounded(most_bytes, len)
        self._walks: Bounded[ClipKey, _Walk] = Bounded(most_videos, dropped=lambda walk: walk.close())
        self._most_pixels = most_pixels
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="frames ahead")

    def jpeg(self, key: ClipKey, clip: Callable[[], Clip], frame_index: int, ahead: int = _AHEAD) -> bytes:
        """One frame, at most 1920 pixels wide or high. The frames after it are decoded as well, in another thread.

        Raises `NotInJob` for a frame without masks, and what `Clip.pixels` raises where the video cannot be read.
        """
        walk = self._walks.get(key) or self._walks.put(key, _Walk(clip(), key, self.jpegs, self._most_pixels))
        found = walk.jpeg(frame_index)
        if ahead:
            self.do_ahead(lambda: walk.go_ahead(frame_index, ahead))
        return found

    def forget_walk(self, key: ClipKey) -> None:
        """The video has other frames than before: its decoder begins anew."""
        self._walks.clear(lambda one: one == key)

    def do_ahead(self, work: Callable[[], object]) -> None:
        """Do something in the thread that decodes ahead, after what it has to do already."""
        with suppress(RuntimeError):  # the server ends
            self._ahead.submit(work)

    def close(self) -> None:
        """Close all files."""
        self._ahead.shutdown(cancel_futures=True)
        self._walks.clear()


class _Walk:
    """The decoder of one video, and the place at which it stands. One thread at a time decodes."""

    def __init__(self, clip: Clip, key: ClipKey, jpegs: Bounded[tuple[ClipKey, int], bytes], most_pixels: int) -> None:
        self._clip = clip
        self._key = key
        self._jpegs = jpegs
        self._most_pixels = most_pixels
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._num_asking = 0
        self._wanted = -1  # the frame that was asked for last
        self._frames: Generator[tuple[int, float | None, UInt8Array], None, None] | None = None
        self._place = 0  # of the frame that comes next, among those with rows

    def jpeg(self, frame_index: int) -> bytes:
        self._clip.check_frames([frame_index])
        self._wanted = frame_index
        if found := self._jpegs.get((self._key, frame_index)):
            return found
        with self._asking(), self._lock:
            found = self._jpegs.get((self._key, frame_index))
            return found or self._walk_to(self._place_of(frame_index))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Somebody waits for a frame: decoding ahead makes way."""
        with self._counting:
            self._num_asking += 1
        try:
            yield
        finally:
            with self._counting:
                self._num_asking -= 1

    def go_ahead(self, frame_index: int, count: int) -> None:
        """Decode the frames after one, until another frame is asked for. A fault shows when its frame is asked for."""
        place = self._place_of(frame_index)
        last = min(place + count, len(self._clip.frame_indexes) - 1)
        with suppress(Exception):
            for following in range(place + 1, last + 1):
                if self._num_asking or self._wanted != frame_index:
                    return
                with self._lock:
                    if (self._key, int(self._clip.frame_indexes[following])) not in self._jpegs:
                        self._walk_to(following)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _place_of(self, frame_index: int) -> int:
        return int(np.searchsorted(self._clip.frame_indexes, frame_index))

    def _walk_to(self, place: int) -> bytes:
        """Decode to a place, from where the decoder stands or from where it is entered anew."""
        indexes = self._clip.frame_indexes
        if self._frames is None or not self._place <= place <= self._place + _STEPPED_OVER:
            self._end()
            is_stepping_back = place + 1 < len(indexes) and (self._key, int(indexes[place + 1])) in self._jpegs
            self._place = max(0, place - _BACK) if is_stepping_back else place
            frames = self._clip.pixels(indexes[self._place :].tolist(), reading="walk")
            self._frames = cast("Generator[Any, None, None]", frames)
        try:
            while True:
                index, _, pixels_HW3 = next(self._frames)
                at, self._place = self._place, self._place + 1
                found = self._jpegs.put((self._key, index), _jpeg(shrunk(pixels_HW3, self._most_pixels)))
                if at == place:
                    return found
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        if self._frames is not None:
            with closing(self._frames):
                self._frames = None


def _jpeg(pixels_HW3: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
