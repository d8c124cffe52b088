"""Pixels of a box from its code alone, held against pycocotools."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pipeline.masks.crop import box_pixels, run_lengths
from pipeline.masks.rle import parse_counts


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]), st.integers(0, 2**32 - 1))
def test_a_box_has_the_pixels_that_the_whole_mask_has_there(height: int, width: int, share: float, seed: int) -> None:
    mask_HW = np.random.default_rng(seed).random((height, width)) < share
    rle = coco.encode(np.asfortranarray(mask_HW, np.uint8))
    left, top, box_width, box_height = (int(value) for value in coco.toBbox(rle))
    rle["counts"] = rle["counts"].decode()
    found = box_pixels(rle, (left, top, box_width, box_height))
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, mask_HW[top : top + box_height, left : left + box_width])
    np.testing.assert_array_equal(run_lengths(rle["counts"]), parse_counts(rle["counts"], height * width))


def test_runs_of_millions_of_pixels_are_read() -> None:
    mask_HW = np.zeros((4000, 6000), np.uint8, order="F")
    mask_HW[3000, 5000] = 1
    rle = coco.encode(mask_HW)
    rle["counts"] = rle["counts"].decode()
    assert run_lengths(rle["counts"]).tolist() == [5000 * 4000 + 3000, 1, 24_000_000 - 20_003_001]
    assert box_pixels(rle, (5000, 3000, 1, 1)).tolist() == [[True]]
