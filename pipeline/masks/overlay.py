"""Masks and ids drawn over frames. The color of an object depends on its id alone.

Legend: H, W pixels; frames are uint8 RGB, `[H, W, 3]`; masks are bool, `[H, W]`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import BoolArray, FloatArray, UInt8Array

Color = tuple[int, int, int]

# Easy to tell apart, also for color-blind readers. Further ids step around the color circle by the golden ratio.
_FIRST_COLORS: tuple[Color, ...] = (
    (0, 158, 255),
    (255, 112, 0),
    (0, 200, 120),
    (236, 64, 160),
    (250, 210, 0),
    (120, 94, 240),
)


def color_of(object_id: int) -> Color:
    """The color of an object, the same in every frame, video and picture."""
    if 1 <= object_id <= len(_FIRST_COLORS):
        return _FIRST_COLORS[object_id - 1]
    hue = object_id * 0.618033988749895 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class Look:
    """How masks are drawn: the share of the tint (0 … 1; 0 = none), a line around each, and words on each.

    `words` are by object id; an object without words has none on it, and None stands for the ids.
    """

    strength: float = 0.5
    contours: bool = True
    words: Mapping[int, str] | None = None


def draw_masks(
    pixels_HW3: UInt8Array, masks: Mapping[int, BoolArray], *, strength: float = 0.5, look: Look | None = None
) -> UInt8Array:
    """A copy of the frame with each object's mask tinted, outlined and numbered. An empty mask changes nothing.

    `strength` is the share of the tint, 0 … 1 (0 = outlines only); a `look` says more, in its place. Raises
    `ValueError` for a mask of another size.
    """
    look = look or Look(strength)
    pixels_HW3 = pixels_HW3.copy()
    for object_id, mask_HW in masks.items():
        if mask_HW.shape != pixels_HW3.shape[:2]:
            raise ValueError(
                f"object {object_id}: the mask is {list(mask_HW.shape)}, the frame {list(pixels_HW3.shape[:2])} pixels"
            )
        _paint(pixels_HW3, mask_HW, np.array(color_of(object_id), np.float32), look)
    image = Image.fromarray(pixels_HW3)
    pen = ImageDraw.Draw(image)
    height = pixels_HW3.shape[0]
    font = ImageFont.load_default(min(max(11, height // 12), max(30, height // 36)))
    for object_id, mask_HW in masks.items():
        words = str(object_id) if look.words is None else look.words.get(object_id, "")
        if words and mask_HW.any():
            _label(pen, font, words, inner_point(mask_HW), color_of(object_id))
    return np.asarray(image)


def _paint(pixels_HW3: UInt8Array, mask_HW: BoolArray, color: FloatArray, look: Look) -> None:
    """Tint and outline, within the box of the mask and a bit more, because most masks are small."""
    thickness_px = max(2, round(pixels_HW3.shape[0] / 540))
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        return
    box = (
        slice(max(0, rows[0] - thickness_px), rows[-1] + thickness_px + 1),
        slice(max(0, columns[0] - thickness_px), columns[-1] + thickness_px + 1),
    )
    part, mask_hw = pixels_HW3[box], mask_HW[box]
    if look.strength:
        tinted = part[mask_hw].astype(np.float32)
        part[mask_hw] = (tinted + look.strength * (color - tinted)).round().astype(np.uint8)
    if look.contours:
        part[outline(mask_hw, thickness_px=thickness_px)] = color.astype(np.uint8)


def outline(mask_HW: BoolArray, *, thickness_px: int = 1) -> BoolArray:
    """The pixels of the mask within `thickness_px` of its border. The edge of the frame is not taken for a border."""
    inside = mask_HW
    for _ in range(thickness_px):
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim: BoolArray = mask_HW & ~inside
    return rim


def inner_point(mask_HW: BoolArray) -> tuple[float, float]:
    """The center (x, y) of the mask's pixel nearest to its center of mass. The mask must not be empty."""
    rows, columns = np.nonzero(mask_HW)
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


def _label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    text: str,
    center_xy: tuple[float, float],
    color: Color,
) -> None:
    left, top, right, bottom = pen.textbbox(center_xy, text, font=font, anchor="mm")
    pen.rounded_rectangle((left - 4, top - 3, right + 4, bottom + 3), radius=4, fill=(20, 20, 20), outline=color)
    pen.text(center_xy, text, fill=(255, 255, 255), font=font, anchor="mm")
