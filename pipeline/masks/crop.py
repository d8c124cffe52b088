"""The pixels of a mask's box straight from its code, and back: the rest of the frame is never made.

The code must be our own or checked before (`rle.parse_counts`), because it is read without checks, all characters at
once. Legend: h, w pixels of the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.masks.rle import Rle, Runs, rle_of_runs
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


def rle_of_box(pixels_hw: BoolArray, left_top: tuple[int, int], size_hw: tuple[int, int]) -> Rle:
    """The code of a mask of which all pixels lie in a box, from those of the box, bool `[h, w]`.

    `left_top` is the box's first column and row, `size_hw` the size of the video.
    """
    (left, top), (height, width) = left_top, size_hw
    padded = np.zeros((pixels_hw.shape[1], pixels_hw.shape[0] + 2), np.int8)
    padded[:, 1:-1] = pixels_hw.T
    changes = np.diff(padded, axis=1)
    # Runs within one column, by their first pixel and the one behind their last.
    starts, ends = (
        (columns + left) * height + rows + top
        for columns, rows in (np.nonzero(changes == 1), np.nonzero(changes == -1))
    )
    # A run to the end of a column and one from the start of the next are one.
    is_first, is_last = np.ones(len(starts), np.bool_), np.ones(len(starts), np.bool_)
    is_first[1:] = is_last[:-1] = starts[1:] != ends[:-1]
    bounds = np.stack((starts[is_first], ends[is_last]), axis=1).ravel()
    lengths = np.diff(bounds, prepend=0, append=height * width).astype(np.int64)
    return rle_of_runs(Runs(lengths[:-1] if lengths[-1] == 0 else lengths), height)
