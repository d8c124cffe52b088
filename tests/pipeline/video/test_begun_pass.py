"""Frames that were decoded to know how many there are serve the walk that follows."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from model import Media, RawFrame
from model.media.raw_frames import Unreadable
from pipeline.video.begun_pass import BegunPass
from pipeline.video.frames import VideoFrames
from tests.support.media_files import encode, pictures

NUM_FRAMES = 40


class Frames:
    """Frames of ten bytes, which count how many were decoded."""

    num_decoded = 0
    is_closed = False

    def __iter__(self) -> Iterator[tuple[int, RawFrame]]:
        try:
            for number in range(NUM_FRAMES):
                self.num_decoded += 1
                yield number, RawFrame(number / 10, False, Unreadable("a frame", num_bytes=10))
        finally:
            self.is_closed = True


def begun(most_bytes: int, num_scanned: int = 16) -> tuple[Frames, BegunPass]:
    """A pass that was stopped after so many frames."""
    decoder = Frames()
    one = BegunPass((frame for frame in iter(decoder)), most_bytes)
    one.scan(lambda: decoder.num_decoded == num_scanned)
    return decoder, one


def test_a_walk_goes_on_where_the_scan_stopped() -> None:
    decoder, one = begun(most_bytes=160)
    assert decoder.num_decoded == 16
    assert [one.has(frame) for frame in (0, 15, 16)] == [True, True, False]
    assert [number for number, _ in one.frames()] == list(range(NUM_FRAMES))
    assert (decoder.num_decoded, decoder.is_closed) == (NUM_FRAMES, True)


def test_pictures_that_are_too_large_together_are_not_kept() -> None:
    _, one = begun(most_bytes=159)
    assert not one.fits
    assert not one.has(0)


def test_a_pass_that_nobody_goes_on_with_closes_its_file() -> None:
    decoder, one = begun(most_bytes=160)
    one.close()
    assert (decoder.num_decoded, decoder.is_closed) == (16, True)
    assert not one.has(0)


@pytest.mark.parametrize("start", [0, 7, 30])
def test_frames_are_the_same_whether_they_were_kept_or_are_decoded_again(start: int) -> None:
    opened: list[int] = []
    data = encode(pictures(NUM_FRAMES), options={"bf": "2", "g": "50", "preset": "ultrafast"})
    media = Media("clip", (lambda: (opened.append(1), io.BytesIO(data))[1],))
    with VideoFrames(media) as frames:
        num_before = len(opened)
        first = [(frame.index, frame.pixels_HW3.numpy().tobytes()) for frame in frames.forward(start)]
        assert len(opened) == num_before + (start >= 16)
        again = [(frame.index, frame.pixels_HW3.numpy().tobytes()) for frame in frames.forward(start)]
        assert len(opened) == num_before + (start >= 16) + 1
        assert first == again
        assert [index for index, _ in first] == list(range(start, NUM_FRAMES))
