"""Pixel values deeper than 8 bits to bytes, by one rule for all pictures of a video.

Cameras and microscopes store 10 or 12 bits in 16, and such a picture is nearly black if its upper 8 bits are taken. So
the number of bits in use is told from the values of up to 9 pictures that are spread over the video: it is the smallest
of 8, 10, 12, 14, 16, 24 and 32 that holds the largest value, and the upper 8 of these bits are the byte. Floating-point
values of 0 to 1 are times 255; larger ones count as whole numbers. What is above is white. A file that says its own
largest value, as PPM and JPEG 2000 do, is taken at its word.

Legend: H, W pixels; deep values are `[H, W]` or RGB `[H, W, 3]`, and bytes always RGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.media.errors import MediaError
from model.pixels.orientation import UInt8Array

Values = npt.NDArray[Any]

_NUM_BITS = (8, 10, 12, 14, 16, 24, 32)
_MOST_SAMPLES = 9


@dataclass(frozen=True)
class Levels:
    """How the deep values of a video become bytes: `num_bits` are in use, or the values are `fractions` of 1."""

    num_bits: int = 16
    fractions: bool = False

    def to_rgb(self, values: Values) -> UInt8Array:
        """Bytes `[H, W, 3]` from uint8 or deeper values. Values above the levels are white, those below 0 black."""
        if values.dtype == np.bool_:
            values = values.astype(np.uint8) * np.uint8(255)
        if values.dtype != np.uint8:
            values = self._bytes(values)
        return np.ascontiguousarray(np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values)

    def _bytes(self, values: Values) -> UInt8Array:
        if np.issubdtype(values.dtype, np.floating):
            scale = np.float32(255 if self.fractions else 2.0 ** (8 - self.num_bits))
            scaled = np.nan_to_num(values.astype(np.float32) * scale + np.float32(0.5 if self.fractions else 0))
        else:
            scaled = values >> (self.num_bits - 8)
        clipped: UInt8Array = np.clip(scaled, 0, 255).astype(np.uint8)
        return clipped


def levels_of(name: str, samples: Iterable[Values]) -> Levels:
    """The levels for a video, told from some of its pictures. Pictures of bytes say nothing.

    Raises `MediaError` for values below 0 and for those that are no numbers, because nothing says what is black there.
    """
    largest: float | None = None
    fractions = False
    for values in samples:
        if values.dtype in (np.uint8, np.bool_) or not values.size:
            continue
        low, high = values.min(), values.max()
        if not (low >= 0 and np.isfinite(high)):
            raise MediaError(
                f"{name}: has pixel values from {low} to {high}, and nothing says which of them is black; convert it "
                "to values from 0 on"
            )
        fractions = bool(np.issubdtype(values.dtype, np.floating))
        largest = max(largest or 0.0, float(high))
    if largest is None:
        return Levels()
    if fractions and largest <= 1:
        return Levels(fractions=True)
    return Levels(next((bits for bits in _NUM_BITS if largest < 2.0**bits), _NUM_BITS[-1]))


def sample_places(num_pictures: int) -> Sequence[int]:
    """Places of the pictures to tell the levels from: up to 9, from the first to the last."""
    count = min(num_pictures, _MOST_SAMPLES)
    return sorted({round(place * (num_pictures - 1) / max(1, count - 1)) for place in range(count)})
