"""The pixels of a mask's box, straight from its code: the rest of the frame is never made.

The code must be our own or checked before (`rle.parse_counts`), because it is read without checks, all characters at
once. Legend: h, w pixels of the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.masks.run_lengths import run_lengths


def box_pixels(rle: Mapping[str, Any], bbox_xywh: Sequence[int]) -> BoolArray:
    """The mask within its box, bool `[h, w]`. `rle` and `bbox_xywh` are those of a row of `masks`; C-contiguous."""
    height = rle["size"][0]
    left, top, box_width, box_height = bbox_xywh
    if box_width == 0 or box_height == 0:
        return np.zeros((box_height, box_width), np.bool_)
    ends = np.cumsum(run_lengths(rle["counts"]))
    # The columns of the box lie one behind the other in the code.
    first = left * height
    bounds = np.clip(ends - first, 0, box_width * height)
    columns = np.repeat(np.arange(len(bounds)) % 2 == 1, np.diff(bounds, prepend=0))
    columns = np.concatenate((columns, np.zeros(box_width * height - len(columns), np.bool_)))
    return np.ascontiguousarray(columns.reshape(box_width, height).T[top : top + box_height])
