"""Passes of a decoder over the frames of a range, each from wherever it can begin.

Every pass gives the frames their ordinals and notes them in the video's `FrameIndex`. A later pass begins at a key
frame that the index knows, and is held against what the index knows of the frames that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import dropwhile

from model import MediaError, RawFrame, Reader
from pipeline.video.findings import Findings
from pipeline.video.selection import FrameIndex, InconsistentFrames
from pipeline.video.time_range import TimeBounds

RawFrames = Generator[RawFrame, None, None]
NumberedFrames = Generator[tuple[int, RawFrame], None, None]

# Some files seek to a place too late, or between two key frames. Then earlier times are tried.
_EARLIER_SECONDS = (0.0, 2.0, 10.0)


class DecodingPasses:
    """Makes passes over one video. Passes may run at once, in different threads.

    Without `can_seek` every pass begins at the start of the file. With `clock_may_restart` a time names one place only
    once all frames of the file are known and rise; until then every pass begins where the first one does.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        index: FrameIndex,
        bounds: TimeBounds,
        *,
        can_seek: bool = True,
        clock_may_restart: bool = False,
        findings: Findings | None = None,
    ) -> None:
        self._name = name
        self._reader = reader
        self.index = index
        self._bounds = bounds
        self._can_seek = can_seek
        self._clock_may_restart = clock_may_restart
        self._findings = findings or Findings()
        self.num_passed = 0  # frames of all passes, for whoever asks whether one moves on
        if not can_seek:
            index.forbid_seeking()

    def count(self, is_enough: Callable[[], bool]) -> None:
        """Number frames from the first one on, as far as the reader lists them without decoding.

        Raises `InconsistentFrames` if they are not those that were decoded.
        """
        start = self._bounds.start_seconds
        if not self._can_seek or self._clock_may_restart:
            return
        with closing(self._reader.listed(start)) as listed:
            number, last = 0, None
            for raw in self._bounds.frames(_listed_from(listed, start)):
                # The last one is left out, because the frame after it may say whether it lies in the range.
                if last is not None:
                    self.index.record(number, last.pts_seconds, last.is_key, is_decoded=False)
                    number += 1
                    if is_enough():
                        return
                last = raw

    def frames_from(self, first: int) -> NumberedFrames:
        """Frames of the range in order, from frame `first` on, whether labeled or not.

        Raises `MediaError` if a pass from the start meets other frames than the passes before.
        """
        following = first
        key = self.index.key_before(first) if self._is_clock_trusted() else None
        try:
            if key:
                with closing(self._raws_from_key(key)) as raws:
                    for frame_index, raw in self._number(raws, key):
                        if frame_index >= following:
                            yield frame_index, raw
                            following = frame_index + 1
                    return
        except InconsistentFrames:
            # Seeking has led elsewhere than the index says. From now on every pass begins at the start.
            self.index.forbid_seeking()
        try:
            with closing(self._raws(self._bounds.start_seconds)) as raws:
                for frame_index, raw in self._number(raws, 0):
                    if frame_index >= following:
                        yield frame_index, raw
        except InconsistentFrames as error:
            raise MediaError(f"{self._name}: changed while it was read ({error})") from error

    def _is_clock_trusted(self) -> bool:
        return not self._clock_may_restart or (self.index.complete and not self._bounds.is_bounded)

    def _raws_from_key(self, key: int) -> RawFrames:
        """Decoded frames from a key frame of the range on. A key frame has a time."""
        key_seconds = self.index.pts_of(key) or 0.0
        with closing(self._raws(key_seconds)) as raws:
            # After the key frame of an open group come frames that are shown before it. They are dropped, because the
            # frames that they refer to were not decoded.
            yield from dropwhile(lambda raw: raw.pts_seconds is None or raw.pts_seconds < key_seconds, raws)

    def _raws(self, from_seconds: float | None) -> RawFrames:
        """Decoded frames from a key frame at or before a time on."""
        if from_seconds is None:
            yield from self._reader.read()
            return
        seeks = [from_seconds - earlier for earlier in _EARLIER_SECONDS] if self._can_seek else []
        for seek_seconds in seeks:
            with closing(self._reader.read(seek_seconds)) as raws:
                first = next(raws, None)
                if first is None or not first.is_key or first.pts_seconds is None:
                    continue
                if first.pts_seconds <= from_seconds:
                    yield first
                    yield from raws
                    return
        yield from self._reader.read()

    def _number(self, raws: Iterable[RawFrame], first: int) -> NumberedFrames:
        """Give frames of the range their ordinals, the first of them `first`, and note them, up to its end.

        Each is handed out when the next one is noted, because only then the index knows whether it is labeled.
        """
        number = first
        last: RawFrame | None = None
        for raw in self._bounds.frames(raws):
            self.num_passed += 1
            if self.index.record(number, raw.pts_seconds, raw.is_key, raw.fault):
                self._findings.note(number, raw)
            if last is not None:
                yield number - 1, last
            last = raw
            number += 1
        self.index.finish(number)
        if last is not None:
            yield number - 1, last


def _listed_from(listed: Iterable[RawFrame], start_seconds: float | None) -> Generator[RawFrame, None, None]:
    """The same frames, or none if a seek has led behind the start."""
    for place, raw in enumerate(listed):
        if not place and start_seconds is not None and (raw.pts_seconds is None or raw.pts_seconds > start_seconds):
            return
        yield raw
