"""How many connected parts masks have, from their runs. Pixels that touch at a corner are connected.

Legend: B masks, P pieces: runs of ones, cut where a column ends; E pairs of pieces that touch in neighboring columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.arrays import Int64Array
from pipeline.masks.rle import Runs


def num_parts(masks: Sequence[Runs], size_hw: tuple[int, int]) -> list[int]:
    """The number of connected parts of each mask; all masks go through each operation of numpy together."""
    height, width = size_hw
    firsts, lasts, masks_P = _pieces(masks, height)
    if not len(firsts):
        return [0] * len(masks)
    # A column is a stretch of numbers with room for a pixel on either side, and so is each mask with its columns. Then
    # pieces of neighboring columns touch if they are at most a pixel apart once one of them is moved by a column.
    stride = height + 2
    columns_P = firsts // height + masks_P * (width + 1)
    tops_P = columns_P * stride + firsts % height
    bottoms_P = columns_P * stride + lasts % height
    first_E = np.searchsorted(bottoms_P, tops_P + stride - 1, side="left")
    stop_E = np.searchsorted(tops_P, bottoms_P + stride + 1, side="right")
    counts_P = np.maximum(stop_E - first_E, 0)
    left_E = np.repeat(np.arange(len(counts_P)), counts_P)
    right_E = (
        np.arange(len(left_E)) - np.repeat(np.cumsum(counts_P) - counts_P, counts_P) + np.repeat(first_E, counts_P)
    )
    # A piece with a neighbor in the column before belongs to the part of that one, so that parts have a piece without.
    is_root = np.ones(len(counts_P), np.bool_)
    is_root[right_E] = False
    roots_B = np.bincount(masks_P[is_root], minlength=len(masks))
    is_open = (roots_B > 1)[masks_P]
    if not is_open.any():
        return [int(count) for count in roots_B]
    is_asked = is_open[left_E]
    parts_P = _joined(len(counts_P), left_E[is_asked], right_E[is_asked])
    is_first = is_open & (parts_P == np.arange(len(parts_P)))
    found_B = np.bincount(masks_P[is_first], minlength=len(masks))
    return [int(count) for count in np.where(roots_B > 1, found_B, roots_B)]


def _pieces(masks: Sequence[Runs], height: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """First and last pixel of each piece, and its mask; in order of masks and pixels."""
    starts, ends, numbers = [], [], []
    for number, mask in enumerate(masks):
        edges = np.cumsum(mask.lengths)
        starts.append(edges[0:-1:2])
        ends.append(edges[1::2])
        numbers.append(np.full(len(edges) // 2, number))
    start, end, number_R = (np.concatenate(some) if some else np.zeros(0, np.int64) for some in (starts, ends, numbers))
    is_any = end > start
    start, last, number_R = start[is_any], end[is_any] - 1, number_R[is_any]
    first_column, last_column = start // height, last // height
    pieces_R = last_column - first_column + 1
    columns_P = np.arange(pieces_R.sum()) + np.repeat(first_column - (np.cumsum(pieces_R) - pieces_R), pieces_R)
    firsts_P = np.maximum(np.repeat(start, pieces_R), columns_P * height)
    lasts_P = np.minimum(np.repeat(last, pieces_R), columns_P * height + height - 1)
    return firsts_P, lasts_P, np.repeat(number_R, pieces_R)


def _joined(count: int, left_E: Int64Array, right_E: Int64Array) -> Int64Array:
    """For each of `count` pieces the lowest number that its part has a path to; `left_E` and `right_E` touch."""
    parts = np.arange(count)
    while True:
        left, right = parts[left_E], parts[right_E]
        if (left == right).all():
            return parts
        # Of several pieces that call for another number, one wins, and the others are heard in the next round.
        np.minimum.at(parts, np.maximum(left, right), np.minimum(left, right))
        while True:
            shorter = parts[parts]
            if (shorter == parts).all():
                break
            parts = shorter
