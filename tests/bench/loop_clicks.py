"""An annotator who knows the truth mends the wrong mask of a frame: a box, then a click if that is not enough.

A box first, because the page of reviews says that: it begins without the memory and the mask that are wrong. It is
drawn by its two corners, so that it takes as long as two clicks. The click goes to the center of the largest error,
which is the wrong pixel that is farthest from the outline of its error (Sofiiuk et al., 2021; `sam2`'s evaluation takes
it too). Both take as long as the three clicks that an edit has in the paper of SAM 2.

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

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Clicks:
    """How much was clicked on one frame, and the best mask that it gave, with its IoU."""

    num_clicks: int
    mask_HW: BoolArray
    iou: float


class Decoder(Protocol):
    """What makes masks `[H, W]` of what is said."""

    def box(self, box_xyxy: Box) -> BoolArray: ...

    def box_and_click(self, box_xyxy: Box, point_xy: Point, label: int) -> BoolArray: ...


def mend(true_HW: BoolArray, decoder: Decoder) -> Clicks:
    """Draw a box, and click if the mask is not good enough then; the better mask is kept. The truth is not empty."""
    box_xyxy = box_of(true_HW)
    boxed_HW = decoder.box(box_xyxy)
    if (found := iou(boxed_HW, true_HW)) >= GOOD_ENOUGH:
        return Clicks(CLICKS_PER_BOX, boxed_HW, found)
    clicked_HW = decoder.box_and_click(box_xyxy, *next_click(boxed_HW, true_HW))
    best_HW = max((boxed_HW, clicked_HW), key=lambda mask_HW: iou(mask_HW, true_HW))
    return Clicks(CLICKS_PER_BOX + 1, best_HW, iou(best_HW, true_HW))


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
