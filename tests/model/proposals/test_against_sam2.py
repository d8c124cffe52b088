"""`segment_everything` against `SAM2AutomaticMaskGenerator` of `sam2`, with equal weights and equal rules.

Images are as large as the model's input, because `sam2` resizes them in another way. Duplicates stay, because all masks
of random weights have the same box; `test_everything.py` compares what is a duplicate with `torchvision`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import Everything, FoundMask, segment_everything
from model.proposals.options import Duplicates, Grids, Kept
from pipeline.arrays import UInt8Array
from pipeline.demo.clips import draw
from pipeline.demo.scenes import demo_scenes
from tests.reference.sam2_everything import TheirMask, everything_by_sam2
from tests.reference.trio import ours_random
from tests.reference.variants import ModelSpec

pytestmark = pytest.mark.slow

SIZE = 256
MODEL = ModelSpec("tiny", "2.1", SIZE)
OFFSET = 0.05  # masks of random weights are stable for small changes of the threshold alone


def image() -> UInt8Array:
    scene = demo_scenes((SIZE, SIZE), num_frames=1)[0]
    return draw(scene).frames_THW3[0]


def both(kept: Kept) -> tuple[list[FoundMask], list[TheirMask]]:
    theirs, _ = everything_by_sam2(
        MODEL,
        image(),
        {
            "points_per_side": 6,
            "pred_iou_thresh": kept.min_predicted_iou,
            "stability_score_thresh": kept.min_stability,
            "stability_score_offset": kept.stability_offset,
            "box_nms_thresh": 1.0,
        },
    )
    options = Everything(Grids((6,)), kept, Duplicates("boxes", max_iou=1.0))
    return segment_everything(ours_random(MODEL, torch.float32), image(), options), theirs


def matched(mask: FoundMask, theirs: list[TheirMask]) -> TheirMask:
    """Their mask of the same click and candidate."""
    of_click = [one for one in theirs if one.point_xy == pytest.approx(mask.point_xy)]
    return min(of_click, key=lambda one: abs(one.predicted_iou - mask.predicted_iou))


@pytest.mark.parametrize(("min_iou", "min_stability"), [(0.0, 0.0), (0.57, 0.9)])
def test_every_mask_is_that_of_the_generator(min_iou: float, min_stability: float) -> None:
    ours, theirs = both(Kept(min_iou, min_stability, OFFSET))
    assert 0 < len(ours) == len(theirs) <= 3 * 6**2
    assert (len(ours) == 3 * 6**2) == (min_iou == 0)
    for mask in ours:
        same = matched(mask, theirs)
        assert mask.predicted_iou == pytest.approx(same.predicted_iou, abs=1e-4)
        assert mask.stability == pytest.approx(same.stability, abs=1e-3)
        # Rounding may move single pixels whose logit is 0.
        assert np.count_nonzero(mask.mask() ^ same.mask_HW) <= 1e-3 * np.count_nonzero(same.mask_HW)
