"""Pixels of a box from its code alone, held against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pipeline.masks.crop import box_pixels, rle_of_box


@pytest.mark.slow
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
    # Also of a box that is larger than the mask needs.
    for first, box in (((left, top), found), ((left, 0), mask_HW[:, left : left + box_width]), ((0, 0), mask_HW)):
        code = rle_of_box(box, first, (height, width))
        assert (code.counts, code.area) == (rle["counts"], mask_HW.sum())
        assert code.bbox_xywh == (left, top, box_width, box_height)


def test_a_pixel_among_millions_is_found() -> None:
    mask_HW = np.zeros((4000, 6000), np.uint8, order="F")
    mask_HW[3000, 5000] = 1
    rle = coco.encode(mask_HW)
    rle["counts"] = rle["counts"].decode()
    assert box_pixels(rle, (5000, 3000, 1, 1)).tolist() == [[True]]
