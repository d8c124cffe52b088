"""Frames nearest to the ticks of a rate, and the clock that the ticks are on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.video.grid import RunningClock, TickGrid


def on_grid(times: Sequence[float | None], fps: float, step: float = 0.1) -> list[int]:
    grid = TickGrid(fps, step)
    told = [grid.next_frame(time) for time in times]
    assert told[:1] == [None]
    return [number for number, taken in enumerate([*told[1:], grid.end()]) if taken]


def nearest(times: Sequence[float], fps: float) -> list[int]:
    """By search: for each tick up to the last frame the earliest of the frames that are nearest to it."""
    ticks = range(int(times[-1] * fps + 0.499) + 1)
    return sorted({min(range(len(times)), key=lambda n: round(abs(times[n] - tick / fps), 6)) for tick in ticks})


@pytest.mark.parametrize("fps", [1.0, 2.5, 3.0, 4.0, 7.0, 9.99, 10.0, 15.0])
@pytest.mark.parametrize(
    "times",
    [
        [step / 10 for step in range(20)],
        [round(step / 30, 3) for step in range(40)],
        [0.0, 0.1, 0.2, 0.3, 0.4, 1.0, 1.1, 1.2, 2.5, 2.6],
    ],
    ids=["even", "rounded", "gaps"],
)
def test_the_frames_nearest_to_the_ticks_are_taken(times: list[float], fps: float) -> None:
    step = times[1] - times[0]
    found = on_grid(times, fps, step)
    expected = nearest(times, fps)
    assert [frame for frame in found if frame < len(times) - 1] == [f for f in expected if f < len(times) - 1]


def test_a_rate_above_that_of_the_file_takes_each_frame_once() -> None:
    assert on_grid([0.0, 0.1, 0.2], 1000.0) == [0, 1, 2]


def test_a_video_of_one_frame_has_it() -> None:
    assert on_grid([5.0], 1.0) == [0]
    assert on_grid([None], 1.0) == [0]
    assert TickGrid(1.0).end() is None


def test_the_clock_goes_on_where_the_time_steps_back_or_is_not_known() -> None:
    clock = RunningClock(0.1)
    assert [clock.advance(time) for time in (7.0, 7.1, 7.2)] == pytest.approx([0.0, 0.1, 0.2])
    assert [clock.advance(time) for time in (0.0, 0.1)] == pytest.approx([0.3, 0.4])
    assert [clock.advance(time) for time in (None, None)] == pytest.approx([0.5, 0.6])
    assert [clock.advance(time) for time in (50.0, 50.1, 50.1, 52.0)] == pytest.approx([0.7, 0.8, 0.8, 2.7])
