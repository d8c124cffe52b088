"""How well predicted masks match true ones. Legend: T frames, B objects, H, W pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray


@dataclass(frozen=True)
class MaskScores:
    """Scores of one video.

    `iou_TB` is intersection over union per frame and object (1 where both masks are empty), `visible_TB` says where the
    true mask is not empty, `agrees_TB` where both masks say the same about that.
    """

    iou_TB: npt.NDArray[np.float64]
    visible_TB: BoolArray
    agrees_TB: BoolArray

    @property
    def mean_iou(self) -> float:
        """Mean over the frames and objects that are visible."""
        return float(self.iou_TB[self.visible_TB].mean())

    def object_mean_iou(self, number: int) -> float:
        """Mean of the object at this place over the frames where it is visible."""
        return float(self.iou_TB[self.visible_TB[:, number], number].mean())


def score_masks(predicted_TBHW: BoolArray, true_TBHW: BoolArray) -> MaskScores:
    """Compares two stacks of masks. Raises `ValueError` if their shapes differ or no true mask has a pixel."""
    if predicted_TBHW.shape != true_TBHW.shape:
        raise ValueError(f"predicted masks are {list(predicted_TBHW.shape)}, true ones {list(true_TBHW.shape)}")
    if not true_TBHW.any():
        raise ValueError("all true masks are empty: there is nothing to compare with")
    common_TB = (predicted_TBHW & true_TBHW).sum(axis=(2, 3))
    either_TB = (predicted_TBHW | true_TBHW).sum(axis=(2, 3))
    iou_TB = np.where(either_TB > 0, common_TB / np.maximum(either_TB, 1), 1.0)
    visible_TB: BoolArray = np.any(true_TBHW, axis=(2, 3))
    agrees_TB: BoolArray = np.equal(visible_TB, np.any(predicted_TBHW, axis=(2, 3)))
    return MaskScores(iou_TB, visible_TB, agrees_TB)
