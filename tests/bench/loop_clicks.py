"""An annotator who knows the truth: a click at the center of the largest error, then a box if that is not enough.

The center of the largest error is the wrong pixel that is farthest from the outline of its error (Sofiiuk et al., 2021;
`sam2`'s evaluation takes it too). A box is drawn by its two corners, so that it takes as long as two clicks.

Legend: H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from pipeline.arrays import BoolArray

GOOD_ENOUGH = 0.9
CLICKS_PER_BOX = 2
_LEAST = 0.5

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Clicks:
    """What was clicked on one frame, and the best mask that it gave. If none is better, `mask_HW` is what was there."""

    num_clicks: int
    mask_HW: BoolArray
    iou_before: float
    iou: float

    @property
    def is_saved(self) -> bool:
        """Whether the annotator saves the mask: it is better than the one that was there, and mostly right."""
        return self.iou > max(self.iou_before, _LEAST)


class Decoder(Protocol):
    """What makes masks `[H, W]` of what is said."""

    def click(self, point_xy: Point, label: int) -> BoolArray: ...

    def box(self, box_xyxy: Box) -> BoolArray: ...


def click(before_HW: BoolArray, true_HW: BoolArray, decoder: Decoder, is_anew: bool) -> Clicks:
    """Click, and draw a box around the object if the mask is not good enough then; the best mask is kept.

    `is_anew`: the click does not refine the mask, so that it is on the object.
    """
    iou_before = iou(before_HW, true_HW)
    if iou_before >= GOOD_ENOUGH:
        return Clicks(0, before_HW, iou_before, iou_before)
    clicked_HW = decoder.click(*next_click(np.zeros_like(before_HW) if is_anew else before_HW, true_HW))
    masks, num_clicks = [before_HW, clicked_HW], 1
    if iou(clicked_HW, true_HW) < GOOD_ENOUGH:
        masks.append(decoder.box(box_of(true_HW)))
        num_clicks += CLICKS_PER_BOX
    best_HW = max(masks, key=lambda mask_HW: iou(mask_HW, true_HW))
    return Clicks(num_clicks, best_HW, iou_before, iou(best_HW, true_HW))


def box_of(mask_HW: BoolArray) -> Box:
    """The box around a mask, which must not be empty."""
    rows, columns = np.nonzero(mask_HW)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def next_click(mask_HW: BoolArray, true_HW: BoolArray) -> tuple[tuple[float, float], int]:
    """The center (x, y) of the largest error, and 1 where the mask lacks it, 0 where it is too much."""
    # A border of zeros, because the frame's edge is an outline too.
    lacks, too_much = (
        ndimage.distance_transform_edt(np.pad(error_HW, 1))[1:-1, 1:-1]
        for error_HW in (true_HW & ~mask_HW, mask_HW & ~true_HW)
    )
    label = int(lacks.max() >= too_much.max())
    depth = lacks if label else too_much
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(column) + 0.5, float(row) + 0.5), label


def iou(mask_HW: BoolArray, true_HW: BoolArray) -> float:
    """Intersection over union; 1 where both are empty."""
    either = int((mask_HW | true_HW).sum())
    return 1.0 if not either else float((mask_HW & true_HW).sum() / either)
