"""Texts of shapes as masks, or as the box of which a network makes one."""

from __future__ import annotations

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.elsewhere.returned import SizeHW
from pipeline.errors import InputError
from pipeline.formats.label import mask_of_polygons, mask_of_runs
from pipeline.formats.shape_text import BOX, MASK, SEPARATOR

BoxShape = tuple[float, float, float, float]


def read_shape(text: str, size_hw: SizeHW, place: str) -> BoolArray | BoxShape:
    """The pixels `[H, W]` of all that a text shows, or the box by two corners if that is what it is.

    Raises `InputError` naming `place` for a shape that does not fit the frame, and for a box beside other shapes.
    """
    parts = text.split(SEPARATOR)
    try:
        if any(part.startswith(BOX) for part in parts):
            if len(parts) > 1:
                raise ValueError("a box beside another shape of the same object says no mask; leave one of them")
            return _box(text.removeprefix(BOX), size_hw)
        pixels_HW = np.zeros(size_hw, bool)
        rings = []
        for part in parts:
            if part.startswith(MASK):
                box, _, runs = part.removeprefix(MASK).partition(":")
                left, top, width, height = map(int, box.split(","))
                pixels_HW |= mask_of_runs(runs, (left, top, width, height), size_hw).decoded()
            else:
                rings.append([float(number) for point in part.split(";") for number in point.split(",")])
        if rings:
            pixels_HW |= mask_of_polygons(rings, size_hw).decoded()
    except ValueError as error:
        raise InputError(f"{place}: {error}; correct it and export again") from error
    return pixels_HW


def _box(text: str, size_hw: SizeHW) -> BoxShape:
    x0, y0, x1, y1 = map(float, text.split(","))
    height, width = size_hw
    x0, x1 = sorted((min(max(x0, 0.0), width), min(max(x1, 0.0), width)))
    y0, y1 = sorted((min(max(y0, 0.0), height), min(max(y1, 0.0), height)))
    if x1 <= x0 or y1 <= y0:
        raise ValueError("a box without a pixel of the frame")
    return x0, y0, x1, y1
