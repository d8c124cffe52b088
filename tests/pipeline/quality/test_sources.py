"""Which frames of a video a job has labeled, as evaluations and comparisons read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.quality.masks import TrackMasks, VideoMasks
from pipeline.quality.sources import OutputMasks, with_all_frames
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


@pytest.mark.parametrize(
    ("stride", "prompts", "num_decoded"),
    [(2, [5], 12), (6, [8], 60), (6, [8, 13], 57), (6, [12, 31], 60), (1, [5], 12), (3, [4, 5, 6], 20), (5, [7], 9)],
)
def test_labeled_frames_before_a_prompt_that_lies_between_two_steps_are_known(
    stride: int, prompts: list[int], num_decoded: int
) -> None:
    """They counted as frames that were not labeled, so that an object which was prompted late had missed none."""
    labeled = np.union1d(np.arange(0, num_decoded, stride), prompts)
    own_T = labeled[labeled >= prompts[0]]
    track = TrackMasks("1", None, own_T, own_T / 12, pa.nulls(len(own_T), pa.string()), np.isin(own_T, prompts))
    video = VideoMasks("v", (4, 4), own_T, own_T / 12, {"1": track})
    found = with_all_frames(video, len(labeled), num_decoded)
    is_certain = len(own_T) > len(prompts)  # prompts alone tell no step
    assert found.frames_T.tolist() == (labeled if is_certain else own_T).tolist()
    assert np.isnan(found.pts_T).tolist() == (~np.isin(found.frames_T, own_T)).tolist()
