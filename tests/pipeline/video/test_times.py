"""Times of tables and times of files: episodes of one file, rates, clocks that start again, files that start late."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
import pytest

from model import MediaError
from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.selection import FrameSelection
from tests.support.films import Film, drawn, drawn_of, picture
from tests.support.media_files import media_of

pytestmark = pytest.mark.slow

LENGTHS = (7, 9, 8, 11, 6)
TS = Film("mpegts", times=tuple(range(12)), options=(("bf", "0"), ("g", "6")))


def times_of(data: bytes, selection: FrameSelection | None = None) -> list[float]:
    with VideoFrames(media_of(data), selection) as frames:
        return [frames.position(index).pts_seconds or 0.0 for index in range(frames.length_up_to(999))]


# Episodes of one file


def summed(bounds: list[Fraction]) -> list[float]:
    """Sums of durations, as a data set keeps them that is made episode by episode."""
    return list(accumulate((float(last - first) for first, last in pairwise(bounds)), initial=float(bounds[0])))


BOUNDS: dict[str, Callable[[list[Fraction]], list[float]]] = {
    "exact": lambda bounds: [float(bound) for bound in bounds],
    "sums of float64": summed,
    "float32": lambda bounds: [float(np.float32(bound)) for bound in bounds],
    "three decimals": lambda bounds: [round(float(bound), 3) for bound in bounds],
    "six decimals": lambda bounds: [round(float(bound), 6) for bound in bounds],
    "third of a frame early": lambda bounds: [float(bound) - 0.01 for bound in bounds],
    "third of a frame late": lambda bounds: [float(bound) + 0.01 for bound in bounds],
}


@pytest.mark.parametrize(
    ("container", "rate"),
    [("mp4", Fraction(30)), ("matroska", Fraction(30000, 1001)), ("mpegts", Fraction(30))],
    ids=["mp4", "matroska", "mpegts"],
)
@pytest.mark.parametrize("way", BOUNDS)
def test_episodes_of_one_file_have_their_own_frames_however_their_bounds_are_rounded(
    container: str, rate: Fraction, way: str
) -> None:
    film = Film(container, rate=rate, times=tuple(range(sum(LENGTHS))), options=(("g", "12"), ("bf", "2")))
    times = times_of(drawn(film))
    first_frames = list(accumulate(LENGTHS, initial=0))
    bounds = [Fraction(times[0]) + first / rate for first in first_frames]
    found = [
        times_of(drawn(film), FrameSelection(start_seconds=start, end_seconds=end))
        for start, end in pairwise(BOUNDS[way](bounds))
    ]
    assert found == [times[first:last] for first, last in pairwise(first_frames)]


def test_a_bound_in_a_gap_takes_no_frame_from_before_it() -> None:
    film = Film("matroska", times=(0, 1, 2, 30, 31, 32))
    assert times_of(drawn(film), FrameSelection(start_seconds=0.5)) == pytest.approx([3.0, 3.1, 3.2])
    assert times_of(drawn(film), FrameSelection(end_seconds=0.5)) == pytest.approx([0.0, 0.1, 0.2])


def test_the_end_of_a_range_is_not_the_first_frame_that_is_late() -> None:
    """Pieces that overlap: the frame at 1.1 comes before the second one at 1.0."""
    data = drawn(TS) + drawn(Film("mpegts", start=1.0, times=TS.times, options=TS.options))
    assert times_of(data, FrameSelection(end_seconds=1.1)) == pytest.approx([*(n / 10 for n in range(11)), 1.0])


# Rates


@pytest.mark.parametrize(
    ("container", "rate"),
    [
        ("matroska", Fraction(30)),
        ("matroska", Fraction(24)),
        ("matroska", Fraction(30000, 1001)),
        ("flv", Fraction(30)),
        ("mpegts", Fraction(24000, 1001)),
        ("mp4", Fraction(30000, 1001)),
    ],
)
def test_the_rate_of_a_file_takes_all_frames_and_half_of_it_every_second_one(container: str, rate: Fraction) -> None:
    film = Film(container, rate=rate, times=tuple(range(60)))
    times = times_of(drawn(film))
    for fps in (float(rate), round(float(rate), 3), round(float(rate), 2)):
        assert times_of(drawn(film), FrameSelection(fps=fps)) == times
    assert times_of(drawn(film), FrameSelection(fps=float(rate) / 2)) == times[::2]


def test_a_rate_goes_on_where_the_clock_starts_again() -> None:
    data = drawn(TS) + drawn(TS)
    assert times_of(data) == pytest.approx([step / 10 for step in range(12)] * 2)
    assert times_of(data, FrameSelection(fps=10)) == times_of(data)
    assert times_of(data, FrameSelection(fps=5)) == times_of(data)[::2]
    with VideoFrames(media_of(data)) as frames:
        assert frames.length_up_to(99) == 24
        assert frames.remarks() == ("the clock of the file steps back from 1.1 s to 0 s at frame 12",)


@pytest.mark.parametrize(("container", "codec"), [("mpegts", "libx264"), ("ogg", "libvpx"), ("matroska", "libx264")])
def test_pieces_with_the_same_times_are_not_taken_for_each_other(container: str, codec: str) -> None:
    film = Film(container, codec, times=tuple(range(20)), options=(("g", "6"),))
    bright = drawn_of(film, [255 - picture(index) for index in range(20)])
    with VideoFrames(media_of(drawn(film) + bright)) as frames:
        assert frames.length_up_to(99) == 40
        forward = [(frame.index, frame.pixels_HW3.numpy().tobytes()) for frame in frames.forward(0)]
        times = [frames.position(index).pts_seconds for index, _ in forward]
        assert times[:20] == times[20:] == sorted(times[:20])
        assert len({pixels for _, pixels in forward}) == 40
        for start in (10, 25):
            later = [(frame.index, frame.pixels_HW3.numpy().tobytes()) for frame in frames.forward(start)]
            assert later == forward[start:]
        backward = [(frame.index, frame.pixels_HW3.numpy().tobytes()) for frame in frames.backward(40)]
        assert backward == forward[::-1]


@pytest.mark.parametrize("fps", [10, 5, 3.7, 2])
@pytest.mark.parametrize("position", [FramePosition(30, None), FramePosition(None, 3.0), FramePosition(None, 2.96)])
def test_a_prompt_has_its_frame_whatever_the_rate_and_however_far_was_decoded(
    fps: float, position: FramePosition
) -> None:
    data = drawn(Film(times=tuple(range(50))))
    with VideoFrames(media_of(data), FrameSelection(fps=fps), prompted=[position]) as frames:
        label = frames.locate(position)
        assert label is not None
        assert [frame.index for frame in frames.at([label])] == [label]
        assert frames.position(label) == FramePosition(30, 3.0)


def test_a_rate_goes_on_where_pieces_overlap() -> None:
    data = drawn(TS) + drawn(Film("mpegts", start=1.0, times=TS.times, options=TS.options))
    assert len(times_of(data, FrameSelection(fps=10))) == 24


def test_sessions_that_earlier_programs_saved_go_on_unless_other_frames_are_taken_now() -> None:
    def identity(selection: FrameSelection) -> str:
        with VideoFrames(media_of(drawn(Film())), selection) as frames:
            return frames.identity()

    every_third = identity(FrameSelection(stride=3))
    assert every_third.startswith("VideoInfo(size_hw=(48, 64), ")
    assert every_third.endswith(", codec='h264')")
    assert identity(FrameSelection()) == every_third
    for by_time in (FrameSelection(fps=2), FrameSelection(start_seconds=0.5), FrameSelection(end_seconds=0.5)):
        assert identity(by_time) not in (every_third, "")


# Files that start late


def test_a_prompt_before_a_file_that_starts_late_is_told_when_it_starts() -> None:
    position = FramePosition(None, 0.0)
    with VideoFrames(media_of(drawn(Film("mpegts", start=1.6))), prompted=[position]) as frames:
        assert frames.locate(position) is None
        assert "its times go from 1.6 s to 3.1 s" in frames.absence(position)


def test_a_range_of_a_file_that_starts_late_is_told_when_it_starts() -> None:
    data = drawn(Film("mpegts", start=1.6))
    with VideoFrames(media_of(data), FrameSelection(end_seconds=2.0)) as frames:
        assert frames.length_up_to(99) == 4
        assert frames.remarks() == ("start_seconds and end_seconds are times of the file, which starts at 1.6 s",)
    with pytest.raises(MediaError, match=r"no frame between start_seconds and end_seconds; the video starts at 1\.6 s"):
        VideoFrames(media_of(data), FrameSelection(end_seconds=1.0))
    with VideoFrames(media_of(data), FrameSelection(start_seconds=1.6)) as frames:
        assert frames.length_up_to(99) == 16
        assert frames.remarks() == ()
