"""One mask that was found on an image, kept as what lies within its box."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FoundMask:
    """A mask that nobody asked for. `score` (predicted IoU times stability) orders masks of one image.

    `inner_hw` is bool `[h, w]`, the mask within `box_xyxy` (whole pixels, `x1` and `y1` outside); `point_xy` is the
    click that found it, in pixels of the image; `crop_xyxy` the part of the image that was looked at.
    """

    inner_hw: BoolArray
    box_xyxy: tuple[int, int, int, int]
    size_hw: tuple[int, int]
    predicted_iou: float
    stability: float
    point_xy: tuple[float, float]
    crop_xyxy: tuple[int, int, int, int]

    @cached_property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.inner_hw))

    @property
    def score(self) -> float:
        """Predicted IoU times stability."""
        return self.predicted_iou * self.stability

    def mask(self) -> BoolArray:
        """The mask at the size of the image, bool `[H, W]`."""
        whole = np.zeros(self.size_hw, np.bool_)
        x0, y0, x1, y1 = self.box_xyxy
        whole[y0:y1, x0:x1] = self.inner_hw
        return whole

    def common(self, other: FoundMask) -> int:
        """Pixels that two masks of one image share."""
        x0, y0 = max(self.box_xyxy[0], other.box_xyxy[0]), max(self.box_xyxy[1], other.box_xyxy[1])
        x1, y1 = min(self.box_xyxy[2], other.box_xyxy[2]), min(self.box_xyxy[3], other.box_xyxy[3])
        if x1 <= x0 or y1 <= y0:
            return 0
        return int(np.count_nonzero(self._part(x0, y0, x1, y1) & other._part(x0, y0, x1, y1)))

    def _part(self, x0: int, y0: int, x1: int, y1: int) -> BoolArray:
        left, top = self.box_xyxy[:2]
        return self.inner_hw[y0 - top : y1 - top, x0 - left : x1 - left]
