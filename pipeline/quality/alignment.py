"""Pairs the frames and the objects of two sides that have masks of the same video.

Legend: T frames that both sides have labeled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pycocotools import mask as coco

from pipeline.arrays import Float64Array, Int64Array
from pipeline.errors import ConfigError, InputError
from pipeline.quality.masks import VideoMasks
from pipeline.quality.runs import read_runs

FrameMatch = Literal["index", "time"]
ObjectMatch = Literal["id", "iou"]


@dataclass(frozen=True)
class AlignedFrames:
    """Frames that both sides have labeled: their indexes on either side, `[T]`.

    `num_unpaired` are annotated frames that the other side has not labeled.
    """

    predicted_T: Int64Array
    true_T: Int64Array
    num_unpaired: int


def align_frames(predicted: VideoMasks, true: VideoMasks, match: FrameMatch, side: str) -> AlignedFrames:
    """Pair annotated frames with labeled ones, by index, or by the nearest time within half a frame of the film.

    `side` says in messages who has the annotated frames. Raises `InputError` where the truth or the output has no
    numbers of frames, or no times.
    """
    if match == "index":
        if not true.is_numbered:
            raise InputError(f"{side}: video {true.video_id!r} has frames by time alone; give frames=time")
        is_paired = np.isin(true.frames_T, predicted.frames_T)
        both = true.frames_T[is_paired]
        return AlignedFrames(both, both, int((~is_paired).sum()))
    places_T = _nearest(predicted, true, side)
    is_paired = places_T >= 0
    return AlignedFrames(predicted.frames_T[places_T[is_paired]], true.frames_T[is_paired], int((~is_paired).sum()))


def _nearest(predicted: VideoMasks, true: VideoMasks, side: str) -> Int64Array:
    """For each annotated frame the place of the labeled frame nearest in time; -1 where none is near."""
    pts_T = _with_guesses(predicted)
    known = np.flatnonzero(~np.isnan(pts_T))
    if np.isnan(true.pts_T).any():
        raise InputError(f"{side}: video {true.video_id!r} has frames without a time; give frames=index")
    if not len(known):
        raise InputError(f"video {true.video_id!r}: the output knows no times of its frames; give frames=index")
    known = known[np.argsort(pts_T[known], kind="stable")]  # times of damaged files fall now and then
    times = pts_T[known]
    after = np.clip(np.searchsorted(times, true.pts_T), 1, max(len(times) - 1, 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times[before] - true.pts_T) <= np.abs(times[after] - true.pts_T), before, after)
    off = np.abs(times[nearest] - true.pts_T)
    found = np.where(off <= half_a_frame(predicted), known[nearest], -1)
    # Of several annotated frames near to one labeled frame the nearest one has it; of two as near, the first.
    by_distance = np.lexsort((off, found))
    is_nearest = np.zeros(len(found), np.bool_)
    is_nearest[by_distance[np.unique(found[by_distance], return_index=True)[1]]] = True
    return np.where(is_nearest, found, -1)


def _with_guesses(video: VideoMasks) -> Float64Array:
    """The times of its frames, those that nothing tells by the frames around, `[T]`.

    Rows tell times, and a frame that was labeled before any object had begun has none. All masks of the output are
    empty there, so that a guess which is off by a frame changes no score.
    """
    known = np.flatnonzero(~np.isnan(video.pts_T))
    if len(known) < 2:
        return video.pts_T
    frames, times = video.frames_T[known], video.pts_T[known]
    step = (times[-1] - times[0]) / (frames[-1] - frames[0])
    beyond = np.minimum(video.frames_T - frames[0], 0) + np.maximum(video.frames_T - frames[-1], 0)
    guessed: Float64Array = np.interp(video.frames_T, frames, times) + beyond * step
    return np.where(np.isnan(video.pts_T), guessed, video.pts_T)


def half_a_frame(video: VideoMasks) -> float:
    """Half of the smallest time from one frame of the film to the next; half a second where nothing tells.

    Labeled frames are several frames of the film apart where only each so many-th was labeled: their numbers say how
    many. Two frames may have one time, and times of damaged files fall now and then.
    """
    known = np.flatnonzero(~np.isnan(video.pts_T))
    steps = np.diff(video.pts_T[known]) / np.diff(video.frames_T[known])
    steps = steps[steps > 0]
    return float(steps.min()) / 2 if len(steps) else 0.5


def match_objects(
    predicted: VideoMasks, true: VideoMasks, frames: AlignedFrames, match: ObjectMatch
) -> dict[str, str | None]:
    """The predicted object of each true one, or None. By `iou` the pairs are chosen that overlap most in all.

    The overlap of two objects is pixels that they share on all frames over pixels of either.
    """
    if match == "id":
        return {object_id: object_id if object_id in predicted.tracks else None for object_id in true.tracks}
    rows, columns = list(true.tracks), list(predicted.tracks)
    common, true_areas, predicted_areas = (np.zeros((len(rows), len(columns))) for _ in range(3))
    for shown in frame_overlaps(true, predicted, frames):
        place = np.ix_(shown.true_A, shown.predicted_B)
        both = shown.true_areas_A[:, None] + shown.predicted_areas_B
        common[place] += both * shown.iou_AB / (1 + shown.iou_AB)  # IoU = common / (both - common)
        true_areas[shown.true_A] += shown.true_areas_A[:, None]
        predicted_areas[:, shown.predicted_B] += shown.predicted_areas_B
    overlaps = common / np.maximum(true_areas + predicted_areas - common, 1)
    matched: dict[str, str | None] = dict.fromkeys(rows)
    for row, column in assign_most(overlaps):
        if overlaps[row, column] > 0:
            matched[rows[row]] = columns[column]
    return matched


@dataclass(frozen=True)
class FrameOverlap:
    """The objects that show on one frame: A true and B predicted ones, by their places among the video's tracks."""

    true_A: Int64Array
    predicted_B: Int64Array
    true_areas_A: Float64Array
    predicted_areas_B: Float64Array
    iou_AB: Float64Array


def frame_overlaps(true: VideoMasks, predicted: VideoMasks, frames: AlignedFrames) -> Iterator[FrameOverlap]:
    """IoU of all objects that show on a frame, frame by frame."""
    shown_true, shown_predicted = _shown(true, frames.true_T), _shown(predicted, frames.predicted_T)
    for (places_a, codes_a), (places_b, codes_b) in zip(shown_true, shown_predicted, strict=True):
        iou = np.zeros((len(codes_a), len(codes_b)))
        if codes_a and codes_b:
            iou = np.asarray(coco.iou(codes_b, codes_a, [0] * len(codes_a))).T
        yield FrameOverlap(
            np.array(places_a, np.int64), np.array(places_b, np.int64), _areas(codes_a), _areas(codes_b), iou
        )


_Shown = tuple[list[int], list[dict[str, object]]]


def _shown(video: VideoMasks, frames: Int64Array) -> list[_Shown]:
    """For each frame the places of the objects that show on it, and their codes."""
    shown: list[_Shown] = [([], []) for _ in frames]
    if video.size_hw is None:
        return shown
    for place, track in enumerate(video.tracks.values()):
        counts = track.counts_on(frames)
        areas = read_runs(video.size_hw, counts).areas()  # pycocotools trusts the codes that it is given
        for number in np.flatnonzero(areas).tolist():
            places, codes = shown[number]
            places.append(place)
            codes.append({"size": list(video.size_hw), "counts": counts[number].as_py()})
    return shown


def _areas(codes: list[dict[str, object]]) -> Float64Array:
    return coco.area(codes).astype(np.float64) if codes else np.zeros(0)


def assign_most(overlaps: Float64Array) -> Iterator[tuple[int, int]]:
    """Pairs of a row and a column with the largest sum. Raises `ConfigError` if scipy is not installed."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ConfigError('match=iou needs scipy: pip install "maskmill[evaluate]"') from error
    rows, columns = linear_sum_assignment(-overlaps)
    yield from zip(rows.tolist(), columns.tolist(), strict=True)
