"""Frames of tracks that reviewers corrected. On each frame of an object the newest correction counts.

A correction is what the reviewer saw and accepted: a mask of one object on one frame, or that it is not visible there.
The clicks that led to the mask are kept beside it, so that every mask says where it came from; no program reads them.
The next run of the job takes corrections as prompts, in the place of what the prompts table says of the same frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa

from pipeline.reviews.files import ReviewTable, one_of
from pipeline.storage.job_storage import JobStorage


class Kind(StrEnum):
    """What a reviewer says of an object on a frame."""

    MASK = "mask"  # it is exactly there
    HIDDEN = "hidden"  # it is not visible on this frame
    WITHDRAW = "withdraw"  # earlier corrections of this frame do not count: an undo


CORRECTIONS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),  # one that no track has: an added object
        pa.field("frame_index", pa.int32(), nullable=False),  # as `masks` counts them
        pa.field("kind", pa.string(), nullable=False),  # see `Kind`
        # COCO's compressed code of the size of the video, counts as text; of `mask` alone.
        pa.field("mask_rle", pa.struct([pa.field("size", pa.list_(pa.int32())), pa.field("counts", pa.string())])),
        # How the mask came about, in pixels of the video: clicks (label 1: inside, 0: outside) and a box; a mask that
        # was drawn has none.
        pa.field("points_xy", pa.list_(pa.list_(pa.float32()))),
        pa.field("point_labels", pa.list_(pa.int32())),
        pa.field("box_xyxy", pa.list_(pa.float32())),
        pa.field("category", pa.string()),  # of an added object
        pa.field("split_from", pa.int64()),  # the object whose track this one was until now, from this frame on
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("reviewed_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("labeled_at", pa.timestamp("ms", tz="UTC")),  # `finished_at` of the labels that the reviewer saw
        pa.field("seconds", pa.float32()),  # that the reviewer spent on this frame
        pa.field("handout", pa.string()),  # where it was said: what was handed out to another program; null: not there
        pa.field("said_id", pa.string()),  # by which a page sends it once more where it has heard no answer
    ]
)
"""One row for each time that somebody corrected an object on a frame."""


def _check(row: Mapping[str, Any]) -> None:
    kind = one_of(Kind, "corrections: kind", row["kind"])
    if row["frame_index"] < 0:
        raise ValueError(f"corrections: frame_index={row['frame_index']}: frames are counted from 0")
    rle = row["mask_rle"]
    if (kind is Kind.MASK) != bool(rle and rle["counts"]):
        raise ValueError(f"a correction of kind {kind} {'needs a' if kind is Kind.MASK else 'has no'} mask_rle")


_TABLE = ReviewTable("corrections", CORRECTIONS, 1, _check)


@dataclass(frozen=True)
class Correction:
    """The newest correction of an object on a frame; `rle` is COCO's compressed code, `None` where it is hidden."""

    object_id: int
    frame_index: int
    rle: Mapping[str, Any] | None
    reviewer: str
    reviewed_at: datetime
    category: str | None = None
    split_from: int | None = None


def write_corrections(storage: JobStorage, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write corrections as one new file and return its path below `output=`. Columns that a row lacks are null.

    The rows of one call count together or not at all: those of a split, for example.

    Raises `ValueError` for a kind that there is not, for a mask that is missing or too much, and for rows that lack
    what each must have; `StorageError` if the store does not take the file.
    """
    return _TABLE.write(storage, rows)


def read_corrections(storage: JobStorage) -> dict[str, tuple[Correction, ...]]:
    """The corrections of each video that count, by object and frame. Those that were withdrawn are not among them.

    Raises `InputError` for a file that is no table of corrections, and `StorageError` if the store does not answer.
    """
    newest: dict[tuple[str, int, int], dict[str, Any]] = {}
    for row in _TABLE.read(storage):
        key = row["video_id"], row["object_id"], row["frame_index"]
        if key not in newest or newest[key]["reviewed_at"] <= row["reviewed_at"]:
            newest[key] = row
    found: dict[str, list[Correction]] = defaultdict(list)
    for key in sorted(newest):
        if (correction := correction_of(newest[key])) is not None:
            found[key[0]].append(correction)
    return {video_id: tuple(corrections) for video_id, corrections in found.items()}


def read_rows(storage: JobStorage, paths: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows of those of these files that hold corrections, each with the path of its file. Raises like `read`."""
    return _TABLE.read_paths(storage, paths)


def read_correction_files(
    storage: JobStorage, known: Collection[str] = ()
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The path and all rows of each file, in the order of time, but for those of `known` paths. Raises like `read`.

    For a program that looks again and again.
    """
    return _TABLE.read_files(storage, known)


def correction_of(row: Mapping[str, Any]) -> Correction | None:
    """What a row says, if it says that anything is corrected and not that nothing is any more."""
    if row["kind"] == Kind.WITHDRAW:
        return None
    return Correction(
        object_id=row["object_id"],
        frame_index=row["frame_index"],
        rle=row["mask_rle"] if row["kind"] == Kind.MASK else None,
        reviewer=row["reviewer"],
        reviewed_at=row["reviewed_at"],
        category=row["category"],
        split_from=row["split_from"],
    )
