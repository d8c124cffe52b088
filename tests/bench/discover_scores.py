"""Tracks of objects that nobody prompted against the true objects of a drawn clip.

An object is found by a track whose mean IoU with it is at least 0.5, over the frames on which either of them shows.
A track lies on the object with which it has the highest mean IoU over its own frames, if that is at least 0.5. A
further track on an object that is found is a duplicate, one on an object that is not found is a fragment, and all
others are false.

Legend: T frames, B objects, N tracks, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import BoolArray, FloatArray

_MIN_IOU = 0.5
_MIN_AREA = 60
_MIN_FRAMES = 3


@dataclass(frozen=True)
class FoundTrack:
    """One track: its mask on every frame, bool `[T, H, W]`, and the frame on which it was found."""

    masks_THW: BoolArray
    found_frame: int


@dataclass(frozen=True)
class ObjectScore:
    """What became of one true object: its best mean IoU with a track, and the wait for it.

    `frames_until_found` counts from the first frame that shows it to the one that found the first of the tracks that
    lie on it; None if none does.
    """

    first_frame: int
    mean_iou: float
    frames_until_found: int | None

    @property
    def is_found(self) -> bool:
        """Whether a track has a mean IoU of 0.5 with it."""
        return self.mean_iou >= _MIN_IOU

    @property
    def is_late(self) -> bool:
        """Whether the first frame does not show it."""
        return self.first_frame > 0


@dataclass(frozen=True)
class ClipScore:
    """The objects of one clip, and its tracks by what they are."""

    objects: tuple[ObjectScore, ...]
    num_tracks: int
    num_duplicates: int
    num_fragments: int
    num_false: int


def score_clip(true_TBHW: BoolArray, tracks: Sequence[FoundTrack], frames: Sequence[int] | None = None) -> ClipScore:
    """Scores the tracks on some frames (default: all); objects of which they show too little do not count."""
    chosen = list(range(len(true_TBHW))) if frames is None else list(frames)
    first_frames = _shown_from(true_TBHW)
    true = {index: true_TBHW[chosen, index] for index in first_frames}
    means = np.zeros((len(tracks), len(true)))
    own_means = np.zeros_like(means)
    for row, track in enumerate(tracks):
        for column, masks_THW in enumerate(true.values()):
            means[row, column], own_means[row, column] = _mean_ious(track.masks_THW[chosen], masks_THW)
    lies_on = [_best(own_means[row]) for row in range(len(tracks))]
    objects = []
    for column, first in enumerate(first_frames.values()):
        on_it = [track.found_frame for track, place in zip(tracks, lies_on, strict=True) if place == column]
        best = float(means[:, column].max(initial=0.0))
        objects.append(ObjectScore(first, best, max(0, min(on_it) - first) if on_it else None))
    found = {column for column, one in enumerate(objects) if one.is_found}
    finders = {int(means[:, column].argmax()) for column in found}
    further = [place for row, place in enumerate(lies_on) if place is not None and row not in finders]
    return ClipScore(
        tuple(objects),
        len(tracks),
        sum(place in found for place in further),
        sum(place not in found for place in further),
        sum(place is None for row, place in enumerate(lies_on) if row not in finders),
    )


def _shown_from(true_TBHW: BoolArray) -> dict[int, int]:
    """The objects that show enough to count, each with the first frame that shows it."""
    areas_TB = true_TBHW.sum(axis=(2, 3))
    counts = (areas_TB >= _MIN_AREA).sum(axis=0) >= _MIN_FRAMES
    return {index: int((areas_TB[:, index] >= _MIN_AREA).argmax()) for index in np.flatnonzero(counts).tolist()}


def _mean_ious(track_THW: BoolArray, true_THW: BoolArray) -> tuple[float, float]:
    """Mean IoU over the frames that show either, and over the frames that show the track."""
    common: FloatArray = (track_THW & true_THW).sum(axis=(1, 2)).astype(np.float32)
    both = (track_THW | true_THW).sum(axis=(1, 2))
    ious, shows = common / np.maximum(both, 1), track_THW.any(axis=(1, 2))
    return (
        float(ious[both > 0].mean()) if both.any() else 0.0,
        float(ious[shows].mean()) if shows.any() else 0.0,
    )


def _best(means: FloatArray) -> int | None:
    return int(means.argmax()) if len(means) and means.max() >= _MIN_IOU else None
