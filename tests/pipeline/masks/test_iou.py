from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.masks.iou import mean_iou, score_masks


def stack(*columns: int) -> np.ndarray:
    """One object, one frame per number: a mask of 4 x 10 pixels whose first columns are set."""
    masks = np.zeros((len(columns), 1, 4, 10), np.bool_)
    for frame_index, width in enumerate(columns):
        masks[frame_index, 0, :, :width] = True
    return masks


def test_iou_counts_pixels() -> None:
    scores = score_masks(stack(5, 10), stack(10, 5))
    assert scores.iou_TB[:, 0].tolist() == [0.5, 0.5]


def test_frames_in_which_the_object_does_not_show_do_not_count_toward_the_mean() -> None:
    scores = score_masks(stack(5, 0, 3), stack(10, 0, 0))
    assert scores.object_mean_iou(0) == 0.5
    assert mean_iou([scores]) == 0.5
    assert scores.agrees_TB[:, 0].tolist() == [True, True, False]


def test_a_lost_object_counts_as_zero() -> None:
    assert mean_iou([score_masks(stack(10, 0), stack(10, 10))]) == 0.5


def test_only_labeled_masks_count() -> None:
    labeled = np.array([[True], [False]])
    assert mean_iou([score_masks(stack(10, 0), stack(10, 10), labeled)]) == 1.0


def test_the_mean_of_several_videos_weighs_masks_not_videos() -> None:
    long, short = score_masks(stack(10, 10, 10), stack(10, 10, 10)), score_masks(stack(0), stack(10))
    assert mean_iou([long, short]) == 0.75


def test_without_a_visible_mask_there_is_no_mean() -> None:
    scores = score_masks(stack(3), stack(0))
    assert math.isnan(mean_iou([scores]))
    assert math.isnan(scores.object_mean_iou(0))


def test_stacks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[1, 1, 4, 10\]"):
        score_masks(stack(3), stack(3, 3))
