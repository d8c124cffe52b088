"""A shape as text, as CVAT's documents have it: what goes out and what comes back are compared by it.

`1.00,2.00;…` are the points of a polygon, `mask LEFT,TOP,WIDTH,HEIGHT:RUNS` is a mask of run lengths row by row, and
`box X,Y,X,Y` are two corners. Numbers have two decimals, as CVAT writes them. Between several shapes of an
object on a frame stands `|`.
"""

from __future__ import annotations

from collections.abc import Iterable

SEPARATOR = "|"
MASK, BOX = "mask ", "box "
UNTOUCHED = "untouched"
"""In the place of a shape of which the other program says that nobody has touched it."""


def polygon_text(points_xy: Iterable[tuple[float, float]]) -> str:
    """The points of a polygon."""
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points_xy)


def mask_text(runs: str, box_xywh: tuple[int, int, int, int]) -> str:
    """A mask: run lengths `0, 3, 1` within a box of whole pixels."""
    return f"{MASK}{','.join(map(str, box_xywh))}:{runs.replace(' ', '')}"


def box_text(box_xyxy: Iterable[float]) -> str:
    """A box by two corners, in pixels."""
    return BOX + ",".join(f"{value:.2f}" for value in box_xyxy)
