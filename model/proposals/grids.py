"""Where clicks are laid: crops of an image, and the grid on each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.proposals.options import Grids


@dataclass(frozen=True)
class Crop:
    """A part of the image, in pixels, with the number of clicks on each of its sides."""

    x0: int
    y0: int
    x1: int
    y1: int
    points_per_side: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Its height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def area(self) -> int:
        """Its pixels."""
        return (self.y1 - self.y0) * (self.x1 - self.x0)


def crops_of(size_hw: tuple[int, int], grids: Grids) -> list[Crop]:
    """The image, then the crops of each further layer, column by column, as `sam2` cuts them.

    Of an image of a few pixels some crops have none, and are left out.
    """
    height, width = size_hw
    crops = [Crop(0, 0, width, height, grids.points_per_side[0])]
    for layer, points in enumerate(grids.points_per_side[1:], start=1):
        count = 2**layer
        overlap = int(grids.overlap * min(size_hw) * (2 / count))
        crop_h, crop_w = (math.ceil((overlap * (count - 1) + side) / count) for side in size_hw)
        xs = [(crop_w - overlap) * index for index in range(count)]
        ys = [(crop_h - overlap) * index for index in range(count)]
        crops += [Crop(x, y, min(x + crop_w, width), min(y + crop_h, height), points) for x in xs for y in ys]
    return [crop for crop in crops if min(crop.size_hw) > 0]


def grid(points_per_side: int) -> Tensor:
    """Centers of n² cells, row by row, as shares of width and height: float64 `[n², 2]`, x first."""
    offset = 1 / (2 * points_per_side)
    places = torch.linspace(offset, 1 - offset, points_per_side, dtype=torch.float64)
    return torch.stack((places.repeat(points_per_side), places.repeat_interleave(points_per_side)), dim=1)
