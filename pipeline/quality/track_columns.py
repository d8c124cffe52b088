"""The columns of `tracks` that say how doubtful a track is: what its signals measured, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.arrays import Float64Array
from pipeline.output.schema import TRACKS
from pipeline.quality.blend import DEFAULT, Blend
from pipeline.quality.doubt import Signals, is_heavy, signals
from pipeline.quality.reasons import Reason
from pipeline.quality.shapes import with_shapes
from pipeline.quality.signals import COLUMNS
from pipeline.quality.track_rows import TrackRows, whole_tracks

VALUES: Mapping[str, Reason] = {
    "predicted_iou_p10": Reason.IOU_DIPS,
    "longest_low_iou": Reason.UNSURE_STRETCH,
    "object_score_p10": Reason.WEAK_SCORE,
    "num_flips": Reason.FLICKERS,
    "lost_share": Reason.LOST,
    "stability_p10": Reason.UNSTABLE,
    "pointer_similarity_p10": Reason.UNLIKE_PROMPT,
    "area_jump": Reason.AREA_JUMP,
    "shape_iou_min": Reason.SHAPE_JUMP,
    "leap": Reason.LEAP,
    "num_parts_max": Reason.FRAGMENTS,
    "area_share_max": Reason.WHOLE_FRAME,
    "border_share": Reason.BORDER,
    "overlap_iou": Reason.OVERLAPS,
    "overlap_share": Reason.INSIDE,
}
"""Columns of `tracks` that are the value of a signal."""

MEASURED = ("num_visible", "predicted_iou_mean", "fragments_share", *VALUES)
"""What `badness_of` reads of `tracks`."""

FRAMES: Mapping[str, Reason] = {
    "area_jump_frame": Reason.AREA_JUMP,
    "shape_jump_frame": Reason.SHAPE_JUMP,
    "pointer_frame": Reason.UNLIKE_PROMPT,
}
"""Columns of `tracks` that are the frame of a signal."""

_WHOLE = ("longest_low_iou", "num_flips", "num_parts_max")


def columns_of_video(masks: pa.Table, size_hw: tuple[int, int], blend: Blend = DEFAULT) -> dict[int, dict[str, Any]]:
    """The columns by object id; `masks` are the rows of one video, sorted by object and frame.

    Raises `ValueError` for codes of masks that are not of this size.
    """
    if not masks.num_rows:
        return {}
    rows = with_shapes(masks.select([*COLUMNS, "rle"]), size_hw)
    found: dict[int, dict[str, Any]] = {}
    for tracks in whole_tracks(rows.to_batches()):
        measured = signals(tracks, lambda _: size_hw, blend)
        found.update(zip(tracks.object_ids.tolist(), columns_of(measured), strict=True))
    return found


def columns_of(found: Signals) -> Iterator[dict[str, Any]]:
    """The columns of each track. What was not measured is null, and so is what a track that never shows lacks."""
    tracks = found.tracks
    is_shown = tracks.sums(tracks.column("area") > 0) > 0
    columns: dict[str, list[Any]] = {}
    for name, reason in VALUES.items():
        columns[name] = _with_nulls(found.measured[reason].value, is_shown, name in _WHOLE)
    for name, reason in FRAMES.items():
        has_value = is_shown & ~np.isnan(found.measured[reason].value)
        columns[name] = _with_nulls(found.frames[reason].astype(np.float64), has_value, True)
    median, _ = tracks.quantile(tracks.floats("object_score"), 0.5)
    columns["object_score_median"] = median.tolist()
    columns["overlap_object_id"] = _partners(found)
    columns["fragments_share"] = _with_nulls(found.measured[Reason.FRAGMENTS].badness, is_shown, False)
    for place in range(len(tracks.starts)):
        doubt = found.of(place)
        row = {name: values[place] for name, values in columns.items()}
        row["doubt"] = doubt.doubt if is_shown[place] else None
        row["doubt_reasons"] = [ground.reason.value for ground in doubt.grounds] if is_shown[place] else None
        yield row | {"doubt_frame": doubt.frame_index}


def badness_of(tracks: pa.Table) -> dict[Reason, Float64Array]:
    """The signals of rows of `tracks` that have the columns, each `[T]`; nan where they are null."""

    def floats(name: str) -> Float64Array:
        return np.asarray(tracks[name].cast(pa.float64()).to_numpy(), np.float64)

    num_visible = np.maximum(floats("num_visible"), 1)
    longest = floats("longest_low_iou")
    return {
        Reason.LOW_IOU: 1 - floats("predicted_iou_mean"),
        Reason.IOU_DIPS: 1 - floats("predicted_iou_p10"),
        Reason.UNSURE_STRETCH: np.where(longest > 1, longest / num_visible, 0 * longest),
        Reason.UNSTABLE: 1 - floats("stability_p10"),
        Reason.WEAK_SCORE: -floats("object_score_p10"),
        Reason.UNLIKE_PROMPT: 1 - floats("pointer_similarity_p10"),
        Reason.LOST: floats("lost_share"),
        Reason.FLICKERS: floats("num_flips"),
        Reason.AREA_JUMP: np.log2(floats("area_jump")),
        Reason.SHAPE_JUMP: 1 - floats("shape_iou_min"),
        Reason.LEAP: floats("leap"),
        Reason.FRAGMENTS: floats("fragments_share"),
        Reason.WHOLE_FRAME: floats("area_share_max"),
        Reason.BORDER: floats("border_share"),
        Reason.OVERLAPS: floats("overlap_iou"),
        Reason.INSIDE: floats("overlap_share"),
    }


def _with_nulls(values: Float64Array, is_known: Any, is_whole: bool) -> list[Any]:
    return [
        None if not known or np.isnan(value) else round(value) if is_whole else value
        for value, known in zip(values.tolist(), is_known.tolist(), strict=True)
    ]


def _partners(found: Signals) -> list[int | None]:
    """The track that a track overlaps most, on the frame on which it does."""
    tracks: TrackRows = found.tracks
    if "partner" not in tracks.table.column_names:
        return [None] * len(tracks.starts)
    row = np.minimum(found.measured[Reason.OVERLAPS].row, tracks.table.num_rows - 1)
    return [None if one < 0 else one for one in tracks.column("partner")[row].tolist()]


def with_doubt(tracks: pa.Table, blend: Blend) -> pa.Table:
    """Rows of `tracks` with `doubt` and `doubt_reasons` of another blend; null stays null.

    The frame to look at stays that of the blend which the worker had, because `tracks` has no frame of other signals.
    """
    evidence = blend.evidence(badness_of(tracks))
    doubt = blend.doubt(evidence)
    is_known = tracks["doubt"].is_valid().to_numpy()
    reasons = np.array([reason.value for reason in evidence], object)
    evidence_TS = np.stack(list(evidence.values()), axis=1)
    total = evidence_TS.sum(axis=1)
    order = np.argsort(-evidence_TS, axis=1, kind="stable")
    codes = [
        [str(reasons[s]) for s in order[t] if is_heavy(evidence_TS[t, s], total[t], doubt[t])] if is_known[t] else None
        for t in range(len(doubt))
    ]
    for name, values in (("doubt", np.where(is_known, doubt, np.nan)), ("doubt_reasons", codes)):
        field = TRACKS.field(name)
        column = pa.array(values, field.type, from_pandas=True)
        tracks = tracks.set_column(tracks.schema.get_field_index(name), field, column)
    return tracks
