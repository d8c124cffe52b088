"""Which frames of a video a job has labeled, as evaluations and comparisons read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.quality.sources import OutputMasks
from tests.support.drawn_job import DrawnVideo, write_job


@pytest.mark.parametrize(
    ("stride", "num_frames", "first"),
    [(6, 5, 4), (6, 5, 2), (6, 5, 0), (1, 5, 4), (1, 1, 0), (2, 9, 8), (24, 3, 2), (24, 3, 1), (5, 2, 1), (5, 2, 0)],
)
def test_labeled_frames_before_the_first_object_are_known(
    stride: int, num_frames: int, first: int, tmp_path: Path
) -> None:
    """Where all objects began on the last frame, its number was taken for the step, and others for labeled frames."""
    mask = np.ones((20, 20), bool)
    masks = {(1, place): mask for place in range(first, num_frames)}
    video = DrawnVideo("v", {1: None}, num_frames, stride=stride, masks=masks)
    output = OutputMasks("output", write_job(tmp_path, (video,), broken=())[0])
    assert output.read(["v"])["v"].frames_T.tolist() == list(range(0, num_frames * stride, stride))
