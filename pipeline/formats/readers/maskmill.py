"""The output of a job of maskmill: the rows of `masks` that its log counts.

The score of a label is `predicted_iou`, because it is a number from 0 to 1 as other formats have it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline import tables
from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelFrame, LabelMask, ReadOptions
from pipeline.formats.label_files import LabelFiles

_COLUMNS = ["video_id", "object_id", "frame_index", "pts_seconds", "rle", "area", "predicted_iou", "category"]


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all videos, in the order of the segments, within a video by object, then frame."""
    try:
        job = tables.open(files.uri, dict(options.storage_options or {}))
    except FileNotFoundError as error:
        raise InputError(f"{files.key}: {error}") from error
    for batch in job.masks(columns=_COLUMNS).to_batches(batch_size=1024):
        for row in batch.to_pylist():
            height, width = row["rle"]["size"]
            frame = LabelFrame(row["frame_index"], row["pts_seconds"])
            shape = LabelMask((height, width), row["rle"]["counts"]) if row["area"] else None
            place = f"{files.shown}, object {row['object_id']} of {row['video_id']!r} on frame {row['frame_index']}"
            yield Label(row["video_id"], frame, row["object_id"], shape, row["category"], row["predicted_iou"], place)
