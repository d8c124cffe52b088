"""Several pictures side by side, each with its words below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import UInt8Array

_PAPER, _INK = (255, 255, 255), (70, 74, 80)
_GAP, _WORDS = 6, 22


def filmstrip(pictures: Sequence[tuple[str, UInt8Array]], height: int = 160, columns: int = 6) -> UInt8Array:
    """Pictures uint8 RGB `[H, W, 3]` of one size with their words, `columns` in a row, each `height` pixels high.

    Raises `ValueError` if there is none.
    """
    if not pictures:
        raise ValueError("a filmstrip needs at least one picture")
    shape = pictures[0][1].shape
    width = max(1, round(height * shape[1] / shape[0]))
    num_rows = -(-len(pictures) // columns)
    num_columns = min(columns, len(pictures))
    size = (num_columns * (width + _GAP) - _GAP, num_rows * (height + _WORDS))
    strip = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    for number, (words, pixels_HW3) in enumerate(pictures):
        left, top = number % columns * (width + _GAP), number // columns * (height + _WORDS)
        strip.paste(Image.fromarray(pixels_HW3).resize((width, height), Image.Resampling.LANCZOS), (left, top))
        pen.text((left + width / 2, top + height + 4), words, fill=_INK, font=font, anchor="mt")
    return np.asarray(strip)
