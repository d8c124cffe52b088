"""How many connected parts masks have, from their runs. Pixels that touch at a corner are connected.

Each piece of a column hangs on the first one of the column before that it touches. Where it touches several, these
belong together as well. A mask has as many parts as trees are left.

Legend: B masks, R runs of ones, P pieces: runs of ones, cut where a column ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.arrays import Int64Array
from pipeline.masks.rle import Runs


def num_parts(masks: Sequence[Runs], size_hw: tuple[int, int]) -> list[int]:
    """The number of connected parts of each mask; all masks go through each operation of numpy together."""
    height, width = size_hw
    firsts, lasts = _pieces(masks, height)
    if not len(firsts):
        return [0] * len(masks)
    masks_P = firsts // (height * width)
    # A column is a stretch of numbers with room for a pixel on either side, and so is each mask with its columns. Then
    # pieces of neighboring columns touch if they are at most a pixel apart once one of them is moved by a column.
    columns = firsts // height
    moved = 2 * columns + masks_P * (height + 2)
    tops, bottoms = firsts + moved, lasts + moved
    first_left = np.searchsorted(bottoms, tops - (height + 3), side="left")
    num_left = np.searchsorted(tops, bottoms - (height + 1), side="right") - first_left
    is_root = num_left <= 0
    roots_B = np.bincount(masks_P[is_root], minlength=len(masks))
    if roots_B.max() <= 1:
        return [int(count) for count in roots_B]
    roots = _roots(np.where(is_root, np.arange(len(tops)), first_left))
    several = np.flatnonzero(num_left > 1)
    more = num_left[several] - 1
    ends = np.cumsum(more)
    others = np.arange(more.sum()) + np.repeat(first_left[several] + 1 - (ends - more), more)
    joined = _joined(roots, np.repeat(several, more), others)
    return [int(count) for count in np.bincount(masks_P[joined == np.arange(len(joined))], minlength=len(masks))]


def _pieces(masks: Sequence[Runs], height: int) -> tuple[Int64Array, Int64Array]:
    """First and last pixel of each piece, in order; the pixels of a mask follow those of the one before."""
    lengths = np.concatenate([mask.lengths for mask in masks]) if masks else np.zeros(0, np.int64)
    sizes = np.array([len(mask.lengths) for mask in masks], np.int64)
    places = np.arange(len(lengths)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    is_one = (places % 2 == 1) & (lengths > 0)
    ends_R = np.cumsum(lengths)[is_one]
    firsts, lasts = ends_R - lengths[is_one], ends_R - 1
    num_columns = lasts // height - firsts // height + 1
    if not len(firsts) or num_columns.max() == 1:
        return firsts, lasts
    ends = np.cumsum(num_columns)
    columns_P = np.arange(ends[-1]) + np.repeat(firsts // height - (ends - num_columns), num_columns)
    firsts_P = np.maximum(np.repeat(firsts, num_columns), columns_P * height)
    lasts_P = np.minimum(np.repeat(lasts, num_columns), columns_P * height + height - 1)
    return firsts_P, lasts_P


def _roots(parents: Int64Array) -> Int64Array:
    """The root of each piece; steps of twice the length each time, because a part is as long as its columns."""
    while True:
        shorter = parents[parents]
        if np.array_equal(shorter, parents):
            return parents
        parents = shorter


def _joined(roots: Int64Array, left: Int64Array, right: Int64Array) -> Int64Array:
    """For each root the lowest one that belongs with it, where the pieces `left` and `right` touch."""
    links = np.arange(len(roots))
    a, b = roots[left], roots[right]
    while True:
        low, high = np.minimum(links[a], links[b]), np.maximum(links[a], links[b])
        if np.array_equal(low, high):
            # A piece that is no root counts as joined to its root.
            return np.where(roots == np.arange(len(roots)), links, roots)
        # Of several pieces that call for another root, one wins, and the others are heard in the next round.
        np.minimum.at(links, high, low)
        links = _roots(links)
