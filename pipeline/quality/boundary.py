"""F, the agreement of boundaries, of many masks at once and without decoding them.

The rule is that of DAVIS (Perazzi et al., 2016; `f_measure` of davis2017-evaluation), which vos-benchmark and the
evaluator of SA-V share. A pixel is of the boundary where it differs from its neighbor to the right, below, or to the
right and below. In the last row only the right one counts, in the last column only the one below. A boundary pixel
agrees if the other boundary has a pixel at most `radius` away, with radius = ceil(0.008 · diagonal).

References dilate both boundaries over the whole frame. Here boundary pixels are numbers in order: column x, row y and
mask m are at (m · columns + x) · stride + y. A run of rows in another column is an interval of numbers, and a binary
search says whether a boundary pixel lies in it. Columns and masks are so far apart that no interval reaches the next.

Legend: N masks, R runs of ones, P boundary pixels of all masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array
from pipeline.quality.runs import OneRuns

BOUNDARY_SHARE = 0.008
"""The radius as a share of the diagonal, as DAVIS has it."""


def boundary_radius(size_hw: tuple[int, int]) -> int:
    """How many pixels apart two boundaries may be and still agree."""
    return math.ceil(BOUNDARY_SHARE * float(np.linalg.norm(size_hw)))


Numbers = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class _Grid:
    """Where pixels are on the line of numbers."""

    height: int
    width: int
    radius: int

    @property
    def stride(self) -> int:
        """From one column to the next: its rows, one below, and a gap that no interval crosses."""
        return self.height + self.radius + 2

    @property
    def columns(self) -> int:
        """Columns of a mask: its own, one to the right, and a gap."""
        return self.width + self.radius + 2

    @property
    def per_mask(self) -> int:
        return self.columns * self.stride

    def kind_of_numbers(self, num_masks: int) -> type[np.signedinteger[Any]]:
        """Half as wide where twice the largest number fits, because sorting and searching then take half as long."""
        return np.int32 if 2 * (num_masks + 1) * self.per_mask < np.iinfo(np.int32).max else np.int64


def boundary_scores(a: OneRuns, b: OneRuns) -> Float64Array:
    """F of mask i of `a` and mask i of `b`, `[N]`; 1 where both boundaries are empty, 0 where one of them is."""
    grid = _Grid(*a.size_hw, boundary_radius(a.size_hw))
    points_a, points_b = _boundary(a, grid), _boundary(b, grid)
    precision = _share_near(points_a, points_b, a.num_masks, grid)
    recall = _share_near(points_b, points_a, a.num_masks, grid)
    # As in the references: a boundary that is empty alone has precision or recall 1, and the other one 0.
    total = precision + recall
    return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def _share_near(points: Numbers, others: Numbers, num_masks: int, grid: _Grid) -> Float64Array:
    """Share of the boundary pixels of each mask that lie near the other boundary; 1 for an empty boundary."""
    bounds = np.arange(num_masks + 1) * grid.per_mask
    num_points, num_far = (
        np.diff(np.searchsorted(some, bounds.astype(some.dtype))) for some in (points, _far(points, others, grid))
    )
    share: Float64Array = np.where(num_points > 0, (num_points - num_far) / np.maximum(num_points, 1), 1.0)
    return share


def _far(points: Numbers, others: Numbers, grid: _Grid) -> Numbers:
    """The points that have none of the others in the disk around them. Most are found near in the first columns."""
    beyond = np.iinfo(others.dtype).max // 2  # above all numbers, and a difference to any of them still fits
    others = np.append(others, others.dtype.type(beyond))
    left = points
    for shift in _by_reach(grid.radius):
        reach = math.isqrt(grid.radius**2 - shift**2)
        lowest = left + points.dtype.type(shift * grid.stride - reach)
        found = others[np.searchsorted(others, lowest)]
        left = left[found - lowest > 2 * reach]
        if not len(left):
            break
    return left


def _by_reach(radius: int) -> list[int]:
    """Columns of the disk, so ordered that the first few of them cover most of it."""
    step, order = radius, [0]
    while step > 1:
        step //= 2
        order += [sign * column for column in range(step, radius + 1, step) for sign in (1, -1)]
    return list(dict.fromkeys([*order, radius, -radius]))


def _boundary(runs: OneRuns, grid: _Grid) -> Numbers:
    """Numbers of the boundary pixels of all masks, ascending, `[P]`."""
    starts, ends, touches_edge = _intervals(runs, grid)
    # Over the pixel at a number lie up to four intervals: its own, and those of its three neighbors moved onto it.
    # It is of the boundary where some of the four are there and not all.
    moves = (0, 1, grid.stride, grid.stride + 1)
    edges = np.concatenate([2 * (starts - move) for move in moves] + [2 * (ends - move) + 1 for move in moves])
    edges.sort()
    places, cover = edges >> 1, np.cumsum(1 - 2 * (edges & 1), dtype=np.int32)
    is_mixed = (cover[:-1] > 0) & (cover[:-1] < len(moves))
    begins, lengths = places[:-1][is_mixed], np.diff(places)[is_mixed]
    points = _expanded(begins, lengths)
    if not touches_edge:
        return points
    rows, columns = points % grid.stride, points // grid.stride % grid.columns
    return points[(rows < grid.height) & (columns < grid.width)]


def _intervals(runs: OneRuns, grid: _Grid) -> tuple[Numbers, Numbers, bool]:
    """Runs as intervals of numbers, cut at the ends of columns, and whether any of them is at an edge of the picture.

    The last row is repeated below and the last column to the right, because there the neighbor that lacks must not
    make a boundary.
    """
    height = grid.height
    first, last = runs.starts_R // height, (runs.ends_R - 1) // height
    num_columns = last - first + 1
    columns = _expanded(first, num_columns)
    masks, run_starts, run_ends = (
        np.repeat(values, num_columns) for values in (runs.masks_R, runs.starts_R, runs.ends_R)
    )
    tops = np.maximum(run_starts - columns * height, 0)
    bottoms = np.minimum(run_ends - columns * height, height)
    touches_edge = bool(
        (tops == 0).any() or (bottoms == height).any() or (columns == 0).any() or (columns == grid.width - 1).any()
    )
    bottoms += bottoms == height
    base = masks * grid.per_mask + columns * grid.stride
    is_rightmost = columns == grid.width - 1
    again = base[is_rightmost] + grid.stride
    starts = np.concatenate((base + tops, again + tops[is_rightmost]))
    ends = np.concatenate((base + bottoms, again + bottoms[is_rightmost]))
    kind = grid.kind_of_numbers(runs.num_masks)
    return starts.astype(kind), ends.astype(kind), touches_edge


def _expanded(begins: Numbers, lengths: Numbers) -> Numbers:
    """`lengths[i]` numbers from `begins[i]` on, one behind the other."""
    ends = np.cumsum(lengths, dtype=begins.dtype)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(total, dtype=begins.dtype)
