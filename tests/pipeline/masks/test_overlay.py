from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.masks.overlay import color_of, draw_masks, inner_point, outline


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask_HW = np.zeros((60, 80), np.bool_)
    mask_HW[top:bottom, left:right] = True
    return mask_HW


def test_an_object_keeps_its_color_and_neighbors_differ() -> None:
    colors = [color_of(object_id) for object_id in range(-3, 60)]
    assert colors == [color_of(object_id) for object_id in range(-3, 60)]
    assert len(set(colors)) == len(colors)
    for first, second in itertools.pairwise(colors):
        assert np.abs(np.subtract(first, second)).sum() > 60


def test_masks_are_tinted_inside_and_nothing_outside_changes() -> None:
    frame = np.full((60, 80, 3), 100, np.uint8)
    mask = block(10, 20, 50, 60)
    drawn = draw_masks(frame, {1: mask})
    assert np.array_equal(drawn[~mask], frame[~mask])
    assert np.abs(drawn[12:16, 22:26].astype(int) - 100).max() > 20
    assert tuple(drawn[10, 40]) == color_of(1)
    assert np.array_equal(frame, np.full((60, 80, 3), 100, np.uint8))


def test_the_id_is_written_on_the_mask() -> None:
    frame = np.full((60, 80, 3), 100, np.uint8)
    one, eight = (draw_masks(frame, {object_id: block(10, 20, 50, 60)}, strength=0.0) for object_id in (1, 8))
    assert (one[20:40, 30:50] > 190).all(axis=2).any()
    assert not np.array_equal(one[20:40, 35:45], eight[20:40, 35:45])


def test_an_empty_mask_leaves_no_trace() -> None:
    frame = np.full((60, 80, 3), 7, np.uint8)
    assert np.array_equal(draw_masks(frame, {1: np.zeros((60, 80), np.bool_)}), frame)


def test_a_mask_of_another_size_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"object 4: the mask is \[10, 10\], the frame \[60, 80\]"):
        draw_masks(np.zeros((60, 80, 3), np.uint8), {4: np.ones((10, 10), np.bool_)})


def test_an_outline_is_the_rim_of_the_mask_but_not_the_edge_of_the_frame() -> None:
    rim = outline(block(10, 10, 20, 20))
    assert rim.sum() == 36
    assert not outline(np.ones((10, 10), np.bool_)).any()


def test_the_inner_point_of_a_ring_lies_on_the_ring() -> None:
    ring = block(10, 10, 50, 50) & ~block(20, 20, 40, 40)
    x, y = inner_point(ring)
    assert ring[int(y), int(x)]
