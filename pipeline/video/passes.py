"""Passes of a decoder over the frames of a range, each from wherever it can begin.

Every pass gives the frames their ordinals and notes them in the video's `FrameIndex`. A later pass begins at a key
frame that the index knows, and is held against what the index knows of the frames that follow.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from itertools import chain, dropwhile

from model import MediaError, RawFrame, Reader
from pipeline.video.selection import FrameIndex, FrameSelection, InconsistentFrames

NumberedFrames = Generator[tuple[int, RawFrame], None, None]

# Some files seek to a place too late, or between two key frames. Then earlier times are tried.
_EARLIER_SECONDS = (0.0, 2.0, 10.0)


class DecodingPasses:
    """Makes passes over one video. Passes may run at once, in different threads.

    Without `can_seek` every pass begins at the start of the file.
    """

    def __init__(
        self, name: str, reader: Reader, index: FrameIndex, selection: FrameSelection, can_seek: bool = True
    ) -> None:
        self._name = name
        self._reader = reader
        self._index = index
        self._selection = selection
        self._can_seek = can_seek
        if not can_seek:
            index.forbid_seeking()

    def frames_from(self, first: int) -> NumberedFrames:
        """Frames of the range in order, from frame `first` on, whether labeled or not.

        Raises `MediaError` if a pass from the start meets other frames than the passes before.
        """
        following = first
        key = self._index.key_before(first)
        try:
            if key:
                with closing(self._raws(self._index.pts_of(key))) as raws:
                    for frame_index, raw in self._number(raws, key):
                        if frame_index >= following:
                            yield frame_index, raw
                            following = frame_index + 1
                    return
        except InconsistentFrames:
            # Seeking has led elsewhere than the index says. From now on every pass begins at the start.
            self._index.forbid_seeking()
        try:
            with closing(self._raws(self._selection.start_seconds)) as raws:
                for frame_index, raw in self._number(raws, 0):
                    if frame_index >= following:
                        yield frame_index, raw
        except InconsistentFrames as error:
            raise MediaError(f"{self._name}: changed while it was read ({error})") from error

    def _raws(self, from_seconds: float | None) -> Generator[RawFrame, None, None]:
        """Decoded frames from the first one at or after a time. Frames before it are decoded where they must be."""
        if from_seconds is None:
            yield from self._reader.read()
            return
        seeks = [from_seconds - earlier for earlier in _EARLIER_SECONDS] if self._can_seek else []
        for seek_seconds in (*seeks, None):
            with closing(self._reader.read(seek_seconds)) as raws:
                first = next(raws, None)
                is_usable = first is not None and first.is_key and first.pts_seconds <= from_seconds
                if seek_seconds is not None and not is_usable:
                    continue
                # After the key frame of an open group come frames that are shown before it. They are dropped, because
                # the frames that they refer to were not decoded.
                everything = chain(() if first is None else (first,), raws)
                yield from dropwhile(lambda raw: raw.pts_seconds < from_seconds, everything)
                return

    def _number(self, frames: Iterable[RawFrame], first: int) -> NumberedFrames:
        """Give frames their ordinals, the first of them `first`, and note them, up to the end of the range."""
        end_seconds = self._selection.end_seconds
        number = first
        for raw in frames:
            if end_seconds is not None and raw.pts_seconds >= end_seconds:
                break
            self._index.record(number, raw.pts_seconds, raw.is_key, raw.fault)
            yield number, raw
            number += 1
        self._index.finish(number)
