"""What a prompt may say, and what is refused with which words."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from model.prompts import BoxPrompt, MaskPrompt, PointPrompt, click_sequence, errors_naming

SIZE_HW = (40, 60)


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        ((), (), "at least one point"),
        (((1.0, 2.0),), (), "1 points need as many labels, got 0"),
        (((1.0, 2.0),), (2,), "labels: .*got 2"),
        (((1.0, 2.0),), (-1,), "labels: .*got -1"),
        (((math.nan, 2.0),), (1,), r"points: expected finite x and y, got \(nan, 2.0\)"),
        (((1.0, math.inf),), (1,), "points: .*inf"),
        (((1.0, 2.0, 3.0),), (1,), "points: "),
    ],
)
def test_bad_points_are_refused(points: tuple[tuple[float, float], ...], labels: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointPrompt(points, labels)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0, 0, math.nan, 5), "box: expected four finite numbers"),
        ((0, 0, 5), "box: expected four finite numbers"),
        ((5, 0, 5, 9), "box: expected x0 < x1 and y0 < y1"),
        ((5, 9, 8, 3), "box: expected x0 < x1 and y0 < y1"),
    ],
)
def test_bad_boxes_are_refused(box: tuple[float, float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxPrompt(box)


def test_bad_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        MaskPrompt(np.zeros(SIZE_HW, np.bool_))
    with pytest.raises(ValueError, match=r"expected a bool array \[H, W\], got uint8"):
        MaskPrompt(np.ones(SIZE_HW, np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"mask: is \[40, 60\] \(height, width\), the video \[60, 40\]"):
        MaskPrompt(np.ones(SIZE_HW, np.bool_)).fit((60, 40))


def test_points_outside_of_the_frame_are_refused_and_those_on_its_border_are_not() -> None:
    assert PointPrompt(((0, 0), (60, 40)), (1, 0)).fit(SIZE_HW).labels == (1, 0)
    for point in ((60.5, 1), (1, 40.5), (-0.5, 1), (1, -0.5)):
        with pytest.raises(ValueError, match=r"lies outside of the frame \(60 wide, 40 high\)"):
            PointPrompt((point,), (1,)).fit(SIZE_HW)
        with pytest.raises(ValueError, match="lies outside of the frame"):
            BoxPrompt((1, 1, 9, 9), (point,), (1,)).fit(SIZE_HW)


def test_a_box_a_little_outside_is_clamped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fitted = BoxPrompt((-2, 5, 20, 42), ((3, 3),), (1,)).fit(SIZE_HW)
    assert fitted == BoxPrompt((0, 5, 20, 40), ((3, 3),), (1,))
    assert "sticks out of the frame" in caplog.text


def test_a_warning_names_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    with errors_naming("object 4, frame 0"):
        BoxPrompt((-2, 5, 20, 30)).fit(SIZE_HW)
    BoxPrompt((-2, 5, 20, 30)).fit(SIZE_HW)
    assert [message.partition("box")[0] for message in caplog.messages] == [
        "object 4, frame 0: ",
        "",
    ]


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((-20, 5, 20, 30), r"sticks out of the frame \(60 wide, 40 high\) by 50% of its width; up to 25% is cut off"),
        ((10, 35, 20, 60), r"sticks out of the frame \(60 wide, 40 high\) by 80% of its height"),
        ((70, 5, 90, 30), "lies outside of the frame"),
        ((5, -30, 9, 0), "lies outside of the frame"),
    ],
)
def test_a_box_that_sticks_out_farther_is_refused(box: tuple[float, float, float, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        BoxPrompt(box).fit(SIZE_HW)


def test_a_box_is_two_points_before_the_clicks() -> None:
    points, labels = click_sequence(BoxPrompt((1, 2, 3, 4), ((5, 6),), (0,)))
    assert points == [(1, 2), (3, 4), (5, 6)]
    assert labels == [2, 3, 0]
