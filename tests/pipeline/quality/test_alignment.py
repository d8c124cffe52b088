"""Which labeled frame an annotated one is, by its time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.arrays import Int64Array
from pipeline.quality.alignment import align_frames
from pipeline.quality.masks import VideoMasks


def video(times: Sequence[float]) -> VideoMasks:
    return VideoMasks("v", (4, 4), np.arange(len(times)), np.array(times), {})


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
