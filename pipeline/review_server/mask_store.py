"""Masks and measurements of the video that somebody looks at: a stretch of frames at a time, kept for a while."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from pipeline.review_server.answers import rounded
from pipeline.review_server.bounded import Bounded
from pipeline.tables import JobTables

_MOST_CHARACTERS = 64 << 20
_SERIES = ["frame_index", "pts_seconds", "area", "object_score", "predicted_iou", "is_prompt"]

Masks = dict[int, dict[int, str]]
"""COCO's compressed counts by frame index and object id; a hidden object has an empty mask."""


class MaskStore:
    """Reads masks of a job. Methods may be called in any thread."""

    def __init__(self, most_characters: int = _MOST_CHARACTERS) -> None:
        self._kept: Bounded[tuple[str, str, int, int], Masks] = Bounded(most_characters, _characters)

    def masks(self, job: JobTables, video_id: str, labeled_at: str, start: int, stop: int) -> Masks:
        """The masks of a video from frame index `start` to before `stop`; frames without rows have none."""
        key = video_id, labeled_at, start, stop
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        where = (pc.field("frame_index") >= start) & (pc.field("frame_index") < stop)
        rows = job.masks([video_id], columns=["object_id", "frame_index", "rle"], where=where).to_table()
        counts = pc.struct_field(rows["rle"], "counts").to_pylist()
        found: Masks = {}
        for frame, object_id, code in zip(
            rows["frame_index"].to_pylist(), rows["object_id"].to_pylist(), counts, strict=True
        ):
            found.setdefault(frame, {})[object_id] = code
        return self._kept.put(key, found)


def series(job: JobTables, video_id: str, object_id: int) -> dict[str, list[Any]]:
    """What is drawn over time of one track: columns of `masks` by frame."""
    rows = job.masks([video_id], columns=_SERIES, where=pc.field("object_id") == object_id).to_table()
    rows = rows.sort_by("frame_index")
    found: dict[str, list[Any]] = {name: rows[name].to_pylist() for name in ("frame_index", "area", "is_prompt")}
    for name in ("object_score", "predicted_iou"):
        found[name] = [rounded(value, 3) for value in rows[name].to_pylist()]
    return found


def _characters(masks: Masks) -> int:
    return sum(len(counts) + 64 for frame in masks.values() for counts in frame.values()) + 64
