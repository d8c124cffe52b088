"""Pictures that are masks: opened with checks, as the numbers of their pixels."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from pipeline.formats.label_files import LabelFiles
from pipeline.masks.rle import MAX_PIXELS

_MODES = ("1", "L", "P", "I;16", "I;16B", "I")


def read_pixels(files: LabelFiles, name: str) -> npt.NDArray[np.integer]:
    """The values of a picture of masks, `[H, W]`: indexes of its palette, gray levels, or 16-bit numbers.

    Raises `InputError` for what is no picture, for one of more than 2²⁸ pixels, and for one in colors, because colors
    are no numbers of objects.
    """
    data = files.read(name)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise files.fault(name, f"{picture.width} × {picture.height} pixels are more than a mask may have")
            if picture.mode not in _MODES:
                raise files.fault(
                    name,
                    f"its pixels are colors ({picture.mode}), and a mask needs numbers of objects; save it with a "
                    "palette (mode P) or in gray",
                )
            return np.asarray(picture).astype(np.uint8) if picture.mode == "1" else np.asarray(picture)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise files.fault(name, f"no picture that can be read ({error}); write it again") from error
