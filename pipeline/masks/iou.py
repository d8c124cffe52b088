"""How well predicted masks match true ones. Legend: T frames, B objects, H, W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray


@dataclass(frozen=True)
class MaskScores:
    """Scores of one video, per frame and object.

    `iou_TB` is intersection over union, 1 where both masks are empty. `visible_TB` says where the true mask is not
    empty, `agrees_TB` where both masks are empty or neither is, `labeled_TB` which masks count.
    """

    iou_TB: npt.NDArray[np.float64]
    visible_TB: BoolArray
    agrees_TB: BoolArray
    labeled_TB: BoolArray

    def object_mean_iou(self, number: int) -> float:
        """Mean IoU of the object at place `number` over its labeled, visible frames; NaN if there is none."""
        return _mean(self.iou_TB[(self.visible_TB & self.labeled_TB)[:, number], number])


def score_masks(predicted_TBHW: BoolArray, true_TBHW: BoolArray, labeled_TB: BoolArray | None = None) -> MaskScores:
    """Compare two stacks of masks. Without `labeled_TB` all masks count. Raises `ValueError` if the shapes differ."""
    if predicted_TBHW.shape != true_TBHW.shape or true_TBHW.ndim != 4:
        raise ValueError(
            f"masks: expected two stacks of one shape [T, B, H, W], got predicted {list(predicted_TBHW.shape)} "
            f"and true {list(true_TBHW.shape)}"
        )
    if labeled_TB is None:
        labeled_TB = np.ones(true_TBHW.shape[:2], np.bool_)
    common_TB = (predicted_TBHW & true_TBHW).sum(axis=(2, 3))
    either_TB = (predicted_TBHW | true_TBHW).sum(axis=(2, 3))
    iou_TB = np.where(either_TB > 0, common_TB / np.maximum(either_TB, 1), 1.0)
    visible_TB: BoolArray = np.any(true_TBHW, axis=(2, 3))
    agrees_TB: BoolArray = np.equal(visible_TB, np.any(predicted_TBHW, axis=(2, 3)))
    return MaskScores(iou_TB, visible_TB, agrees_TB, labeled_TB)


def mean_iou(scores: Sequence[MaskScores]) -> float:
    """Mean IoU over all labeled, visible masks of these videos; NaN if there is none."""
    parts = [one.iou_TB[one.visible_TB & one.labeled_TB] for one in scores]
    return _mean(np.concatenate(parts)) if parts else float("nan")


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
