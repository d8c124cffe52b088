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

import numpy as np

from pipeline.arrays import Float64Array, Int64Array
from pipeline.quality.runs import OneRuns

BOUNDARY_SHARE = 0.008
"""The radius as a share of the diagonal, as DAVIS has it."""


def boundary_radius(size_hw: tuple[int, int]) -> int:
    """How many pixels apart two boundaries may be and still agree."""
    return math.ceil(BOUNDARY_SHARE * float(np.linalg.norm(size_hw)))


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


def boundary_scores(a: OneRuns, b: OneRuns) -> Float64Array:
    """F of mask i of `a` and mask i of `b`, `[N]`; 1 where both boundaries are empty, 0 where one of them is."""
    grid = _Grid(*a.size_hw, boundary_radius(a.size_hw))
    points_a, points_b = _boundary(a, grid), _boundary(b, grid)
    num_a, num_b = (np.bincount(points // grid.per_mask, minlength=a.num_masks) for points in (points_a, points_b))
    precision = _share_near(points_a, points_b, num_a, grid)
    recall = _share_near(points_b, points_a, num_b, grid)
    # As in the references: a boundary that is empty alone has precision or recall 1, and the other one 0.
    total = precision + recall
    return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def _share_near(points: Int64Array, others: Int64Array, num_points: Int64Array, grid: _Grid) -> Float64Array:
    """Share of the boundary pixels of each mask that lie near the other boundary; 1 for an empty boundary."""
    far = np.bincount(_far(points, others, grid) // grid.per_mask, minlength=len(num_points))
    share: Float64Array = np.where(num_points > 0, (num_points - far) / np.maximum(num_points, 1), 1.0)
    return share


def _far(points: Int64Array, others: Int64Array, grid: _Grid) -> Int64Array:
    """The points that have none of the others in the disk around them. Most are found near in the first columns."""
    others = np.append(others, np.iinfo(np.int64).max)
    left = points
    for shift in sorted(range(-grid.radius, grid.radius + 1), key=abs):
        reach = math.isqrt(grid.radius**2 - shift**2)
        lowest = left + (shift * grid.stride - reach)
        found = others[np.searchsorted(others, lowest)]
        left = left[found > lowest + 2 * reach]
        if not len(left):
            break
    return left


def _boundary(runs: OneRuns, grid: _Grid) -> Int64Array:
    """Numbers of the boundary pixels of all masks, ascending, `[P]`."""
    starts, ends = _intervals(runs, grid)
    # Over the pixel at a number lie up to four intervals: its own, and those of its three neighbors moved onto it.
    # It is of the boundary where some of the four are there and not all.
    moves = (0, 1, grid.stride, grid.stride + 1)
    edges = np.concatenate([2 * (starts - move) for move in moves] + [2 * (ends - move) + 1 for move in moves])
    edges.sort()
    places, cover = edges >> 1, np.cumsum(1 - 2 * (edges & 1))
    is_mixed = (cover[:-1] > 0) & (cover[:-1] < 4)
    begins, lengths = places[:-1][is_mixed], np.diff(places)[is_mixed]
    points = _expanded(begins, lengths)
    rows, columns = points % grid.stride, points // grid.stride % grid.columns
    return points[(rows < grid.height) & (columns < grid.width)]


def _intervals(runs: OneRuns, grid: _Grid) -> tuple[Int64Array, Int64Array]:
    """Runs as intervals of numbers, cut at the ends of columns.

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
    bottoms += bottoms == height
    base = masks * grid.per_mask + columns * grid.stride
    is_rightmost = columns == grid.width - 1
    again = base[is_rightmost] + grid.stride
    return (
        np.concatenate((base + tops, again + tops[is_rightmost])),
        np.concatenate((base + bottoms, again + bottoms[is_rightmost])),
    )


def _expanded(begins: Int64Array, lengths: Int64Array) -> Int64Array:
    """`lengths[i]` numbers from `begins[i]` on, one behind the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(total)
