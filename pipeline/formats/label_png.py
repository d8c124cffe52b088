"""PNG files of labels: 8 bits with a palette, 16 bits, and one object alone. They are written without loss.

Legend: H, W pixels of the video as displayed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image

from pipeline.arrays import BoolArray
from pipeline.formats.overlap import UInt16Array
from pipeline.masks.overlay import color_of

MAX_PALETTE_LABEL = 254
"""255 is "void" to the readers of DAVIS: pixels that count for nothing."""

# zlib's strategy for runs of equal bytes: labels are made of those, and it takes a third of the time.
_RUNS = 3


def palette(object_ids: Mapping[int, int]) -> bytes:
    """Colors by label: an object has the color that it has in overlays, the background is black and void white.

    `object_ids` are ids by label. Labels that it lacks are gray.
    """
    colors = np.full((256, 3), 128, np.uint8)
    colors[0], colors[255] = 0, 255
    for label, object_id in object_ids.items():
        colors[label] = color_of(object_id)
    return colors.tobytes()


def palette_png(labels_HW: UInt16Array, colors: bytes) -> bytes:
    """A PNG of mode P, 8 bits. `colors` are those of `palette`. Raises `ValueError` for a label above 254."""
    if labels_HW.size and labels_HW.max() > MAX_PALETTE_LABEL:
        raise ValueError(f"label {labels_HW.max()}: a palette has labels up to {MAX_PALETTE_LABEL}")
    image = Image.fromarray(labels_HW.astype(np.uint8))
    image.putpalette(colors)
    return _png(image)


def png_16_bits(labels_HW: UInt16Array) -> bytes:
    """A gray PNG of 16 bits, its values the labels."""
    # OpenCV takes half the time of Pillow, which tries five filters on each row of 16 bits.
    is_written, data = cv2.imencode(".png", labels_HW)
    if not is_written:
        raise ValueError(f"OpenCV does not write labels of shape {labels_HW.shape} as PNG")
    return data.tobytes()


def mask_png(pixels_HW: BoolArray) -> bytes:
    """A PNG of mode P, 1 bit, 1 and white where the mask is."""
    image = Image.fromarray(pixels_HW.view(np.uint8))
    image.putpalette(bytes((0, 0, 0, 255, 255, 255)))
    return _png(image)


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", compress_type=_RUNS)
    return written.getvalue()
