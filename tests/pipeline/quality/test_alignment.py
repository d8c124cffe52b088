"""Which labeled frame an annotated one is, by its time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.arrays import Int64Array
from pipeline.quality.alignment import align_frames
from pipeline.quality.masks import VideoMasks


def video(times: Sequence[float], step: int = 1) -> VideoMasks:
    """A video of which each `step`-th frame has these times."""
    return VideoMasks("v", (4, 4), step * np.arange(len(times)), np.array(times), {})


@pytest.mark.parametrize(
    ("labeled", "paired"),
    [
        ([0.0, 0.04, 0.08, 0.12, 0.16, 0.2], [0, 3, 5]),
        ([0.0, 0.04, 0.08, 0.08, 0.12, 0.2], [0, 4, 5]),  # two frames of one time
        ([0.0, 0.04, 0.12, 0.08, 0.16, 0.2], [0, 2, 5]),  # a time that falls
        ([0.0, np.nan, 0.08, 0.12, 0.16, 0.2], [0, 3, 5]),
    ],
)
def test_an_annotated_frame_is_the_nearest_within_half_a_frame(labeled: list[float], paired: list[int]) -> None:
    """Half of the smallest step was no time at all where two frames have one time, and nothing was scored."""
    found = align_frames(video(labeled), video([0.001, 0.121, 0.199]), "time", "truth")
    assert (found.predicted_T.tolist(), found.true_T.tolist(), found.num_unpaired) == (paired, [0, 1, 2], 0)


def test_a_frame_further_off_than_half_a_frame_is_none() -> None:
    labeled: Int64Array = align_frames(video([0.0, 3.0]), video([1.4, 4.6]), "time", "truth").predicted_T
    assert labeled.tolist() == [0]


def test_of_several_annotated_frames_the_nearest_one_is_the_labeled_frame() -> None:
    """The first of them was, so that a mask was scored against the truth of the frame before."""
    found = align_frames(video([0.0, 0.1, 0.2]), video([0.0, 0.06, 0.1, 0.14, 0.19, 0.22]), "time", "truth")
    assert (found.predicted_T.tolist(), found.true_T.tolist(), found.num_unpaired) == ([0, 1, 2], [0, 2, 4], 3)


def test_with_a_stride_half_a_frame_is_one_of_the_film_and_not_half_the_stride() -> None:
    film = [frame / 30 for frame in range(10)]
    labeled = video(film[::3], step=3)
    found = align_frames(labeled, video(film), "time", "truth")
    assert (found.predicted_T.tolist(), found.true_T.tolist(), found.num_unpaired) == ([0, 3, 6, 9], [0, 3, 6, 9], 6)
    others = align_frames(labeled, video(film[1::3]), "time", "truth")
    assert (others.predicted_T.tolist(), others.num_unpaired) == ([], 3), "none of these frames was labeled"
