"""A box that is small in its frame is looked at closely: the network sees what lies around it, enlarged.

The network sees each frame at one size, so that a small object has few cells of its maps. To show it the part of the
frame around the object instead is the "zoom-in" of Sofiiuk et al. (f-BRS, CVPR 2020), who found it to help most where
objects are small. It can be done where neither memory nor mask comes in: both belong to the whole frame.

Legend: H, W pixels of the video as displayed, h, w those of the region, h' w' low-resolution logits of the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from model import ArrayFrames, BoxPrompt, FrameResult, Sam2, VideoSession
from pipeline.arrays import BoolArray, UInt8Array

Point = tuple[float, float]

_SIDES_OF_THE_BOX = 3
_MOST_ENLARGED = 4  # times; what is enlarged more is too blurred for the network
_OBJECT = 1


class Region(NamedTuple):
    """A part of a frame, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def holds(self, points_xy: Sequence[Point]) -> bool:
        """Whether all points lie in it."""
        right, bottom = self.left + self.width, self.top + self.height
        return all(self.left <= x < right and self.top <= y < bottom for x, y in points_xy)

    def point(self, point_xy: Point) -> Point:
        """A point of the frame, in pixels of the region."""
        return point_xy[0] - self.left, point_xy[1] - self.top


def region_around(
    box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int], image_size: int
) -> Region | None:
    """The square around a box that is three times as long as its longer side, as far as the frame has room for it.

    It is moved into the frame, and has at least a quarter of the length of the network's input, `image_size`. None
    where it would be as long as the frame's longer side: then the network sees the frame.
    """
    x0, y0, x1, y1 = box_xyxy
    height, width = size_hw
    side = max(image_size // _MOST_ENLARGED, round(_SIDES_OF_THE_BOX * max(x1 - x0, y1 - y0)))
    if side >= max(size_hw):
        return None
    w, h = min(side, width), min(side, height)
    left, top = (x0 + x1 - w) / 2, (y0 + y1 - h) / 2
    return Region(round(min(max(left, 0), width - w)), round(min(max(top, 0), height - h)), w, h)


def zoomed_region(prompt: BoxPrompt, size_hw: tuple[int, int], image_size: int) -> Region | None:
    """The region in which a prompt is looked at closely; None where its box is not small, or a click lies beyond."""
    region = region_around(prompt.box_xyxy, size_hw, image_size)
    return None if region is None or not region.holds(prompt.points_xy) else region


class Zoom:
    """A region of a frame, uint8 `[H, W, 3]`, as a picture of its own that the network has encoded once."""

    def __init__(self, network: Sam2, pixels_HW3: UInt8Array, region: Region) -> None:
        self.region = region
        self._size_hw = pixels_HW3.shape[:2]
        rows, columns = slice(region.top, region.top + region.height), slice(region.left, region.left + region.width)
        picture_1hw3 = np.ascontiguousarray(pixels_HW3[None, rows, columns])
        self._session = VideoSession(network, ArrayFrames(picture_1hw3), num_cached_frames=1)

    def answer(self, prompt: BoxPrompt, prior_1hw: Tensor | None) -> FrameResult:
        """What a prompt in pixels of the frame gives on the region, with the logits `[1, h', w']` of a mask before."""
        x0, y0, x1, y1 = prompt.box_xyxy
        box_xyxy = (*self.region.point((x0, y0)), *self.region.point((x1, y1)))
        points_xy = tuple(self.region.point(one) for one in prompt.points_xy)
        here = replace(prompt, box_xyxy=box_xyxy, points_xy=points_xy)
        return self._session.correct(_OBJECT, 0, here, prior_1hw, heading=None)

    def pasted(self, mask_hw: BoolArray) -> BoolArray:
        """A mask of the region as one of the frame, `[H, W]`."""
        mask_HW: BoolArray = np.zeros(self._size_hw, np.bool_)
        left, top, width, height = self.region
        mask_HW[top : top + height, left : left + width] = mask_hw
        return mask_HW
