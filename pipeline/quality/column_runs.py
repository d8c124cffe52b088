"""Runs of masks cut at the ends of columns, and the boxes around pairs of masks.

Legend: N masks, I runs within one column, in order: by mask, column and row; H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Int64Array
from pipeline.quality.runs import OneRuns

Numbers = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class ColumnRuns:
    """Run i is of mask `masks_I[i]` and covers the rows `tops_I[i]` up to before `bottoms_I[i]` of a column."""

    masks_I: Int64Array
    columns_I: Int64Array
    tops_I: Int64Array
    bottoms_I: Int64Array

    def of_masks(self, first: int, end: int) -> ColumnRuns:
        """Those of the masks `first` up to before `end`, which are numbered from 0 then."""
        part = slice(*np.searchsorted(self.masks_I, (first, end)).tolist())
        return ColumnRuns(self.masks_I[part] - first, self.columns_I[part], self.tops_I[part], self.bottoms_I[part])


@dataclass(frozen=True)
class Boxes:
    """Boxes of N masks: columns `lefts_N` up to before `rights_N`, rows `tops_N` up to before `bottoms_N`."""

    lefts_N: Int64Array
    tops_N: Int64Array
    rights_N: Int64Array
    bottoms_N: Int64Array

    def of_masks(self, first: int, end: int) -> Boxes:
        """Those of the masks `first` up to before `end`."""
        part = slice(first, end)
        return Boxes(self.lefts_N[part], self.tops_N[part], self.rights_N[part], self.bottoms_N[part])


def column_runs(runs: OneRuns) -> ColumnRuns:
    """The runs of all masks, each in as many pieces as it has columns."""
    height = runs.size_hw[0]
    first, last = runs.starts_R // height, (runs.ends_R - 1) // height
    num_columns = last - first + 1
    columns = expanded(first, num_columns)
    masks, starts, ends = (np.repeat(values, num_columns) for values in (runs.masks_R, runs.starts_R, runs.ends_R))
    tops = np.maximum(starts - columns * height, 0)
    bottoms = np.minimum(ends - columns * height, height)
    return ColumnRuns(masks, columns, tops, bottoms)


def boxes_around(a: ColumnRuns, b: ColumnRuns, num_masks: int) -> Boxes:
    """The box of mask i of `a` and mask i of `b` together, and one pixel more to the left and above.

    There the boundary may have a pixel. Where both masks are empty the box is, too.
    """
    lefts, tops = (np.full(num_masks, np.iinfo(np.int64).max) for _ in range(2))
    rights, bottoms = (np.zeros(num_masks, np.int64) for _ in range(2))
    for side in (a, b):
        if not len(side.masks_I):
            continue
        ends = np.append(np.flatnonzero(np.diff(side.masks_I)), len(side.masks_I) - 1)
        starts = np.append(0, ends[:-1] + 1)
        masks = side.masks_I[starts]
        lefts[masks] = np.minimum(lefts[masks], side.columns_I[starts])
        rights[masks] = np.maximum(rights[masks], side.columns_I[ends] + 1)
        tops[masks] = np.minimum(tops[masks], np.minimum.reduceat(side.tops_I, starts))
        bottoms[masks] = np.maximum(bottoms[masks], np.maximum.reduceat(side.bottoms_I, starts))
    lefts, tops = (np.maximum(np.minimum(low, high) - 1, 0) for low, high in ((lefts, rights), (tops, bottoms)))
    return Boxes(lefts, tops, rights, bottoms)


def expanded(begins: Numbers, lengths: Numbers) -> Numbers:
    """`lengths[i]` numbers from `begins[i]` on, one behind the other."""
    ends = np.cumsum(lengths, dtype=begins.dtype)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(total, dtype=begins.dtype)
