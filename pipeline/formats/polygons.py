"""Polygons of a mask, and how much of the mask they can say.

A ring goes through the centers of a mask's border pixels, as OpenCV finds it: filled by `cv2.fillPoly`, which paints
the border too, it gives back every pixel. A ring at the edges of pixels is for programs that take coordinates as
continuous (pycocotools, datumaro, CVAT): filled by pycocotools it gives back every pixel. Coordinates count from the
corner of the pixels that were given, usually those of the mask's box. Legend: h, w pixels; N, M points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from pipeline.arrays import BoolArray

Ring = npt.NDArray[np.int32]
"""A closed line of points (x, y), `[N, 2]`; the first point is not repeated at the end."""

_MOST_COMPARED = 2048


@dataclass(frozen=True)
class Part:
    """A connected part of a mask: its outer ring and those of its holes. Pixels that touch at a corner are connected.

    `area` counts pixels, those of its holes included.
    """

    outer: Ring
    holes: tuple[Ring, ...]
    area: float


@dataclass(frozen=True)
class Outline:
    """One ring in place of a mask, and the IoU of the ring, when filled, with the mask.

    `num_parts` and `num_holes` are those of the mask, whether the ring shows them or not.
    """

    ring: Ring
    iou: float
    num_parts: int
    num_holes: int


def outline(pixels_hw: BoolArray, *, joined: bool, tolerance_px: float = 0.0) -> Outline:
    """The mask as one ring through centers of pixels, for programs that fill like OpenCV.

    `joined` leads the ring from part to part and into the holes, over bridges that are walked twice; without it the
    ring is that of the largest part. Points are left out where the ring stays within `tolerance_px` of them. The mask
    must not be empty.
    """
    parts = parts_of(pixels_hw)
    num_holes = sum(len(part.holes) for part in parts)
    ring = joined_ring(parts) if joined else parts[0].outer
    is_exact = len(parts) == 1 and num_holes == 0 and tolerance_px == 0
    ring = simplified(ring, tolerance_px)
    iou = 1.0 if is_exact else overlap(pixels_hw, filled([ring], pixels_hw.shape))
    return Outline(ring, iou, len(parts), num_holes)


def edge_outline(pixels_hw: BoolArray, *, tolerance_px: float = 0.0) -> Outline:
    """The largest part of the mask as one ring at edges of pixels, for programs with continuous coordinates.

    Its holes are filled. The mask must not be empty.
    """
    parts = parts_of(pixels_hw, at_edges=True)
    ring = simplified(parts[0].outer, tolerance_px)
    iou = overlap(pixels_hw, filled_inside(ring, pixels_hw.shape))
    return Outline(ring, iou, len(parts), sum(len(part.holes) for part in parts))


def parts_of(pixels_hw: BoolArray, *, at_edges: bool = False) -> list[Part]:
    """The parts of a mask, the one with the largest area first. Each pixel, or edge, of a border has a point."""
    pixels = np.ascontiguousarray(pixels_hw).view(np.uint8)
    if at_edges:
        # Each pixel becomes four, so that the four sides of a pixel are different pixels of a border.
        pixels = pixels.repeat(2, axis=0).repeat(2, axis=1)
    found, links = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings: list[Ring] = [np.asarray(ring, np.int32).reshape(-1, 2) for ring in found]
    # By Pick's theorem: the ring through the centers leaves half of the border's pixels and one more out of its area.
    areas = [(cv2.contourArea(ring) + len(ring) / 2 + 1) / (4 if at_edges else 1) for ring in rings]
    if at_edges:
        rings = [_at_edges(ring) for ring in rings]
    holes: dict[int, list[Ring]] = {index: [] for index, link in enumerate(links[0]) if link[3] < 0}
    for index, link in enumerate(links[0]):
        if link[3] >= 0:
            holes[link[3]].append(rings[index])
    order = sorted(holes, key=lambda index: (-areas[index], index))
    return [Part(rings[index], tuple(holes[index]), areas[index]) for index in order]


def joined_ring(parts: Sequence[Part]) -> Ring:
    """One ring along the rings of all parts, each of them reached from the nearest point and left the same way.

    The bridge to a part paints pixels between the parts. A part that has fewer pixels than its bridge is left out.
    """
    waiting = [(ring, part) for part in parts for ring in (part.outer, *part.holes)]
    whole, _ = waiting.pop(0)
    nearest = [_nearest(whole, ring) for ring, _ in waiting]
    while waiting:
        chosen = min(range(len(waiting)), key=lambda index: nearest[index].distance)
        (ring, part), bridge = waiting.pop(chosen), nearest.pop(chosen)
        if ring is part.outer and part.area <= bridge.distance - 1:
            kept = [index for index, (_, other) in enumerate(waiting) if other is not part]
            waiting, nearest = [waiting[index] for index in kept], [nearest[index] for index in kept]
            continue
        place = int(np.flatnonzero((whole == bridge.from_xy).all(axis=1))[0])
        detour = np.concatenate((ring[bridge.to_place :], ring[: bridge.to_place + 1]))
        whole = np.concatenate((whole[: place + 1], detour, whole[place:]))
        for index, (other, _) in enumerate(waiting):
            if _gap(ring, other) < nearest[index].distance:
                nearest[index] = min(nearest[index], _nearest(ring, other), key=lambda one: one.distance)
    return whole


def simplified(ring: Ring, tolerance_px: float = 0.0) -> Ring:
    """The ring without the points that lie on straight lines, or nearer than `tolerance_px` to one."""
    if tolerance_px > 0 and len(ring) > 2:
        fewer: Ring = np.asarray(cv2.approxPolyDP(ring, tolerance_px, True), np.int32).reshape(-1, 2)
        return fewer if len(fewer) > 2 else ring
    if len(ring) < 3:
        return ring
    after = np.diff(ring, axis=0, append=ring[:1])
    before = np.concatenate((after[-1:], after[:-1]))
    (from_x, from_y), (to_x, to_y) = before.T, after.T
    turns = from_x * to_y != from_y * to_x
    turns |= from_x * to_x + from_y * to_y <= 0  # a ring turns back at the end of a thin line
    kept: Ring = ring[turns]
    return kept


def filled(rings: Sequence[Ring], size_hw: tuple[int, ...]) -> BoolArray:
    """What OpenCV paints for these rings, bool `[h, w]`: the pixels within an odd number of them, and all borders."""
    canvas = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(canvas, [np.ascontiguousarray(ring) for ring in rings], 1)
    return canvas.view(np.bool_)


def filled_inside(ring: Ring, size_hw: tuple[int, ...]) -> BoolArray:
    """What pycocotools paints for a ring at edges, bool `[h, w]`: the pixels with their centers inside."""
    height, width = size_hw
    if len(ring) < 3:
        return np.zeros(size_hw, np.bool_)
    decoded: BoolArray = coco.decode(coco.frPyObjects([ring.ravel().astype(float).tolist()], height, width))[:, :, 0]
    return decoded.astype(np.bool_)


def overlap(one_hw: BoolArray, other_hw: BoolArray) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    either = int(np.count_nonzero(one_hw | other_hw))
    return int(np.count_nonzero(one_hw & other_hw)) / either if either else 1.0


@dataclass(frozen=True)
class _Bridge:
    """From a point of one ring to the point at `to_place` of another. `distance` counts steps from pixel to pixel."""

    distance: int
    from_xy: Ring
    to_place: int


def _gap(one_N2: Ring, other_M2: Ring) -> int:
    """The distance of the boxes of two rings, which their points keep at least."""
    between = np.maximum(one_N2.min(axis=0) - other_M2.max(axis=0), other_M2.min(axis=0) - one_N2.max(axis=0))
    return max(0, int(between.max()))


def _nearest(from_N2: Ring, to_M2: Ring) -> _Bridge:
    """The shortest bridge between two rings.

    Of longer rings only every second, third … point is compared, so that the table of distances stays below 4 million.
    """
    from_step, to_step = (1 + len(ring) // _MOST_COMPARED for ring in (from_N2, to_M2))
    xs_N, ys_N = from_N2[::from_step].T.astype(np.int16)
    xs_M, ys_M = to_M2[::to_step].T.astype(np.int16)
    distances = np.maximum(np.abs(xs_N[:, None] - xs_M), np.abs(ys_N[:, None] - ys_M))
    one, other = np.unravel_index(int(distances.argmin()), distances.shape)
    return _Bridge(int(distances[one, other]), from_N2[one * from_step], int(other) * to_step)


def _at_edges(ring: Ring) -> Ring:
    """A ring through the quarters of pixels as one at their edges. The second quarter in a line has its far edge."""
    moved = (ring + 1) // 2
    before = np.concatenate((moved[-1:], moved[:-1]))
    kept: Ring = moved[(moved[:, 0] != before[:, 0]) | (moved[:, 1] != before[:, 1])]
    return kept
