"""The pixels of a mask's box, straight from its code: the rest of the frame is never made.

The code must be our own or checked before (`rle.parse_counts`), because it is read without checks, all characters at
once. Legend: H, W pixels of the video; h, w those of the box; N runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.arrays import BoolArray, Int64Array


def run_lengths(counts: str) -> Int64Array:
    """Lengths of the runs of COCO's compressed code, zeros first, int64 `[N]`."""
    characters = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    is_last = (characters & 32) == 0
    starts = np.flatnonzero(np.concatenate(([True], is_last[:-1])))
    place = np.arange(len(characters)) - np.repeat(starts, np.diff(starts, append=len(characters)))
    values = np.add.reduceat((characters & 31) << 5 * place, starts)
    values -= np.where(characters[is_last] & 16, 1 << 5 * (place[is_last] + 1), 0)
    # From the fourth run on the code holds the difference to the run two before.
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values


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
