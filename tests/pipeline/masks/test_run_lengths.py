"""Run lengths of codes, against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.masks.run_lengths import run_lengths


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (64, 1), (17, 31), (300, 200)])
def test_runs_are_those_of_the_mask(size_hw: tuple[int, int]) -> None:
    generator = np.random.default_rng(sum(size_hw))
    for share in (0.0, 0.001, 0.1, 0.5, 0.99, 1.0):
        mask_HW = generator.random(size_hw) < share
        code = coco.encode(np.asfortranarray(mask_HW, np.uint8))
        runs = run_lengths(code["counts"].decode())
        flat = np.repeat(np.arange(len(runs)) % 2, runs)
        np.testing.assert_array_equal(flat, mask_HW.ravel(order="F"))
        again = coco.frPyObjects({"size": list(size_hw), "counts": runs.tolist()}, *size_hw)
        assert again["counts"] == code["counts"]
