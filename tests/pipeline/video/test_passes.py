"""Where a pass over a video begins, and what happens when it meets other frames than the pass before."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from model import Display, MediaError, RawFrame, VideoInfo
from pipeline.arrays import UInt8Array
from pipeline.video.passes import DecodingPasses
from pipeline.video.selection import FrameIndex, FrameSelection, InconsistentFrames
from pipeline.video.time_range import TimeBounds


class Black:
    """A picture without content."""

    size_hw = (16, 16)
    num_bytes = 0

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        return np.zeros((*size_hw, 3), np.uint8)


class FakeReader:
    """A video of `num_frames` frames, one a second, with a key frame every `key_distance`. Notes where readings begin.

    `late_by`: seeking leads so many frames too far. `missing`: a reading from the middle leaves this frame out.
    Times are listed without decoding, `wrong_by` seconds too late.
    """

    wrong_by = 0.0

    def __init__(self, num_frames: int, key_distance: int = 5, *, late_by: int = 0, missing: int | None = None) -> None:
        self.num_frames = num_frames
        self._key_distance = key_distance
        self._late_by = late_by
        self._missing = missing
        self.seeks: list[float | None] = []
        self.num_decoded = 0

    def remarks(self) -> tuple[str, ...]:
        return ()

    def info(self) -> VideoInfo:
        return VideoInfo(Display((16, 16)), 1.0, None, None, 0.0, "mp4", "h264")

    def listed(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        for number in range(self.num_frames):
            yield RawFrame(number + self.wrong_by, number % self._key_distance == 0, Black())

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        self.seeks.append(seek_seconds)
        first = 0
        if seek_seconds is not None:
            before = max(0, int(seek_seconds))
            first = before - before % self._key_distance + self._late_by
        for number in range(first, self.num_frames):
            if first == 0 or number != self._missing:
                self.num_decoded += 1
                yield RawFrame(float(number), number % self._key_distance == 0, Black())


def passes_over(reader: FakeReader, *, can_seek: bool = True, **selection: float) -> DecodingPasses:
    return DecodingPasses("clip", reader, FrameIndex(FrameSelection()), TimeBounds(**selection), can_seek=can_seek)


def numbers(passes: DecodingPasses, first: int) -> list[int]:
    return [frame_index for frame_index, _ in passes.frames_from(first)]


def test_a_pass_begins_at_the_last_key_frame_that_is_known() -> None:
    reader = FakeReader(40)
    passes = passes_over(reader)
    assert numbers(passes, 0) == list(range(40))
    reader.num_decoded = 0
    assert numbers(passes, 38) == [38, 39]
    assert reader.num_decoded == 5
    assert reader.seeks == [None, 35.0]


def test_without_seeking_every_pass_begins_at_the_start() -> None:
    reader = FakeReader(40)
    passes = passes_over(reader, can_seek=False)
    assert numbers(passes, 0) == list(range(40))
    assert numbers(passes, 38) == [38, 39]
    assert reader.seeks == [None, None]


def test_a_seek_that_lands_late_is_tried_from_further_ahead() -> None:
    reader = FakeReader(40, late_by=10)
    passes = passes_over(reader)
    assert numbers(passes, 0) == list(range(40))
    reader.seeks.clear()
    assert numbers(passes, 36) == [36, 37, 38, 39]
    assert reader.seeks == [35.0, 33.0, 25.0]


def test_a_range_is_counted_from_its_first_frame() -> None:
    reader = FakeReader(40)
    passes = passes_over(reader, start_seconds=12.0, end_seconds=16.0)
    assert [(number, raw.pts_seconds) for number, raw in passes.frames_from(0)] == [(n, 12.0 + n) for n in range(4)]
    assert reader.seeks == [12.0]


def test_when_a_pass_from_the_middle_meets_other_frames_the_next_ones_begin_at_the_start() -> None:
    reader = FakeReader(40, missing=37)
    passes = passes_over(reader)
    assert numbers(passes, 0) == list(range(40))
    reader.seeks.clear()
    assert numbers(passes, 36) == [36, 37, 38, 39]
    assert numbers(passes, 36) == [36, 37, 38, 39]
    assert reader.seeks == [35.0, None, None]


def test_a_file_with_other_frames_than_before_was_changed() -> None:
    reader = FakeReader(10)
    passes = passes_over(reader)
    numbers(passes, 0)
    reader.num_frames = 8
    with pytest.raises(MediaError, match=r"clip: changed while it was read \(8 frames, 10 were known\)"):
        numbers(passes, 0)


def test_counted_frames_are_numbered_and_a_pass_begins_at_their_key_frames() -> None:
    reader = FakeReader(40)
    passes = passes_over(reader)
    passes.count(lambda: passes.index.num_known == 34)
    assert (passes.index.num_known, passes.index.num_undecoded, reader.num_decoded) == (34, 34, 0)
    assert next(iter(passes.frames_from(33)))[0] == 33
    assert reader.seeks == [30.0]
    assert numbers(passes, 0) == list(range(40))
    assert passes.index.num_undecoded == 0


def test_a_list_that_contradicts_the_frames_that_were_decoded_is_noticed() -> None:
    reader = FakeReader(40)
    passes = passes_over(reader)
    next(iter(passes.frames_from(0)))
    reader.wrong_by = 0.01
    with pytest.raises(InconsistentFrames):
        passes.count(lambda: False)


def test_nothing_is_counted_where_a_time_may_mean_several_places() -> None:
    passes = passes_over(FakeReader(40), can_seek=False)
    passes.count(lambda: False)
    assert passes.index.num_known == 0
