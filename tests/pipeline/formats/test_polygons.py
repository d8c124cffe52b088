"""Polygons of masks, filled by the programs that read them: OpenCV and pycocotools."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pipeline.formats.polygons import Ring, edge_outline, outline, parts_of, simplified

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> np.ndarray:
    """Ellipses with holes, specks, thin lines, whole frames; never empty."""
    random = np.random.default_rng(seed)
    height, width = (int(value) for value in random.integers(1, 36, 2))
    mask = np.zeros((height, width), np.uint8)

    def point() -> tuple[int, int]:
        return int(random.integers(-2, width + 2)), int(random.integers(-2, height + 2))

    for _ in range(int(random.integers(1, 4))):
        axes = int(random.integers(0, 14)), int(random.integers(0, 14))
        cv2.ellipse(mask, point(), axes, int(random.integers(180)), 0, 360, 1, -1)
    if random.random() < 0.3:
        cv2.line(mask, point(), point(), 1, 1)
    if random.random() < 0.5:
        cv2.circle(mask, point(), int(random.integers(5)), 0, -1)
    if random.random() < 0.3:
        mask ^= (random.random(mask.shape) < 0.05).astype(np.uint8)
    mask[int(random.integers(height)), int(random.integers(width))] = 1
    return mask.astype(bool)


def filled_by_opencv(rings: list[Ring], shape: tuple[int, ...]) -> np.ndarray:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [ring.reshape(-1, 1, 2) for ring in rings], 1)
    return canvas.astype(bool)


def filled_by_pycocotools(ring: Ring, shape: tuple[int, ...]) -> np.ndarray:
    (code,) = coco.frPyObjects([ring.ravel().astype(float).tolist()], *shape)
    return coco.decode(code).astype(bool)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_all_rings_of_a_mask_together_give_back_every_pixel(seed: int) -> None:
    mask = drawn(seed)
    parts = parts_of(mask)
    rings = [simplified(ring) for part in parts for ring in (part.outer, *part.holes)]
    np.testing.assert_array_equal(filled_by_opencv(rings, mask.shape), mask)
    whole = np.zeros_like(mask)
    for part in parts_of(mask, at_edges=True):
        whole |= filled_by_pycocotools(simplified(part.outer), mask.shape)
        for hole in part.holes:
            whole &= ~filled_by_pycocotools(simplified(hole), mask.shape)
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    assert len(parts) == count - 1
    # A part may lie in a hole of another one, where the order above wipes it out.
    assert not (whole & ~mask).any()
    assert len(parts) > 1 or np.array_equal(whole, mask)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_an_outline_tells_what_its_readers_fill(seed: int) -> None:
    mask = drawn(seed)
    joined, largest, edges = outline(mask, joined=True), outline(mask, joined=False), edge_outline(mask)
    assert joined.iou == pytest.approx(iou(mask, filled_by_opencv([joined.ring], mask.shape)))
    assert largest.iou == pytest.approx(iou(mask, filled_by_opencv([largest.ring], mask.shape)))
    assert edges.iou == pytest.approx(iou(mask, filled_by_pycocotools(edges.ring, mask.shape)))
    if largest.num_parts == 1 and largest.num_holes == 0:
        assert joined.iou == largest.iou == edges.iou == 1
    assert joined.iou >= largest.iou


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((1, 1), bool),
        np.ones((1, 9), bool),
        np.ones((9, 1), bool),
        np.eye(7, dtype=bool),
        np.ones((11, 6), bool),
        np.array([[1, 0], [1, 1]], bool),
    ],
    ids=["pixel", "row", "column", "diagonal", "frame", "corner"],
)
def test_small_and_thin_masks_come_back_whole(mask: np.ndarray) -> None:
    ring = outline(mask, joined=True).ring
    np.testing.assert_array_equal(filled_by_opencv([ring], mask.shape), mask)
    np.testing.assert_array_equal(filled_by_pycocotools(edge_outline(mask).ring, mask.shape), mask)


def test_a_ring_with_a_hole_and_a_far_part_is_one_polygon() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:30, 5:30] = True
    mask[12:20, 12:20] = False
    mask[10:25, 40:55] = True
    mask[38, 58] = True
    found = outline(mask, joined=True)
    assert (found.num_parts, found.num_holes) == (3, 1)
    painted = filled_by_opencv([found.ring], mask.shape)
    # The bridge between the two boxes is 10 pixels long; the pixel in the corner is farther away than it is large.
    assert (painted & ~mask).sum() == 10
    np.testing.assert_array_equal(np.argwhere(mask & ~painted), [[38, 58]])
    largest = outline(mask, joined=False)
    assert largest.iou == pytest.approx(561 / (561 + 64 + 15 * 15 + 1))


def test_a_tolerance_leaves_points_out_and_stays_near_the_border() -> None:
    mask = np.zeros((90, 90), np.uint8)
    cv2.circle(mask, (45, 45), 40, 1, -1)
    exact, rough = (outline(mask.astype(bool), joined=True, tolerance_px=px) for px in (0.0, 2.0))
    assert exact.iou == 1
    assert len(rough.ring) < len(exact.ring) / 4
    assert 0.93 < rough.iou < 1
    far = [cv2.pointPolygonTest(rough.ring, (float(x), float(y)), True) for x, y in exact.ring]
    assert max(map(abs, far)) <= 2.01
