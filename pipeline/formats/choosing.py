"""Which labels become prompts: of each object the first, the best, one of every N frames, or all.

All labels are looked at as columns of numbers, so that a million of them are a few arrays.

Legend: N labels, of which some are chosen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, Int64Array

NO_OBJECT = -1
_EVERY = re.compile(r"every:([1-9]\d*)")


@dataclass(frozen=True)
class LabelColumns:
    """What is known of all labels, `[N]` each, in the order in which they were read.

    `objects` number the objects of all videos, `NO_OBJECT` where nothing says which object it is. `positions` are
    frames or seconds. `scores` are NaN where there is none. `areas` are in pixels.
    """

    videos: Int64Array
    objects: Int64Array
    positions: Float64Array
    scores: Float64Array
    areas: Float64Array


def every_of(frames: str) -> int | None:
    """N of `every:N`, None for another word of `frames=`. Raises `ValueError` for what is none."""
    if frames in ("first", "best", "all"):
        return None
    found = _EVERY.fullmatch(frames)
    if found is None:
        raise ValueError(f"frames={frames}: allowed are first, best, all and every:N, as in every:30")
    return int(found[1])


def choose(columns: LabelColumns, frames: str) -> Int64Array:
    """The numbers of the labels that become prompts, in order of video, object and frame.

    Of an object, `first` takes the first frame, `every:N` the first in each N frames from there on, `best` the one with
    the highest score (then the largest, then the first). Detections without objects are objects by themselves, so that
    all of one frame of a video are taken: of the first frame with some, or of the one with the highest sum of scores.
    At most one label of an object and frame is taken, the one with the higher score.
    """
    every = every_of(frames)
    known = np.flatnonzero(columns.objects != NO_OBJECT)
    unknown = np.flatnonzero(columns.objects == NO_OBJECT)
    chosen = _of_objects(columns, known, frames, every)
    loose = _of_frames(columns, unknown, is_best=frames == "best")
    return np.concatenate([chosen, loose])


def num_doubled(columns: LabelColumns) -> int:
    """How many labels there are of an object and frame that another label has too."""
    known = np.flatnonzero(columns.objects != NO_OBJECT)
    objects, positions = columns.objects[known], columns.positions[known]
    order = np.lexsort((positions, objects))
    return len(known) - int(_is_first(objects[order], positions[order]).sum())


def videos_with_several_frames(columns: LabelColumns) -> Int64Array:
    """Videos whose detections without objects lie on more than one frame."""
    loose = np.flatnonzero(columns.objects == NO_OBJECT)
    videos, positions = columns.videos[loose], columns.positions[loose]
    order = np.lexsort((positions, videos))
    frames = videos[order][_is_first(videos[order], positions[order])]
    several: Int64Array = frames[1:][frames[1:] == frames[:-1]]
    return np.unique(several)


def _of_objects(columns: LabelColumns, among: Int64Array, frames: str, every: int | None) -> Int64Array:
    if not len(among):
        return among
    objects, positions = columns.objects[among], columns.positions[among]
    merit = _merit(columns.scores[among])
    if frames == "best":
        order = np.lexsort((among, positions, -columns.areas[among], -merit, objects))
        return among[order][_is_first(objects[order])]
    order = np.lexsort((among, -columns.areas[among], -merit, positions, objects))
    among, objects, positions = among[order], objects[order], positions[order]
    starts = _is_first(objects)
    if frames == "first":
        return among[starts]
    if every is None:
        return among[_is_first(objects, positions)]
    firsts = positions[starts][np.cumsum(starts) - 1]
    return among[_is_first(objects, (positions - firsts) // every)]


def _of_frames(columns: LabelColumns, among: Int64Array, *, is_best: bool) -> Int64Array:
    """All labels of one frame of each video, the better ones first."""
    if not len(among):
        return among
    merit = _merit(columns.scores[among])
    order = np.lexsort((among, -merit, columns.positions[among], columns.videos[among]))
    among, merit = among[order], merit[order]
    videos, positions = columns.videos[among], columns.positions[among]
    starts = np.flatnonzero(_is_first(videos, positions))
    lengths = np.diff(starts, append=len(among))
    group_videos = videos[starts]
    if is_best:
        has_scores = np.isfinite(columns.scores[among]).any()
        sums = np.add.reduceat(merit, starts) if has_scores else lengths.astype(np.float64)
        best_first = np.lexsort((positions[starts], -sums, group_videos))
        groups = best_first[_is_first(group_videos[best_first])]
    else:
        groups = np.flatnonzero(_is_first(group_videos))
    taken = np.zeros(len(starts), dtype=bool)
    taken[groups] = True
    chosen: Int64Array = among[np.repeat(taken, lengths)]
    return chosen


def _merit(scores: Float64Array) -> Float64Array:
    merit: Float64Array = np.where(np.isnan(scores), 0.0, scores)
    return merit


def _is_first(*columns: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Where a row differs from the one before it."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
