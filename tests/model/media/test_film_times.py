"""Which of the times of a frame is believed, and what stands for a time that the file does not say."""

from __future__ import annotations

from model.media.film_times import PresentationClock

Times = list[int | None]


def told(pts: Times, dts: Times, step: int = 2) -> Times:
    clock = PresentationClock(step)
    return [clock.time_of(own, packet, None) for own, packet in zip(pts, dts, strict=True)]


def test_a_frames_own_time_is_believed_while_it_rises() -> None:
    assert told([0, 2, 4], [5, 6, 7]) == [0, 2, 4]
    assert told([0, 2, 4], [None, None, None]) == [0, 2, 4]


def test_without_times_of_its_own_a_frame_has_that_of_its_packet_and_the_last_ones_follow_on() -> None:
    assert told([None] * 4, [4, 6, None, None]) == [4, 6, 8, 10]


def test_the_series_that_fails_to_rise_less_often_is_believed() -> None:
    assert told([0, 9, 3, 1, 2], [0, 2, 4, 6, 8]) == [0, 9, 4, 6, 8]
    assert told([0, 2, 4, 6], [0, 2, 1, 0]) == [0, 2, 4, 6]


def test_before_the_first_known_time_there_is_none() -> None:
    assert told([None, None, 8, 10], [None, None, 8, 10]) == [None, None, 8, 10]


def test_a_frame_that_says_how_long_it_lasts_is_followed_after_that_time() -> None:
    clock = PresentationClock(2)
    assert [clock.time_of(0, 0, 7), clock.time_of(None, None, 0), clock.time_of(None, None, None)] == [0, 7, 9]
