"""Outputs and tables of drawn masks, made without a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import Outcome, OutcomeDetails, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, publish, track_rows, video_row

Drawn = Mapping[str, Mapping[int, np.ndarray]]
"""Masks `[T, H, W]` by video and object."""


def rle(mask_HW: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}


def write_output(
    folder: Path,
    videos: Drawn,
    *,
    prompted: Collection[int] = (0,),
    stride: int = 1,
    files: Mapping[str, Path] | None = None,
    storage: JobStorage | None = None,
    begin: int = 0,
    first_seconds: float = 0.0,
) -> str:
    """The output of a job with these masks, every `stride`-th of them; all objects are prompted on the same frames.

    `files` are the videos, of 12 frames a second. `storage` is where the output goes instead of `folder`.
    Before frame `begin` no object has a row, as before a late prompt. Frame 0 lies at `first_seconds` of the file.
    """
    storage = storage or JobStorage(str(folder))
    spool = folder.parent / f"{folder.name}-spool"
    spool.mkdir(parents=True)
    _, keeper = driver(storage, spool)
    files = files or {}
    drawing = _Drawing(prompted, stride, begin, first_seconds)
    labeled = [_labeled(video_id, masks, drawing, files.get(video_id)) for video_id, masks in videos.items()]
    keeper.commit([publish(storage, spool, *labeled)])
    return str(folder)


def write_table(path: Path, videos: Drawn, **more: Any) -> str:
    """A table of masks as anybody would write one; `more` are further columns."""
    rows = [
        {"video_id": video_id, "object_id": object_id, "frame_index": frame, "rle": rle(mask_HW)} | more
        for video_id, masks in videos.items()
        for object_id, masks_THW in masks.items()
        for frame, mask_HW in enumerate(masks_THW)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


class _Drawing(NamedTuple):
    """What `write_output` was given for all videos."""

    prompted: Collection[int]
    stride: int
    begin: int
    first_seconds: float


def _labeled(video_id: str, masks: Mapping[int, np.ndarray], drawing: _Drawing, file: Path | None) -> LabeledVideo:
    prompted, stride, begin, first_seconds = drawing
    num_frames = -(-len(next(iter(masks.values()))) // stride)
    rows = []
    for object_id, masks_THW in masks.items():
        for frame in range(-(-begin // stride) * stride, len(masks_THW), stride):
            code = rle(masks_THW[frame])
            x, y, width, height = (int(value) for value in coco.toBbox(code))
            row = {"video_id": video_id, "object_id": object_id, "frame_index": frame}
            row |= {"pts_seconds": first_seconds + frame / 12}
            row |= {"rle": code, "area": int(coco.area(code)), "object_score": 5.0, "predicted_iou": 0.9}
            row |= {"bbox_x": x, "bbox_y": y, "bbox_w": width, "bbox_h": height, "is_prompt": frame in prompted}
            rows.append(row)
    outcome = Outcome(video_id, Status.OK, "p1", len(rows), num_frames, details=OutcomeDetails(len(masks), 0))
    return LabeledVideo(
        pa.Table.from_pylist(rows, MASKS),
        pa.Table.from_pylist(track_rows(video_id, tuple(masks), num_frames).to_pylist(), TRACKS),
        _video_row(outcome, masks, file),
        outcome,
        len(rows),
    )


def _video_row(outcome: Outcome, masks: Mapping[int, np.ndarray], file: Path | None) -> pa.Table:
    (row,) = video_row(outcome, len(masks)).to_pylist()
    num_decoded, height, width = next(iter(masks.values())).shape
    row |= {"height": height, "width": width, "fps": 12.0, "num_frames_decoded": num_decoded}
    if file is not None:
        row |= {"uri": str(file), "source_bytes": file.stat().st_size}
    return pa.Table.from_pylist([row], VIDEOS)
