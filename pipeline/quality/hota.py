"""HOTA (Luiten et al., 2021) of masks, computed by trackeval from the overlaps of each frame. Nothing is written.

A detection is a mask that is not empty; the similarity of two is their IoU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.arrays import Int64Array
from pipeline.errors import ConfigError
from pipeline.quality.alignment import AlignedFrames, FrameOverlap, frame_overlaps
from pipeline.quality.masks import VideoMasks


class Hota:
    """Adds up videos. Raises `ConfigError` if trackeval is not installed."""

    def __init__(self) -> None:
        try:
            from trackeval.metrics.hota import HOTA
        except ImportError as error:
            raise ConfigError(
                'hota=true needs trackeval: pip install "maskmill[evaluate]" and pip install --no-deps trackeval'
            ) from error
        self._metric = HOTA()
        self._total: dict[str, Any] | None = None

    def add(
        self,
        predicted: VideoMasks,
        true: VideoMasks,
        frames: AlignedFrames,
        told: Mapping[str, str | None] | None = None,
    ) -> None:
        """Count one video, on its paired frames.

        `told` has the predicted object of each true one. With it, both are left out of the frames on which the
        predicted one has a prompt.
        """
        overlaps = list(frame_overlaps(true, predicted, frames))
        if told is not None and predicted.tracks:
            overlaps = _without_prompted(overlaps, predicted, true, frames, told)
        true_ids, num_true = _numbered([shown.true_A for shown in overlaps])
        predicted_ids, num_predicted = _numbered([shown.predicted_B for shown in overlaps])
        found = self._metric.eval_sequence(
            {
                "num_timesteps": len(overlaps),
                "gt_ids": true_ids,
                "tracker_ids": predicted_ids,
                "similarity_scores": [shown.iou_AB for shown in overlaps],
                "num_gt_ids": num_true,
                "num_tracker_ids": num_predicted,
                "num_gt_dets": sum(map(len, true_ids)),
                "num_tracker_dets": sum(map(len, predicted_ids)),
            }
        )
        self._add(found)

    def add_total(self, other: Hota) -> None:
        """Count the videos that another one has added up."""
        if other._total is not None:
            self._add(other._total)

    def _add(self, found: dict[str, Any]) -> None:
        self._total = found if self._total is None else self._metric.combine_sequences({"a": self._total, "b": found})

    def result(self) -> dict[str, float] | None:
        """HOTA, DetA, AssA and LocA, 0 … 1, means over the thresholds of IoU 0.05 … 0.95; None without any video."""
        if self._total is None:
            return None
        names = {"hota": "HOTA", "det_a": "DetA", "ass_a": "AssA", "loc_a": "LocA"}
        return {name: float(np.mean(self._total[theirs])) for name, theirs in names.items()}


def _without_prompted(
    overlaps: Sequence[FrameOverlap],
    predicted: VideoMasks,
    true: VideoMasks,
    frames: AlignedFrames,
    told: Mapping[str, str | None],
) -> list[FrameOverlap]:
    names = list(predicted.tracks)
    prompted_BT = np.stack([predicted.tracks[name].is_prompted_on(frames.predicted_T) for name in names])
    nobody = np.zeros((1, prompted_BT.shape[1]), np.bool_)
    prompted_BT = np.concatenate((prompted_BT, nobody))  # the last row is that of true objects without a predicted one
    of_true = np.array([-1 if other is None else names.index(other) for other in map(told.get, true.tracks)], np.int64)
    kept = []
    for place, shown in enumerate(overlaps):
        keeps_A = ~prompted_BT[of_true[shown.true_A], place]
        keeps_B = ~prompted_BT[shown.predicted_B, place]
        kept.append(
            FrameOverlap(
                shown.true_A[keeps_A],
                shown.predicted_B[keeps_B],
                shown.true_areas_A[keeps_A],
                shown.predicted_areas_B[keeps_B],
                shown.iou_AB[np.ix_(keeps_A, keeps_B)],
            )
        )
    return kept


def _numbered(places: list[Int64Array]) -> tuple[list[Int64Array], int]:
    """Places without gaps, because trackeval divides zero by zero for an object that never shows."""
    known = np.unique(np.concatenate([*places, np.zeros(0, np.int64)]))
    return [np.searchsorted(known, one) for one in places], len(known)
