"""Masks and ids drawn over frames, each object in a colour that depends on its id alone.

Legend: H, W pixels; frames are uint8 RGB, `[H, W, 3]`; masks are bool, `[H, W]`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import BoolArray, UInt8Array

Colour = tuple[int, int, int]

# Easy to tell apart, by colour-blind readers too; further ids walk around the colour circle by the golden ratio.
_FIRST_COLOURS: tuple[Colour, ...] = (
    (0, 158, 255),
    (255, 112, 0),
    (0, 200, 120),
    (236, 64, 160),
    (250, 210, 0),
    (120, 94, 240),
)


def colour_of(object_id: int) -> Colour:
    """The colour of an object, the same in every frame, video and picture."""
    if 1 <= object_id <= len(_FIRST_COLOURS):
        return _FIRST_COLOURS[object_id - 1]
    hue = object_id * 0.618033988749895 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_masks(pixels_HW3: UInt8Array, masks: Mapping[int, BoolArray], *, strength: float = 0.5) -> UInt8Array:
    """A copy of the frame with each object's mask tinted, outlined and numbered. Empty masks leave no trace.

    `strength` is the share of the tint (0 = outlines only). Raises `ValueError` for a mask of another size.
    """
    canvas = pixels_HW3.astype(np.float32)
    for object_id, mask_HW in masks.items():
        if mask_HW.shape != pixels_HW3.shape[:2]:
            raise ValueError(
                f"object {object_id}: the mask is {list(mask_HW.shape)}, the frame {list(pixels_HW3.shape[:2])} pixels"
            )
        colour = np.array(colour_of(object_id), np.float32)
        canvas[mask_HW] += strength * (colour - canvas[mask_HW])
        canvas[outline(mask_HW, thickness_px=2)] = colour
    image = Image.fromarray(canvas.round().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(11, pixels_HW3.shape[0] // 12))
    for object_id, mask_HW in masks.items():
        if mask_HW.any():
            _label(pen, font, str(object_id), inner_point(mask_HW), colour_of(object_id))
    return np.asarray(image)


def outline(mask_HW: BoolArray, *, thickness_px: int = 1) -> BoolArray:
    """The pixels of the mask that lie within `thickness_px` of its border; the edge of the frame is no border."""
    inside = mask_HW
    for _ in range(thickness_px):
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim: BoolArray = mask_HW & ~inside
    return rim


def inner_point(mask_HW: BoolArray) -> tuple[float, float]:
    """A point (x, y) of a mask that is not empty: the pixel of the mask nearest to its centre of mass."""
    rows, columns = np.nonzero(mask_HW)
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


def _label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    text: str,
    centre_xy: tuple[float, float],
    colour: Colour,
) -> None:
    left, top, right, bottom = pen.textbbox(centre_xy, text, font=font, anchor="mm")
    pen.rounded_rectangle((left - 4, top - 3, right + 4, bottom + 3), radius=4, fill=(20, 20, 20), outline=colour)
    pen.text(centre_xy, text, fill=(255, 255, 255), font=font, anchor="mm")
