"""Masks that are the same thing: which of them stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.proposals.found import FoundMask
from model.proposals.options import Duplicates

Floats = npt.NDArray[np.float32]


def without_duplicates(found: Sequence[FoundMask], scores: Sequence[float], rules: Duplicates) -> list[FoundMask]:
    """The masks that stay, the highest score first; of equal scores the earlier one.

    A mask goes where one with a higher score stays and their IoU is above `rules.max_iou`, or, with `nested="drop"`,
    where one of both lies within the other.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = [found[index] for index in order.tolist()]
    if not ranked:
        return []
    boxes = _Boxes(ranked)
    stays = np.ones(len(ranked), np.bool_)
    for index, mask in enumerate(ranked):
        if not stays[index]:
            continue
        rivals = np.flatnonzero(stays[index + 1 :]) + index + 1
        if rules.by == "boxes":
            stays[rivals[boxes.ious(index, rivals) > np.float32(rules.max_iou)]] = False
        for rival in boxes.possible(index, rivals, rules) if rules.by == "masks" or rules.nested == "drop" else ():
            stays[rival] &= not _is_same(mask, ranked[rival], rules)
    return [mask for mask, is_there in zip(ranked, stays, strict=True) if is_there]


def _is_same(one: FoundMask, other: FoundMask, rules: Duplicates) -> bool:
    common = one.common(other)
    smaller, both = min(one.area, other.area), one.area + other.area - common
    is_nested = rules.nested == "drop" and common > rules.max_inside * smaller
    return is_nested or (rules.by == "masks" and common > rules.max_iou * both)


class _Boxes:
    """Boxes and areas of masks, which rule out nearly all pairs before any mask is looked at."""

    def __init__(self, masks: Sequence[FoundMask]) -> None:
        self._xyxy = np.array([mask.box_xyxy for mask in masks], np.float32)
        self._areas = np.array([mask.area for mask in masks], np.float64)

    def ious(self, index: int, others: npt.NDArray[np.intp]) -> Floats:
        """IoU of boxes as `torchvision` computes it of what `sam2` gives: corners are the outermost pixels."""
        outermost = self._xyxy - np.array([0, 0, 1, 1], np.float32)
        common = _overlap(outermost[index], outermost[others])
        sizes = outermost[:, 2:] - outermost[:, :2]
        areas: Floats = sizes[:, 0] * sizes[:, 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            ious: Floats = common / (areas[index] + areas[others] - common)
        return ious

    def possible(self, index: int, others: npt.NDArray[np.intp], rules: Duplicates) -> npt.NDArray[np.intp]:
        """Those of the others whose box and area leave it open whether they are the same."""
        own, theirs = self._areas[index], self._areas[others]
        most = np.minimum(_overlap(self._xyxy[index], self._xyxy[others]), np.minimum(own, theirs))
        is_possible = most > rules.max_iou * (own + theirs - most)
        if rules.nested == "drop":
            is_possible |= most > rules.max_inside * np.minimum(own, theirs)
        chosen: npt.NDArray[np.intp] = others[is_possible]
        return chosen


def _overlap(box: Floats, boxes: Floats) -> Floats:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    sides = np.clip(high - low, 0, None)
    overlap: Floats = sides[:, 0] * sides[:, 1]
    return overlap
