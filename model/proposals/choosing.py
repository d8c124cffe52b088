"""Which candidates become masks: those that stay what they are when the threshold moves, and lie whole in their crop.

Legend: M masks, H W pixels of a crop, h w those of low-resolution logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.pixels.cleanup import component_areas
from model.pixels.transforms import upsample_logits
from model.proposals.found import FoundMask
from model.proposals.grids import Crop
from model.proposals.options import Kept

# Masks made large at a time, in bytes of their logits.
_BYTES_AT_A_TIME = 64 << 20
# A mask that ends so near to the border of its crop is cut by it, and is left to another crop (`sam2`,
# `is_box_near_crop_edge`).
_NEAR_BORDER = 20

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Choice:
    """One mask at the size of its crop, bool `[H, W]`."""

    mask_HW: Tensor
    predicted_iou: float
    stability: float
    point_xy: Point


def choose(
    logits_Mhw: Tensor, ious_M: Tensor, points_xy: Sequence[Point], size_hw: tuple[int, int], kept: Kept
) -> Iterator[Choice]:
    """The masks that are stable, at the size of their crop; a few at a time, because they are large then."""
    at_a_time = max(1, _BYTES_AT_A_TIME // (4 * size_hw[0] * size_hw[1]))
    for start in range(0, len(logits_Mhw), at_a_time):
        logits = upsample_logits(logits_Mhw[start : start + at_a_time], size_hw)
        stabilities = stability_of(logits, kept.stability_offset)
        # A mask without any pixel has no stability, and no comparison with it holds.
        for index in (stabilities >= kept.min_stability).nonzero().flatten().tolist():
            yield Choice(
                logits[index] > 0, float(ious_M[start + index]), float(stabilities[index]), points_xy[start + index]
            )


def stability_of(logits_MHW: Tensor, offset: float) -> Tensor:
    """IoU of the masks at logits above plus and minus `offset`, float32 `[M]`; NaN where both are empty."""
    inner, outer = (_num_above(logits_MHW, level) for level in (offset, -offset))
    stability: Tensor = inner / outer
    return stability


def _num_above(logits_MHW: Tensor, level: float) -> Tensor:
    """How many logits of each mask are above a level, `[M]`."""
    if logits_MHW.device.type != "cpu":
        return (logits_MHW > level).sum(dim=(1, 2))
    # torch widens each bool to 64 bits before it adds them up. numpy counts bytes, and takes a tenth of the time.
    return torch.tensor([np.count_nonzero(logits_HW > level) for logits_HW in logits_MHW.numpy()])


def settle(choice: Choice, crop: Crop, image_hw: tuple[int, int], kept: Kept) -> list[FoundMask]:
    """The mask as one of the image, made tidy; none where its crop cuts it, or where it is too small or too large."""
    box = _box(choice.mask_HW)
    if box is None or _is_cut(box, crop, image_hw):
        return []
    inner = choice.mask_HW[box[1] : box[3], box[0] : box[2]]
    if kept.min_region_area > 0:
        inner = tidied(inner, kept.min_region_area)
        shrunk = _box(inner)
        if shrunk is None:
            return []
        inner = inner[shrunk[1] : shrunk[3], shrunk[0] : shrunk[2]]
        box = (box[0] + shrunk[0], box[1] + shrunk[1], box[0] + shrunk[2], box[1] + shrunk[3])
    inner_hw = inner.cpu().numpy().copy()
    area = int(np.count_nonzero(inner_hw))
    if area < kept.min_area or area > kept.max_area_share * image_hw[0] * image_hw[1]:
        return []
    at = (box[0] + crop.x0, box[1] + crop.y0, box[2] + crop.x0, box[3] + crop.y0)
    corners = (crop.x0, crop.y0, crop.x1, crop.y1)
    return [FoundMask(inner_hw, at, image_hw, choice.predicted_iou, choice.stability, choice.point_xy, corners)]


def tidied(mask_HW: Tensor, min_area: int) -> Tensor:
    """A mask with its parts and its holes of fewer than `min_area` pixels removed; bool `[H, W]`.

    A hole is closed by the mask: what reaches the border of the box of the mask is outside.
    """
    # Around the mask lies more background than a hole may have, so that what is outside never looks like one.
    around = math.ceil(math.sqrt(min_area) / 2) + 1
    whole = F.pad(mask_HW, (around,) * 4).unsqueeze(0)
    parts, holes = component_areas(whole), component_areas(~whole)
    tidy = ((parts >= min_area) | ((holes > 0) & (holes < min_area)))[0]
    return tidy[around:-around, around:-around]


def _box(mask_HW: Tensor) -> tuple[int, int, int, int] | None:
    """The pixels that a mask reaches, x1 and y1 outside; None for an empty one."""
    rows, columns = mask_HW.any(dim=1).nonzero().flatten(), mask_HW.any(dim=0).nonzero().flatten()
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _is_cut(box: tuple[int, int, int, int], crop: Crop, image_hw: tuple[int, int]) -> bool:
    """Whether a mask ends at a border of its crop that is none of the image."""
    x0, y0, x1, y1 = box
    outermost = (x0 + crop.x0, y0 + crop.y0, x1 - 1 + crop.x0, y1 - 1 + crop.y0)
    of_crop, of_image = (crop.x0, crop.y0, crop.x1, crop.y1), (0, 0, image_hw[1], image_hw[0])
    return any(
        abs(place - cut) <= _NEAR_BORDER < abs(place - border)
        for place, cut, border in zip(outermost, of_crop, of_image, strict=True)
    )
