"""F, the agreement of boundaries, of many masks at once and without decoding them.

The rule is that of DAVIS (Perazzi et al., 2016; `f_measure` of davis2017-evaluation), which vos-benchmark and the
evaluator of SA-V share. A pixel is of the boundary where it differs from its neighbor to the right, below, or to the
right and below. In the last row only the right one counts, in the last column only the one below. A boundary pixel
agrees if the other boundary has a pixel at most `radius` away, with radius = ceil(0.008 · diagonal).

References dilate both boundaries over the whole frame. Here boundary pixels are numbers in order: within the box around
both masks, column x, row y and mask m are at (m · columns + x) · stride + y. For each of these numbers one byte says
how near the other boundary is within the column, and a boundary pixel looks at the bytes of its row in the disk around.
Columns and masks are so far apart that a disk never reaches the next one.

Legend: N masks, I runs within one column, P boundary pixels of all masks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array
from pipeline.quality.column_runs import Boxes, ColumnRuns, Numbers, boxes_around, column_runs, expanded
from pipeline.quality.runs import OneRuns

BOUNDARY_SHARE = 0.008
"""The radius as a share of the diagonal, as DAVIS has it."""

_CELLS_AT_A_TIME = 1 << 22


def boundary_radius(size_hw: tuple[int, int]) -> int:
    """How many pixels apart two boundaries may be and still agree."""
    return math.ceil(BOUNDARY_SHARE * float(np.linalg.norm(size_hw)))


@dataclass(frozen=True)
class _Grid:
    """Where pixels are on the line of numbers. `height` and `width` are those of the largest box."""

    height: int
    width: int
    radius: int
    num_masks: int

    @property
    def reach_hw(self) -> tuple[int, int]:
        """How far the disk is looked at: a box of less than the radius has nothing beyond it."""
        return min(self.radius, self.height), min(self.radius, self.width)

    @property
    def stride(self) -> int:
        """From one column to the next: its rows, one below, and a gap that no disk crosses."""
        return self.height + self.reach_hw[0] + 2

    @property
    def columns(self) -> int:
        """Columns of a mask: its own, one to the right, and a gap."""
        return self.width + self.reach_hw[1] + 2

    @property
    def per_mask(self) -> int:
        return self.columns * self.stride


def boundary_scores(a: OneRuns, b: OneRuns, cells_at_a_time: int = _CELLS_AT_A_TIME) -> Float64Array:
    """F of mask i of `a` and mask i of `b`, `[N]`; 1 where both boundaries are empty, 0 where one of them is.

    Takes a byte or two for each of `cells_at_a_time` pixels, or for each pixel of the box around two masks if that has
    more.
    """
    radius = boundary_radius(a.size_hw)
    sides = column_runs(a), column_runs(b)
    boxes = boxes_around(*sides, a.num_masks)
    parts = [np.zeros(0)]
    for first, end in _groups(boxes, radius, cells_at_a_time):
        own = boxes.of_masks(first, end)
        grid = _Grid(_largest(own.bottoms_N - own.tops_N), _largest(own.rights_N - own.lefts_N), radius, end - first)
        points_a, points_b = (_boundary(side.of_masks(first, end), own, a.size_hw, grid) for side in sides)
        precision, recall = _share_near(points_a, points_b, grid), _share_near(points_b, points_a, grid)
        # As in the references: a boundary that is empty alone has precision or recall 1, and the other one 0.
        total = precision + recall
        parts.append(np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0))
    return np.concatenate(parts)


def _largest(sizes_N: Numbers) -> int:
    return int(sizes_N.max(initial=0))


def _groups(boxes: Boxes, radius: int, most: int) -> Iterator[tuple[int, int]]:
    """Masks that are scored together: as many as have `most` cells, or one that alone has more."""
    heights, widths = (
        (sizes_N + np.minimum(sizes_N, radius) + 2).tolist()
        for sizes_N in (boxes.bottoms_N - boxes.tops_N, boxes.rights_N - boxes.lefts_N)
    )
    first = height = width = 0
    for number, (one_height, one_width) in enumerate(zip(heights, widths, strict=True)):
        height, width = max(height, one_height), max(width, one_width)
        if number > first and height * width * (number - first + 1) > most:
            yield first, number
            first, height, width = number, one_height, one_width
    if heights:
        yield first, len(heights)


def _share_near(points: Numbers, others: Numbers, grid: _Grid) -> Float64Array:
    """Share of the boundary pixels of each mask that lie near the other boundary; 1 for an empty boundary."""
    bounds = np.arange(grid.num_masks + 1) * grid.per_mask
    num_points, num_far = (
        np.diff(np.searchsorted(some, bounds.astype(some.dtype))) for some in (points, _far(points, others, grid))
    )
    share: Float64Array = np.where(num_points > 0, (num_points - num_far) / np.maximum(num_points, 1), 1.0)
    return share


def _far(points: Numbers, others: Numbers, grid: _Grid) -> Numbers:
    """The points that have none of the others in the disk around them. Most are found near in the first columns."""
    (most, columns), stride = grid.reach_hw, grid.stride
    margin = columns * stride + most
    # `most` + 1 - the distance to the nearest of the others in the same column, and 0 where that is above `most`.
    nearness: npt.NDArray[np.unsignedinteger[Any]] = np.zeros(
        grid.num_masks * grid.per_mask + 2 * margin, np.uint8 if most < 255 else np.uint16
    )
    # Views that begin elsewhere stand for sums of all numbers and a distance.
    places = others.astype(np.intp)
    for distance in range(most, 0, -1):
        nearness[margin - distance :][places] = most + 1 - distance
        nearness[margin + distance :][places] = most + 1 - distance
    nearness[margin:][places] = most + 1  # the nearest is written last
    left = points.astype(np.intp)
    for shift in _by_reach(columns):
        reach = min(most, math.isqrt(grid.radius**2 - shift**2))
        found = nearness[margin + shift * stride :].take(left)
        left = left[found <= most - reach]
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


def _boundary(runs: ColumnRuns, boxes: Boxes, size_hw: tuple[int, int], grid: _Grid) -> Numbers:
    """Numbers of the boundary pixels of all masks, ascending, `[P]`."""
    starts, ends, touches_edge = _intervals(runs, boxes, size_hw, grid)
    # A column and the one to its right differ from the first edge of both to the second, from the third to the fourth,
    # and so on. The pixel above an edge differs from the one below it.
    edges = np.concatenate((starts, ends, starts - grid.stride, ends - grid.stride))
    edges.sort()
    begins, differ_to = edges[::2] - 1, edges[1::2]
    np.maximum(begins[1:], differ_to[:-1], out=begins[1:])
    points = expanded(begins, differ_to - begins)
    if not touches_edge:
        return points
    # Pixels beyond an edge of the picture have numbers in a gap, behind the last row or column of a box.
    masks, within = np.divmod(points, grid.per_mask)
    columns, rows = np.divmod(within, grid.stride)
    is_inside = (rows < (boxes.bottoms_N - boxes.tops_N)[masks]) & (columns < (boxes.rights_N - boxes.lefts_N)[masks])
    return points[is_inside & (points >= 0)]


def _intervals(runs: ColumnRuns, boxes: Boxes, size_hw: tuple[int, int], grid: _Grid) -> tuple[Numbers, Numbers, bool]:
    """Runs as intervals of numbers, and whether any of them is at an edge of the picture.

    The last row is repeated below and the last column to the right, because there the neighbor that lacks must not
    make a boundary.
    """
    height, width = size_hw
    is_lowest, is_rightmost = runs.bottoms_I == height, runs.columns_I == width - 1
    touches_edge = bool(
        is_lowest.any() or is_rightmost.any() or (runs.tops_I == 0).any() or (runs.columns_I == 0).any()
    )
    base = runs.masks_I * grid.per_mask
    base += (runs.columns_I - boxes.lefts_N[runs.masks_I]) * grid.stride - boxes.tops_N[runs.masks_I]
    starts, ends = base + runs.tops_I, base + runs.bottoms_I + is_lowest
    starts, ends = (np.concatenate((some, some[is_rightmost] + grid.stride)) for some in (starts, ends))
    # A mask has up to 2²⁸ pixels, and its box with gaps up to four times as many: 32 bits hold these numbers, and take
    # half as long to sort as 64.
    return starts.astype(np.int32), ends.astype(np.int32), touches_edge
