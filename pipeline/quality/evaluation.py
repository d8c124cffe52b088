"""Scores the objects of one video by a convention.

Legend: T frames that both sides have labeled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.arrays import BoolArray, Int64Array
from pipeline.errors import InputError
from pipeline.quality.alignment import AlignedFrames, FrameMatch, ObjectMatch, align_frames, match_objects
from pipeline.quality.conventions import Convention, counted_frames
from pipeline.quality.masks import TrackMasks, VideoMasks, track_counts
from pipeline.quality.pairs import PairScores, score_pairs

OBJECTS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.string()),  # of the output; null: nothing there was matched
        pa.field("true_object_id", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("num_frames", pa.int32(), nullable=False),  # that are scored
        pa.field("num_prompted", pa.int32(), nullable=False),  # left out, because a prompt was given there
        pa.field("num_unpaired", pa.int32(), nullable=False),  # annotated, and not labeled by the output
        pa.field("j", pa.float64()),  # 0 … 1; null without scored frames
        pa.field("f", pa.float64()),
        pa.field("j_and_f", pa.float64()),
        pa.field("worst_frame", pa.int64()),  # the frame of the output with the lowest J
        pa.field("worst_j", pa.float64()),
        pa.field("num_hidden", pa.int32(), nullable=False),  # scored frames on which the true mask is empty
        pa.field("num_missed", pa.int32(), nullable=False),  # the object shows, and the predicted mask is empty
        pa.field("num_invented", pa.int32(), nullable=False),  # it is hidden, and the predicted mask is not empty
        pa.field("true_area_mean", pa.float64()),  # pixels, over the scored frames on which it shows
        pa.field("length", pa.int32(), nullable=False),  # frames from the first to the last on which it shows
    ]
)
"""One row per true object that counts."""

Prompted = Literal["exclude", "include"]


@dataclass(frozen=True)
class Rules:
    """How two sides are held against each other. `prompted` frames are those on which the object has a prompt."""

    convention: Convention = "all"
    prompted: Prompted = "exclude"
    match: ObjectMatch = "id"
    frames: FrameMatch = "index"


@dataclass
class InCommon:
    """In how many videos both sides have a frame and an object in common, and what to say where it is so in none.

    In one video there may be none: of two objects one has failed, or a reviewer has added one; or its annotated frames
    lie between those that the stride labels. Where there is none in all videos, the truth calls them otherwise.
    """

    num_with_frames: int = 0
    num_with_objects: int = 0
    no_frame: str = ""
    no_object: str = ""

    def add(self, other: InCommon) -> None:
        """Count further videos."""
        self.num_with_frames += other.num_with_frames
        self.num_with_objects += other.num_with_objects
        self.no_frame = self.no_frame or other.no_frame
        self.no_object = self.no_object or other.no_object

    def check(self) -> None:
        """Raises `InputError` where no video has a frame, or none has an object, that both sides have."""
        for num_videos, told in ((self.num_with_frames, self.no_frame), (self.num_with_objects, self.no_object)):
            if told and not num_videos:
                raise InputError(told)


@dataclass(frozen=True)
class VideoScores:
    """The rows of a video (see `OBJECTS`), its paired frames and objects, and predicted objects without a true one."""

    rows: list[dict[str, Any]]
    frames: AlignedFrames
    matched: Mapping[str, str | None]
    num_extra: int
    common: InCommon


@dataclass(frozen=True)
class _Scored:
    """One object: its frames among the T, and the pair of tracks."""

    true: TrackMasks
    predicted: TrackMasks | None
    predicted_T: pa.Array
    true_T: pa.Array


def evaluate_video(predicted: VideoMasks, true: VideoMasks, rules: Rules, side: str) -> VideoScores:
    """Scores of the true objects of a video. `side` says in messages where the truth is from.

    Raises `InputError` where the two have masks of different sizes.
    """
    check_comparable(predicted, true, side)
    frames = align_frames(predicted, true, rules.frames, side)
    common = InCommon(num_with_frames=int(len(frames.true_T) > 0))
    if not common.num_with_frames and len(true.frames_T):
        common.no_frame = (
            f"{side}: no annotated frame of video {true.video_id!r} ({_range(true.frames_T)}) was labeled "
            f"({_range(predicted.frames_T)}); where the truth counts frames otherwise, give frames=time"
        )
    matched = match_objects(predicted, true, frames, rules.match)
    common.num_with_objects = int(any(matched.values()))
    if rules.match == "id" and predicted.tracks and true.tracks and not common.num_with_objects:
        common.no_object = (
            f"{side}: video {true.video_id!r} has the objects {_listed(true.tracks)}, the output has "
            f"{_listed(predicted.tracks)}: none is the same; give match=iou to pair them by overlap"
        )
    scored = []
    for name, one in true.tracks.items():
        other = predicted.tracks.get(matched[name] or "")
        sides = track_counts(other, frames.predicted_T), one.counts_on(frames.true_T)
        scored.append(_Scored(one, other, *sides))
    scores = _score_all(scored, predicted.size_hw or true.size_hw)
    rows = [
        row
        for place, one in enumerate(scored)
        if (row := _row(one, _part(scores, place, len(frames.true_T)), frames, rules)) is not None
    ]
    for row in rows:
        row["video_id"] = true.video_id
    return VideoScores(rows, frames, matched, len(set(predicted.tracks) - set(matched.values())), common)


def check_comparable(predicted: VideoMasks, true: VideoMasks, side: str) -> None:
    """Raises `InputError` if the masks of the two sides have different sizes."""
    if predicted.size_hw and true.size_hw and predicted.size_hw != true.size_hw:
        height, width = predicted.size_hw
        raise InputError(
            f"{side}: video {true.video_id!r} has masks of {true.size_hw[1]} x {true.size_hw[0]} pixels there, and of "
            f"{width} x {height} in the output; masks are compared at one size: bring the truth to {width} x {height}, "
            "or label the video in the size that the truth has"
        )


def unseen(true: VideoMasks) -> VideoMasks:
    """A prediction of nothing: the frames of the truth, and no object."""
    return VideoMasks(true.video_id, true.size_hw, true.frames_T, true.pts_T, {})


def _score_all(scored: Sequence[_Scored], size_hw: tuple[int, int] | None) -> PairScores:
    """All objects in one go, one behind the other."""
    nothing = [pa.nulls(0, pa.string())]
    predicted, true = (
        pa.concat_arrays(nothing + [getattr(one, name) for one in scored]) for name in ("predicted_T", "true_T")
    )
    return score_pairs(size_hw or (1, 1), predicted, true)


def _part(scores: PairScores, place: int, length: int) -> PairScores:
    part = slice(place * length, (place + 1) * length)
    return PairScores(scores.j[part], scores.f[part], scores.predicted_areas[part], scores.true_areas[part])


def _row(one: _Scored, scores: PairScores, frames: AlignedFrames, rules: Rules) -> dict[str, Any] | None:
    """The row of one object; None if it does not count."""
    is_true, is_predicted = scores.true_areas > 0, scores.predicted_areas > 0
    counts = counted_frames(rules.convention, is_true, is_predicted)
    if counts is None:
        return None
    prompted: BoolArray = np.zeros(len(counts), np.bool_)
    if one.predicted is not None and rules.prompted == "exclude":
        prompted = one.predicted.is_prompted_on(frames.predicted_T) & counts
    counts = counts & ~prompted
    j, f = (_mean(values[counts]) for values in (scores.j, scores.f))
    worst = int(np.where(counts, scores.j, np.inf).argmin()) if counts.any() else None
    shown = np.flatnonzero(is_true)
    return {
        "object_id": one.predicted.object_id if one.predicted else None,
        "true_object_id": one.true.object_id,
        "category": one.true.category or (one.predicted.category if one.predicted else None),
        "num_frames": int(counts.sum()),
        "num_prompted": int(prompted.sum()),
        "num_unpaired": frames.num_unpaired,
        "j": j,
        "f": f,
        "j_and_f": None if j is None or f is None else (j + f) / 2,
        "worst_frame": None if worst is None else int(frames.predicted_T[worst]),
        "worst_j": None if worst is None else float(scores.j[worst]),
        "num_hidden": int((counts & ~is_true).sum()),
        "num_missed": int((counts & is_true & ~is_predicted).sum()),
        "num_invented": int((counts & ~is_true & is_predicted).sum()),
        "true_area_mean": _mean(scores.true_areas[counts & is_true]),
        "length": int(frames.true_T[shown[-1]] - frames.true_T[shown[0]]) + 1 if len(shown) else 0,
    }


def _mean(values: Any) -> float | None:
    return float(values.mean()) if len(values) else None


def _range(frames: Int64Array) -> str:
    return f"frames {frames[0]} to {frames[-1]}" if len(frames) else "no frame"


def _listed(names: Mapping[str, object]) -> str:
    shown = ", ".join(list(names)[:5])
    return f"{shown}, …" if len(names) > 5 else shown
