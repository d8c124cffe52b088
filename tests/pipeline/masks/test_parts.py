"""Connected parts of masks, counted on their runs, are those that OpenCV counts on their pixels."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.masks.parts import num_parts
from pipeline.masks.rle import Runs


def runs_of(mask_HW: np.ndarray) -> Runs:
    flat = mask_HW.T.reshape(-1).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat, prepend=0))
    return Runs(np.diff(edges, prepend=0, append=flat.size).astype(np.int64))


def counted_by_opencv(mask_HW: np.ndarray) -> int:
    return int(cv2.connectedComponents(mask_HW.astype(np.uint8), connectivity=8)[0]) - 1


@st.composite
def masks(draw: st.DrawFn) -> list[np.ndarray]:
    """Up to four masks of one size, with few or many pixels set."""
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 14)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [rng.random((height, width)) < draw(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])) for _ in range(count)]


@settings(max_examples=60, deadline=None)
@given(masks())
def test_parts_are_those_of_opencv(drawn: list[np.ndarray]) -> None:
    size_hw = drawn[0].shape
    found = num_parts([runs_of(mask) for mask in drawn], size_hw)
    assert found == [counted_by_opencv(mask) for mask in drawn]


def test_a_spiral_is_one_part_and_its_pieces_are_many() -> None:
    spiral = np.zeros((41, 41), bool)
    for step in range(0, 20, 2):
        spiral[step, step : 41 - step] = spiral[step : 41 - step, 40 - step] = True
        spiral[40 - step, step : 41 - step] = spiral[step + 2 : 41 - step, step] = True
        spiral[step + 2, step + 1] = True
    cut = spiral.copy()
    cut[10, 20] = False
    cut[:, 3] = False
    for mask in (spiral, cut):
        assert num_parts([runs_of(mask)], mask.shape) == [counted_by_opencv(mask)]
