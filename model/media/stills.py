"""Pictures that Pillow reads, upright and as RGB: files, and images that a user has opened.

Legend: H, W pixels; pixels are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model.media.errors import MediaError
from model.media.levels import Levels, Values
from model.pixels.orientation import UInt8Array

# What Pillow raises for files that are damaged, or of a kind that it does not read. `OSError` has the errors of files
# that end early.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, ArithmeticError),
    *(struct.error, zlib.error),
)

_ACCEPTED_BYTES = 16  # of a file, by which Pillow's readers know theirs
_DEEP_MODES = ("I", "F")  # and those that begin with I;16


@dataclass(frozen=True)
class StillPicture:
    """A `Picture` in memory: bytes RGB `[H, W, 3]`, or deeper values, which the levels of its video turn into bytes."""

    values: Values
    levels: Levels

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    @property
    def num_bytes(self) -> int:
        return self.values.nbytes

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        rgb = self.levels.to_rgb(self.values)
        if self.size_hw == size_hw:
            return rgb
        return np.array(Image.fromarray(rgb).resize(size_hw[::-1], Image.Resampling.BICUBIC))


def check_size(name: str, height: int, width: int, max_pixels: int) -> None:
    """Raises `MediaError` for a picture of more pixels than a frame may have, before memory is taken for it."""
    if height * width > max_pixels:
        raise MediaError(
            f"{name}: is {width} × {height}, more than the {max_pixels} pixels that a frame may have (max_pixels); "
            "scale it down or cut it up"
        )


def open_image(file: Any, formats: tuple[str, ...]) -> Image.Image:
    """An image of one of these formats of Pillow, not decoded yet. `check_size` must be asked before it is.

    This does what `Image.open` does, but for its limit of pixels. That one is of the whole process, prints a warning
    from 89 million pixels on, and knows nothing of ours. Lets `PILLOW_ERRORS` pass for a file that cannot be read.
    """
    if not all(name in Image.OPEN for name in formats):
        Image.init()
    head = file.read(_ACCEPTED_BYTES)
    for name in formats:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(head) is True:
            file.seek(0)
            with contextlib.suppress(SyntaxError, LookupError, TypeError, struct.error):
                return factory(file, "")
    raise UnidentifiedImageError("none of the formats")


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
