"""The output of a job of maskmill: the rows of `masks` that its log counts.

The score of a label is `predicted_iou`, because it is a number from 0 to 1 as other formats have it. On the frame on
which `conf=discover` has found an object, it is what spoke for the object there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.compute as pc

from pipeline import tables
from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelFrame, LabelMask, LabelSeed, ReadOptions
from pipeline.formats.label_files import LabelFiles

_COLUMNS = [
    *("video_id", "object_id", "frame_index", "pts_seconds", "rle", "area", "predicted_iou", "category"),
    *("is_prompt", "stability"),
]
_OF_SEEDS = ["video_id", "object_id", "seed_source", "seed_score", "seed_stability"]


class _Seed(NamedTuple):
    """What a track says of the frame that found its object."""

    source: str
    score: float | None
    stability: float | None


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all videos, in the order of the segments, within a video by object, then frame."""
    try:
        job = tables.open(files.uri, dict(options.storage_options or {}))
    except FileNotFoundError as error:
        raise InputError(f"{files.key}: {error}") from error
    seeds, said = _seeds(job), job.categories()
    for batch in job.masks(columns=_COLUMNS).to_batches(batch_size=1024):
        for row in batch.to_pylist():
            height, width = row["rle"]["size"]
            frame = LabelFrame(row["frame_index"], row["pts_seconds"])
            shape = LabelMask((height, width), row["rle"]["counts"]) if row["area"] else None
            place = f"{files.shown}, object {row['object_id']} of {row['video_id']!r} on frame {row['frame_index']}"
            score, seed = _scores(row, seeds.get((row["video_id"], row["object_id"])))
            category = said.get((row["video_id"], row["object_id"]), row["category"])
            yield Label(row["video_id"], frame, row["object_id"], shape, category, score, place, seed)


def _seeds(job: tables.JobTables) -> dict[tuple[str, int], _Seed]:
    """By video and object, what found the object: about 300 bytes each; empty for a job of prompts."""
    rows = job.track_rows(columns=_OF_SEEDS, where=pc.field("seed_source").is_valid())
    return {
        (row["video_id"], row["object_id"]): _Seed(row["seed_source"], row["seed_score"], row["seed_stability"])
        for batch in rows.to_batches()
        for row in batch.to_pylist()
    }


def _scores(row: dict[str, Any], seed: _Seed | None) -> tuple[float | None, LabelSeed | None]:
    if seed is None:
        return row["predicted_iou"], None
    if row["is_prompt"]:
        return seed.score, LabelSeed(seed.source, seed.stability)
    return row["predicted_iou"], LabelSeed(seed.source, row["stability"])
