from __future__ import annotations

import numpy as np
import pytest

from pipeline.masks.shrink import shrunk, shrunk_mask


@pytest.mark.parametrize(
    ("size_hw", "most_pixels", "expected"),
    [((48, 64), 32, (24, 32)), ((64, 48), 32, (32, 24)), ((48, 64), 64, (48, 64)), ((1, 900), 90, (1, 90))],
)
def test_a_frame_keeps_its_shape_and_is_never_made_larger(
    size_hw: tuple[int, int], most_pixels: int, expected: tuple[int, int]
) -> None:
    frame = np.full((*size_hw, 3), 7, np.uint8)
    small = shrunk(frame, most_pixels)
    assert small.shape == (*expected, 3)
    assert (small == 7).all()
    assert shrunk(frame, None) is frame


def test_a_pixel_of_a_small_mask_is_covered_if_a_quarter_of_it_was() -> None:
    mask = np.random.default_rng(0).random((40, 60)) < 0.3
    share = mask.reshape(10, 4, 15, 4).mean(axis=(1, 3))
    np.testing.assert_array_equal(shrunk_mask(mask, (10, 15)), share >= 0.25)
    assert shrunk_mask(mask, (40, 60)) is mask


def test_a_thin_line_does_not_vanish() -> None:
    mask = np.zeros((400, 400), bool)
    mask[:, 100:102] = True
    assert shrunk_mask(mask, (50, 50)).any(axis=1).all()
