"""The click that a mask becomes lies where scipy says that the mask is thickest."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.formats.label import LabelMask
from pipeline.formats.prompt_values import point_inside
from tests.support.masks import rle


def _blobs(seed: int) -> np.ndarray:
    from scipy import ndimage  # here, because each process that collects tests would import it

    noise = np.random.default_rng(seed).random((60, 80))
    return np.asarray(ndimage.gaussian_filter(noise, 4) > 0.5)


def _block(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask_HW = np.zeros((60, 80), bool)
    mask_HW[top : top + height, left : left + width] = True
    return mask_HW


@pytest.mark.parametrize(
    "mask_HW",
    [*range(5), _block(0, 0, 60, 80), _block(3, 5, 4, 31), _block(59, 79, 1, 1), _block(20, 0, 1, 80)],
)
def test_a_click_is_on_the_pixel_farthest_from_the_border(mask_HW: np.ndarray | int) -> None:
    """A number is the seed of a mask of blobs."""
    from scipy import ndimage

    if isinstance(mask_HW, int):
        mask_HW = _blobs(mask_HW)
    code = rle(mask_HW)
    x, y = point_inside(LabelMask((60, 80), code["counts"]))
    depth_HW = ndimage.distance_transform_edt(np.pad(mask_HW, 1))[1:-1, 1:-1]
    deepest = np.argwhere(depth_HW > depth_HW.max() - 1e-9)
    from_center = np.linalg.norm(deepest - np.argwhere(mask_HW).mean(axis=0), axis=1)
    assert [y - 0.5, x - 0.5] == deepest[from_center.argmin()].tolist()
