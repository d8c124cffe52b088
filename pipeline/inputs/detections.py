"""Boxes of a detector: rows of the table that `detections=` names, read by workers video by video.

Nothing says which boxes of two frames are one object. The worker finds that out by its masks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model import BoxPrompt
from pipeline.arrays import UInt64Array
from pipeline.errors import InputError, TableChanged
from pipeline.inputs.boxes import FRACTIONS, PIXELS, FractionBox
from pipeline.inputs.columns import DETECTIONS_IN
from pipeline.inputs.naming import NamedColumns, Naming
from pipeline.inputs.prompt_hash import PromptHashes, row_digests
from pipeline.inputs.prompts import position_of
from pipeline.records import FramePosition, WorkItem
from pipeline.redact import redact_uri
from pipeline.storage.parquet import RowReader
from pipeline.storage.uris import StorageOptions

DETECTION_COLUMNS = tuple(column.name for column in DETECTIONS_IN if column.name != "video_id")
"""What a worker reads, and what the hash of a video is made of.

A table may have the other columns of prompts too, as one that `pipeline.prompts` has written. The driver reads them as
null, and a worker does not read them, so that both make the same hash.
"""


MOST_SCORE = 1.1
"""A sum of probabilities may be a little above 1, and an IoU that a network such as SAM predicts of its masks, too."""


@dataclass(frozen=True)
class Detection:
    """One box. `score` is from 0 to 1; None: the detector gave none, so that the box counts as certain."""

    position: FramePosition
    box: BoxPrompt | FractionBox
    category: str | None
    score: float | None


@dataclass(frozen=True)
class VideoDetections:
    """All boxes of a video. `num_wrong` rows were left out, because they are no boxes; `wrong` says why of one."""

    boxes: tuple[Detection, ...] = ()
    num_wrong: int = 0
    wrong: str = ""


def detection_rows(naming: Naming | None = None) -> RowReader:
    """A reader of rows of tables of boxes; see `pipeline.inputs.prompts.prompt_rows`."""
    names = ("video_id", *DETECTION_COLUMNS)
    return RowReader(NamedColumns(names, naming), batch_rows=4096, max_cursors=32, block_bytes=256 << 10)


def detection_digests(rows: pa.RecordBatch) -> UInt64Array:
    """Digests of rows as 64-bit words, `[N, 2]`. Category and score are part of it: what is found follows them."""
    names = rows.schema.names
    said = [rows.column(name).to_pylist() if name in names else [None] * len(rows) for name in ("category", "score")]
    digests = row_digests(rows)
    words = [
        blake2b(digest.tobytes() + repr((category, None if score is None else float(score))).encode(), digest_size=16)
        for digest, category, score in zip(digests, *said, strict=True)
    ]
    return np.frombuffer(b"".join(word.digest() for word in words), dtype="<u8").reshape(-1, 2)


def check_scores(rows: pa.RecordBatch, file: str) -> None:
    """Raises `InputError` for a score above 1, as in percent: it would pass every threshold without a word."""
    scores = rows.column("score")
    if pa.types.is_null(scores.type):
        return
    numbers = scores.cast(pa.float64(), safe=False)
    if not (pc.max(numbers).as_py() or 0) > MOST_SCORE:  # NaN counts only where there is nothing else
        return
    row = rows.slice(pc.index(pc.greater(numbers, MOST_SCORE), value=True).as_py(), 1).to_pylist()[0]
    frame, seconds = row["frame_index"], row["pts_seconds"]
    where = f"at {seconds} s" if frame is None else f"on frame {frame:g}"
    raise InputError(
        f"detections: {redact_uri(file)}: a box of video {row['video_id']!r} {where} has the score {row['score']:g}, "
        "and discover.min_score and discover.sure_detection are from 0 to 1: divide all scores by the greatest that "
        "there can be (percent by 100), or leave the column out"
    )


def read_detections(item: WorkItem, storage_options: StorageOptions | None, rows: RowReader) -> VideoDetections:
    """The boxes of one video.

    Raises `TableChanged` if the rows do not say what they said when the item was planned, `StorageError` if storage
    does not answer.
    """
    batches = [
        batch for span in item.prompts_at for batch in rows.read(span, storage_options).to_batches() if batch.num_rows
    ]
    hashes, times = PromptHashes(1), item.range
    for batch in batches:
        hashes.add(np.zeros(batch.num_rows, dtype=np.int64), detection_digests(batch))
    if hashes.hash_of(0, times.start_seconds, times.end_seconds, times.cuts_seconds) != item.prompt_hash:
        raise TableChanged(item.prompts_at[0].file, f"the boxes of {item.video_id!r} are others, or elsewhere")
    return parse_detections([row for batch in batches for row in batch.to_pylist()])


def parse_detections(rows: Sequence[Mapping[str, Any]]) -> VideoDetections:
    """Boxes from rows as `pyarrow` gives them, those of each frame by score, the best first."""
    found: list[Detection] = []
    wrong: list[str] = []
    for row in rows:
        try:
            found.append(_detection(row))
        except ValueError as error:
            wrong.append(str(error))
    found.sort(key=lambda one: (repr(one.position), -_merit(one), repr(one)))
    return VideoDetections(tuple(found), len(wrong), min(wrong, default=""))


def _merit(one: Detection) -> float:
    return 1.0 if one.score is None else one.score


def _detection(row: Mapping[str, Any]) -> Detection:
    position = position_of(row)
    score = row.get("score")
    if score is not None and not math.isfinite(score):
        raise ValueError(f"{position}: score {score} is no number; correct it")
    numbers = tuple(
        math.nan if value is None else float(value) for value in row.get(PIXELS) or row.get(FRACTIONS) or ()
    )
    try:
        box: Any = (BoxPrompt if row.get(PIXELS) else FractionBox)(numbers)  # type: ignore[arg-type]  # it checks them
    except ValueError as error:
        raise ValueError(f"{position}: {error}") from error
    return Detection(position, box, row.get("category") or None, None if score is None else float(score))
