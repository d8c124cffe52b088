"""Which frames get a file beside those that are labeled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from pipeline.formats.frame_numbers import frames_with_unlabeled
from pipeline.formats.source import ExportVideo


@pytest.mark.parametrize(
    ("labeled", "num_decoded", "expected"),
    [
        ([0, 1, 2], 3, [0, 1, 2]),
        ([3, 4, 5], 6, [0, 1, 2, 3, 4, 5]),
        ([8, 12, 16], 18, [0, 4, 8, 12, 16]),
        # Backward from a prompt on frame 5 with a stride of 4: the frame of a prompt is labeled between others.
        ([0, 4, 5], 14, [0, 4, 5, 8, 12]),
        # Forward from a prompt on frame 9.
        ([9, 12, 16, 20], 21, [0, 4, 8, 9, 12, 16, 20]),
        # By frames.fps there is no stride, and nobody knows which others it would have labeled.
        ([7, 9, 12, 14, 17], 20, [7, 9, 12, 14, 17]),
        ([2], 4, [0, 1, 2, 3]),
    ],
)
def test_frames_before_and_behind_those_that_are_labeled_follow_the_stride(
    labeled: list[int], num_decoded: int, expected: list[int]
) -> None:
    video = SimpleNamespace(frame_indexes=np.array(labeled), row={"num_frames_decoded": num_decoded})
    assert frames_with_unlabeled(cast(ExportVideo, video)) == expected
