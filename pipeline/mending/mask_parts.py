"""Connected parts of a mask, in its low-resolution logits. Pixels that touch at a corner are connected.

Legend: h, w low-resolution logits; H, W pixels of the video.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import BoolArray

_OUTSIDE_LOGIT = -10.0
_MOST_OF_IT = 2 / 3


def without_part(logits_1hw: Tensor, point_xy: tuple[float, float], size_hw: tuple[int, int]) -> Tensor:
    """Logits `[1, h, w]` of the mask without the part that a point, in pixels of the video, lies on.

    They stay as they are where the point lies on no part, and where it lies on what is most of the mask: then the
    reviewer means its edge.
    """
    _, height, width = logits_1hw.shape
    x, y = point_xy
    place = (
        min(max(int(y / size_hw[0] * height), 0), height - 1),
        min(max(int(x / size_hw[1] * width), 0), width - 1),
    )
    mask_hw = (logits_1hw[0] > 0).cpu().numpy()
    part_hw = part_at(mask_hw, place)
    if not part_hw.any() or part_hw.sum() > _MOST_OF_IT * mask_hw.sum():
        return logits_1hw
    # One cell more, because enlarged logits reach beyond the cells that are above 0.
    wider = torch.from_numpy(_grown(part_hw) & ~(mask_hw & ~part_hw)).to(logits_1hw.device)
    return torch.where(wider[None], logits_1hw.clamp(max=_OUTSIDE_LOGIT), logits_1hw)


def part_at(mask_hw: BoolArray, place: tuple[int, int]) -> BoolArray:
    """The connected part of a mask that a row and column lie on; empty where the mask is not."""
    part = np.zeros_like(mask_hw)
    part[place] = mask_hw[place]
    while True:
        wider = _grown(part) & mask_hw
        if np.array_equal(wider, part):
            return part
        part = wider


def _grown(part_hw: BoolArray) -> BoolArray:
    """A mask and all its neighbors."""
    rows = part_hw.copy()
    rows[1:] |= part_hw[:-1]
    rows[:-1] |= part_hw[1:]
    grown = rows.copy()
    grown[:, 1:] |= rows[:, :-1]
    grown[:, :-1] |= rows[:, 1:]
    return grown
