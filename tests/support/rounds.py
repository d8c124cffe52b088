"""What reviewers say of a job of the tests, and which of its rows a later round made anew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from pipeline.reviews.corrections import Kind, write_corrections
from pipeline.reviews.verdicts import Verdict, write_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.jobs import Tables

Key = tuple[str, int]


def square(size_hw: tuple[int, int], left: int, top: int, side: int = 12) -> dict[str, Any]:
    """A mask that a reviewer drew."""
    mask_HW = np.zeros(size_hw, np.uint8)
    mask_HW[top : top + side, left : left + side] = 1
    return rle_of(mask_HW)


def rle_of(mask_HW: npt.NDArray[Any]) -> dict[str, Any]:
    """The code of a mask."""
    code = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return {"size": list(mask_HW.shape), "counts": code["counts"].decode()}


def correct(output: Path, video_id: str, object_id: int, frame_index: int, **columns: Any) -> None:
    """A reviewer corrects a frame: hidden, unless a mask is given."""
    kind = Kind.MASK if "mask_rle" in columns else Kind.HIDDEN
    row = {"video_id": video_id, "object_id": object_id, "frame_index": frame_index, "kind": str(kind)}
    said = {"reviewer": "ann", "reviewed_at": datetime.now(UTC)}
    write_corrections(JobStorage(str(output)), [{**row, **said, **columns}])


def judge(
    output: Path, video_id: str, object_id: int, verdict: Verdict, reviewer: str = "ann", at: datetime | None = None
) -> None:
    """A reviewer says what a track is worth, now or at a time."""
    said = {"reviewer": reviewer, "reviewed_at": at or datetime.now(UTC)}
    row = {"video_id": video_id, "object_id": object_id, "verdict": str(verdict)}
    write_verdicts(JobStorage(str(output)), [{**row, **said}])


def of(rows: pa.Table, video_id: str, object_id: int) -> pa.Table:
    """The rows of one track."""
    return rows.filter(pc.and_(pc.equal(rows["video_id"], video_id), pc.equal(rows["object_id"], object_id)))


def tracks_of(tables: Tables) -> list[Key]:
    """The tracks of a job."""
    columns = tables.tracks["video_id"].to_pylist(), tables.tracks["object_id"].to_pylist()
    return list(zip(*columns, strict=True))


def made_anew(before: Tables, after: Tables) -> set[Key]:
    """The tracks of which any value of `masks` or `tracks` is another one now, and new ones."""
    return {
        key
        for key in tracks_of(after)
        if not (
            of(before.masks, *key).equals(of(after.masks, *key))
            and of(before.tracks, *key).equals(of(after.tracks, *key))
        )
    }
