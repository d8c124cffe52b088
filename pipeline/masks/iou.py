"""How well predicted masks match true ones. Legend: T frames, B objects, H, W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray


@dataclass(frozen=True)
class MaskScores:
    """Scores of one video.

    `iou_TB` is intersection over union per frame and object (1 where both masks are empty), `visible_TB` says where the
    true mask is not empty, `agrees_TB` where both masks say the same about that, `labelled_TB` which masks count.
    """

    iou_TB: npt.NDArray[np.float64]
    visible_TB: BoolArray
    agrees_TB: BoolArray
    labelled_TB: BoolArray

    def object_mean_iou(self, number: int) -> float:
        """Mean of the object at this place over its labelled, visible frames; NaN if there is none."""
        return _mean(self.iou_TB[(self.visible_TB & self.labelled_TB)[:, number], number])


def score_masks(predicted_TBHW: BoolArray, true_TBHW: BoolArray, labelled_TB: BoolArray | None = None) -> MaskScores:
    """Compares two stacks of masks; all count unless `labelled_TB` says which. Raises `ValueError` if shapes differ."""
    if predicted_TBHW.shape != true_TBHW.shape or true_TBHW.ndim != 4:
        raise ValueError(f"predicted masks are {list(predicted_TBHW.shape)}, true ones {list(true_TBHW.shape)}")
    if labelled_TB is None:
        labelled_TB = np.ones(true_TBHW.shape[:2], np.bool_)
    common_TB = (predicted_TBHW & true_TBHW).sum(axis=(2, 3))
    either_TB = (predicted_TBHW | true_TBHW).sum(axis=(2, 3))
    iou_TB = np.where(either_TB > 0, common_TB / np.maximum(either_TB, 1), 1.0)
    visible_TB: BoolArray = np.any(true_TBHW, axis=(2, 3))
    agrees_TB: BoolArray = np.equal(visible_TB, np.any(predicted_TBHW, axis=(2, 3)))
    return MaskScores(iou_TB, visible_TB, agrees_TB, labelled_TB)


def mean_iou(scores: Sequence[MaskScores]) -> float:
    """Mean over all labelled, visible masks of these videos; NaN if there is none."""
    parts = [one.iou_TB[one.visible_TB & one.labelled_TB] for one in scores]
    return _mean(np.concatenate(parts)) if parts else float("nan")


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
