"""Pictures that Pillow reads, upright and as RGB: files, and images that a user has opened.

Legend: H, W pixels; pixels are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from model.media.errors import MediaError
from model.media.film_files import MAX_PIXELS
from model.media.levels import Levels, Values
from model.pixels.orientation import UInt8Array

# What Pillow raises for files that are damaged, or of a kind that it does not read. `OSError` has the errors of files
# that end early.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, ArithmeticError),
    *(struct.error, zlib.error),
)

_DEEP_MODES = ("I", "F")  # and those that begin with I;16


@dataclass(frozen=True)
class StillPicture:
    """A `Picture` in memory: bytes RGB `[H, W, 3]`, or deeper values, which the levels of its video turn into bytes."""

    values: Values
    levels: Levels

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        rgb = self.levels.to_rgb(self.values)
        if self.size_hw == size_hw:
            return rgb
        return np.array(Image.fromarray(rgb).resize(size_hw[::-1], Image.Resampling.BICUBIC))


def check_size(name: str, height: int, width: int) -> None:
    """Raises `MediaError` for a picture of more pixels than a frame may have, before memory is taken for it."""
    if height * width > MAX_PIXELS:
        raise MediaError(_too_large(name, f"is {width} × {height}"))


def _too_large(name: str, what: str) -> str:
    return f"{name}: {what}, more than the {MAX_PIXELS} pixels that a frame may have; scale it down or cut it up"


def open_image(name: str, file: Any, formats: tuple[str, ...]) -> Image.Image:
    """An image of one of these formats of Pillow, not decoded yet.

    Raises `MediaError` for a picture that is too large, and lets `PILLOW_ERRORS` pass for one that cannot be read.
    """
    try:
        image = Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        counts = [int(digits) for digits in re.findall(r"\d+", str(error))]
        raise MediaError(_too_large(name, f"has {counts[0]} pixels" if counts else "is too large")) from error
    check_size(name, image.height, image.width)
    return image


def values_of(name: str, image: Image.Image) -> Values:
    """The pixels of an image of any mode, upright: bytes RGB `[H, W, 3]`, or deeper values `[H, W]`.

    Transparency is dropped. Raises `MediaError` for a mode that has no meaning as a picture.
    """
    image = _upright(image)
    if is_deep(image):
        return np.array(image)
    try:
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except ValueError as error:
        raise MediaError(f"{name}: its pixels (mode {image.mode}) cannot be turned into RGB; convert it") from error


def is_deep(image: Image.Image) -> bool:
    """Whether an image has more than 8 bits."""
    return image.mode in _DEEP_MODES or image.mode.startswith("I;16")


def turned(pixels: Values, orientation: int) -> Values:
    """Stored pixels `[H, W, …]` as they are displayed under one of EXIF's orientations, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _upright(image: Image.Image) -> Image.Image:
    """The image as EXIF says that it is displayed. EXIF that cannot be read says nothing."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except PILLOW_ERRORS:
        return image
