"""How two outputs differ: which tracks, by how much, and to the better or the worse where there is a truth.

Legend: T frames on which both outputs have labeled the video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Int64Array
from pipeline.errors import InputError
from pipeline.quality.alignment import AlignedFrames, ObjectMatch, align_frames, half_a_frame, match_objects
from pipeline.quality.evaluation import InCommon, Rules, evaluate_video
from pipeline.quality.masks import TrackMasks, VideoMasks, track_counts
from pipeline.quality.pairs import score_pairs

TRACKS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.string(), nullable=False),  # of a, or of b where a has none
        pa.field("object_id_b", pa.string()),  # of b; another one than in a with match=iou
        pa.field("category", pa.string()),
        pa.field("difference", pa.string(), nullable=False),  # same, masks, only_a or only_b
        pa.field("num_frames", pa.int32(), nullable=False),  # that both have labeled
        pa.field("num_different", pa.int32(), nullable=False),  # of these, with other masks
        pa.field("iou_mean", pa.float64()),  # of a with b over these frames; 1 where both masks are empty
        pa.field("iou_min", pa.float64()),
        pa.field("worst_frame", pa.int64()),  # with the lowest IoU
        pa.field("num_visible_a", pa.int32(), nullable=False),
        pa.field("num_visible_b", pa.int32(), nullable=False),
        pa.field("j_and_f_a", pa.float64()),  # against the truth, 0 … 1; null where it has no such object
        pa.field("j_and_f_b", pa.float64()),
        pa.field("gain", pa.float64()),  # of b over a
    ]
)
"""One row per track of either output."""

AS_GOOD = 0.0005
"""Two scores that differ by less are as good as each other: papers print a tenth of a percent."""


@dataclass(frozen=True)
class VideoDifference:
    """The rows of a video (see `TRACKS`), and how many frames one output alone has labeled.

    `num_other_times` are frames of one number in both outputs that lie at two times of the film. `common` is what the
    truth, if there is one, has in common with them.
    """

    rows: list[dict[str, Any]]
    num_unpaired: int
    num_other_times: int = 0
    common: InCommon = field(default_factory=InCommon)


def compare_video(
    a: VideoMasks, b: VideoMasks, true: VideoMasks | None = None, match: ObjectMatch = "id", rules: Rules | None = None
) -> VideoDifference:
    """The tracks of a video in both outputs, with their scores against `true` masks by `rules` if there are any.

    Raises `InputError` where the outputs have masks of different sizes, and as `evaluate_video` does.
    """
    if a.size_hw and b.size_hw and a.size_hw != b.size_hw:
        raise InputError(
            f"video {a.video_id!r} has masks of {a.size_hw[1]} x {a.size_hw[0]} pixels in a=, and of {b.size_hw[1]} x "
            f"{b.size_hw[0]} in b=; label it from the same file in both"
        )
    frames = align_frames(b, a, "index", "a=")
    pairs: list[tuple[str | None, str | None]] = list(match_objects(b, a, frames, match).items())
    in_both = {other for _, other in pairs}
    pairs += [(None, other) for other in b.tracks if other not in in_both]
    rows = [_row(a, b, frames, *pair) for pair in pairs]
    common = InCommon() if true is None else _add_scores(rows, (a, b), frames, true, rules or Rules())
    num_unpaired = frames.num_unpaired + len(b.frames_T) - len(frames.true_T)
    return VideoDifference(rows, num_unpaired, _num_other_times(a, b, frames), common)


def _num_other_times(a: VideoMasks, b: VideoMasks, frames: AlignedFrames) -> int:
    """How many frames of one number are further apart than half a frame. Numbers count from the labeled range."""
    times_a, times_b = (
        side.pts_T[np.searchsorted(side.frames_T, numbers)]
        for side, numbers in ((a, frames.true_T), (b, frames.predicted_T))
    )
    return int((np.abs(times_a - times_b) > half_a_frame(a)).sum())  # nan, of a frame without a time, is not above


def _row(a: VideoMasks, b: VideoMasks, frames: AlignedFrames, in_a: str | None, in_b: str | None) -> dict[str, Any]:
    tracks = [side.tracks[name] if name is not None else None for side, name in ((a, in_a), (b, in_b))]
    counts = [track_counts(track, frames.true_T) for track in tracks]
    scores = score_pairs(a.size_hw or b.size_hw or (1, 1), *counts, with_boundary=False)
    present = [track for track in tracks if track is not None]
    worst = int(scores.j.argmin()) if len(scores.j) else None
    num_different = int((scores.j < 1).sum())
    one_alone = "only_b" if in_a is None else "only_a" if in_b is None else None
    return {
        "video_id": a.video_id,
        "object_id": present[0].object_id,
        "object_id_b": in_b,
        "category": next((track.category for track in present if track.category), None),
        "difference": one_alone or ("masks" if num_different else "same"),
        "num_frames": len(scores.j),
        "num_different": num_different,
        "iou_mean": float(scores.j.mean()) if len(scores.j) else None,
        "iou_min": None if worst is None else float(scores.j[worst]),
        "worst_frame": None if worst is None else int(frames.true_T[worst]),
        "num_visible_a": int((scores.predicted_areas > 0).sum()),
        "num_visible_b": int((scores.true_areas > 0).sum()),
    }


def _add_scores(
    rows: list[dict[str, Any]],
    sides: tuple[VideoMasks, VideoMasks],
    frames: AlignedFrames,
    true: VideoMasks,
    rules: Rules,
) -> InCommon:
    """Score both outputs on the same frames: those that both have labeled, without those that either was told.

    A true object that one of them lacks was never found there, as an evaluation of this output counts it.
    """
    common, matches = InCommon(), list[dict[str, str]]()
    names = [(row["object_id"] if row["difference"] != "only_b" else None, row["object_id_b"]) for row in rows]
    for number, key in enumerate(("j_and_f_a", "j_and_f_b")):
        side, other = sides[number], sides[1 - number]
        told = {}
        for pair in names:
            here, there = pair[number], pair[1 - number]
            if here is not None and there is not None:
                told[here] = other.tracks[there]
        shared = _on_frames(side, frames.true_T, told)
        scores = evaluate_video(shared, true, rules, "truth")
        common.add(scores.common)
        found = {row["object_id"]: row["j_and_f"] for row in scores.rows}
        for row, pair in zip(rows, names, strict=True):
            row[key] = found.get(pair[number]) if pair[number] is not None else None
        matches.append({one["object_id"]: one["true_object_id"] for one in scores.rows if one["object_id"] is not None})
    for row, pair in zip(rows, names, strict=True):
        for number, key in enumerate(("j_and_f_a", "j_and_f_b")):
            there = pair[1 - number]
            if pair[number] is None and there is not None and (true_id := matches[1 - number].get(there)) is not None:
                lost = _without_masks(sides[1 - number].tracks[there], true_id)
                row[key] = _score_of_lost(sides[number], frames, true, rules, lost)
        if row["j_and_f_a"] is not None and row["j_and_f_b"] is not None:
            row["gain"] = row["j_and_f_b"] - row["j_and_f_a"]
    return common


def _score_of_lost(
    side: VideoMasks, frames: AlignedFrames, true: VideoMasks, rules: Rules, lost: TrackMasks
) -> float | None:
    """The score of a true object that one output lacks: as if it had empty masks, with the prompts of the other."""
    name = lost.object_id
    alone = _on_frames(replace(side, tracks={name: lost}), frames.true_T, {})
    rows = evaluate_video(
        alone, replace(true, tracks={name: true.tracks[name]}), replace(rules, match="id"), "truth"
    ).rows
    return rows[0]["j_and_f"] if rows else None


def _without_masks(track: TrackMasks, name: str) -> TrackMasks:
    return replace(track, object_id=name, counts_T=pa.nulls(len(track.counts_T), pa.string()))


def _on_frames(video: VideoMasks, frames: Int64Array, told: Mapping[str, TrackMasks]) -> VideoMasks:
    """The video as if these were its labeled frames, and each object had the prompts of the other output too."""
    tracks = {
        name: replace(track, is_prompt_T=track.is_prompt_T | told[name].is_prompted_on(track.frames_T))
        if name in told
        else track
        for name, track in video.tracks.items()
    }
    is_kept = np.isin(video.frames_T, frames)
    return replace(video, frames_T=video.frames_T[is_kept], pts_T=video.pts_T[is_kept], tracks=tracks)


def sorted_worst_first(tracks: pa.Table) -> pa.Table:
    """Rows like `TRACKS`: losses first where there is a truth, then what differs most, then what is the same."""
    order = pa.table(
        {
            "gain": pc.fill_null(tracks["gain"], 0.0),
            "iou": pc.fill_null(tracks["iou_mean"], 1.0),
            "video_id": tracks["video_id"],
            "object_id": tracks["object_id"],
        }
    )
    keys = [("gain", "ascending"), ("iou", "ascending"), ("video_id", "ascending"), ("object_id", "ascending")]
    return tracks.take(pc.sort_indices(order, sort_keys=keys))
