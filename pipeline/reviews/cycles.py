"""What walks back from a track's last sure mask to its prompt found: a check that a machine makes, without truth.

A track that went over to another object leads back to that one, and not to the mask that was prompted (the
forward-backward error of Kalal, Mikolajczyk and Matas, 2010).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from pipeline.reviews.files import Listed, ReviewTable
from pipeline.reviews.verdicts import Key
from pipeline.storage.job_storage import JobStorage

CYCLES = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        # IoU of both masks on `to_frame`: where the walk back came out, and the one that the track had; null: the walk
        # failed, or has no row there.
        pa.field("cycle_iou", pa.float32()),
        pa.field("from_frame", pa.int32(), nullable=False),  # of the mask that was walked back
        pa.field("to_frame", pa.int32(), nullable=False),  # of the prompt
        pa.field("labeled_at", pa.timestamp("ms", tz="UTC")),  # `finished_at` of the labels that were checked
        pa.field("checked_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        # Of the frames that the job and the walk have both seen. Null: the walk failed, the labels were made again
        # meanwhile, or an earlier program walked.
        pa.field("walks_iou", pa.float32()),  # mean IoU of both masks
        pa.field("parting_frame", pa.int32()),  # the two agree from here on; null: they never part
    ]
)
"""One row for each time that a track was walked back."""

_TABLE = ReviewTable("cycles", CYCLES, 1, lambda row: None)


@dataclass(frozen=True)
class Cycle:
    """The newest walk back of a track. `iou` is `None` where the walk failed; see `CYCLES` for the others."""

    iou: float | None
    from_frame: int
    to_frame: int
    labeled_at: datetime | None
    checked_at: datetime
    walks_iou: float | None = None
    parting_frame: int | None = None

    def is_of(self, finished_at: datetime | None) -> bool:
        """Whether the labels that were checked are those of a video that was finished then."""
        return self.labeled_at == finished_at


def write_cycles(storage: JobStorage, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write walks as one new file and return its path below `output=`.

    Raises `ValueError` for rows that lack what each must have; `StorageError` if the store does not take the file.
    """
    return _TABLE.write(storage, rows)


def read_cycles(storage: JobStorage, listed: Listed | None = None) -> dict[Key, Cycle]:
    """The newest walk of each track that was walked back.

    Raises `InputError` for a file that is no such table, and `StorageError` if the store does not answer.
    """
    found: dict[Key, Cycle] = {}
    for row in _TABLE.read(storage, listed):
        key = row["video_id"], row["object_id"]
        if key not in found or found[key].checked_at <= row["checked_at"]:
            found[key] = Cycle(
                row["cycle_iou"],
                row["from_frame"],
                row["to_frame"],
                row["labeled_at"],
                row["checked_at"],
                row["walks_iou"],
                row["parting_frame"],
            )
    return found
