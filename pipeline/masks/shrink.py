"""Frames and masks made smaller before masks are drawn, so that lines and words on a small picture can be seen."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.arrays import BoolArray, UInt8Array

_LEAST_SHARE = 64  # of 255: a pixel that a quarter of is covered is covered, or thin objects would vanish


def shrunk(pixels_HW3: UInt8Array, most_pixels: int | None) -> UInt8Array:
    """A frame whose longer side has at most so many pixels; None keeps its size."""
    height, width = pixels_HW3.shape[:2]
    if most_pixels is None or most_pixels >= max(height, width):
        return pixels_HW3
    scale = most_pixels / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels_HW3).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def shrunk_mask(mask_HW: BoolArray, size_hw: tuple[int, int]) -> BoolArray:
    """A mask in the size of a smaller frame."""
    if mask_HW.shape == size_hw:
        return mask_HW
    image = Image.fromarray(mask_HW.astype(np.uint8) * 255).resize(size_hw[::-1], Image.Resampling.BOX)
    small: BoolArray = np.asarray(image) >= _LEAST_SHARE
    return small
