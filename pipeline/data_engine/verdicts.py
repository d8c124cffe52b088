"""What reviewers said of tracks: a table in files below `output=`, each written once and never changed.

Several reviewers write at the same time without losing anything of each other. The newest verdict on a track counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.inputs.write import parquet_bytes
from pipeline.output.layout import REVIEWS, is_verdicts, new_verdicts
from pipeline.storage.job_storage import JobStorage


class Verdict(StrEnum):
    """What a reviewer says of a track."""

    ACCEPT = "accept"  # it is good
    REJECT = "reject"  # it is bad, and not worth mending
    FIX = "fix"  # it is bad, and the reviewer has corrected it
    SKIP = "skip"  # somebody else should say


VERDICTS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),  # see `Verdict`
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("reviewed_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("is_audit", pa.bool_()),  # the queue had drawn the track by lot; null: it was not in a queue
        pa.field("seconds", pa.float32()),  # that the reviewer spent
        pa.field("frame_index", pa.int32()),  # where the reviewer saw the fault
        pa.field("comment", pa.string()),
    ]
)
"""One row for each time that somebody said something of a track. The file's metadata has the schema's version."""

VERSION = 1
_VERSION_KEY = b"maskmill.verdicts"

Key = tuple[str, int]
"""Video id and object id."""


@dataclass(frozen=True)
class Opinion:
    """The newest verdict on a track."""

    verdict: Verdict
    reviewed_at: datetime
    is_audit: bool

    @property
    def is_bad(self) -> bool:
        """Whether the track was bad when the reviewer saw it."""
        return self.verdict in (Verdict.REJECT, Verdict.FIX)


def write_verdicts(storage: JobStorage, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write verdicts as one new file and return its path below `output=`. Columns that a row lacks are null.

    Raises `ValueError` for a verdict that there is not, and for rows that lack what each must have; `StorageError` if
    the store does not take the file.
    """
    table = pa.Table.from_pylist([dict(row) for row in rows], VERDICTS)
    for field in VERDICTS:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"verdicts: {field.name} is missing")
    for verdict in table["verdict"].to_pylist():
        Verdict(verdict)
    path = new_verdicts(datetime.now(UTC))
    storage.create(path, parquet_bytes(table.replace_schema_metadata({_VERSION_KEY: str(VERSION).encode()})))
    return path


def read_verdicts(storage: JobStorage) -> dict[Key, Opinion]:
    """The newest verdict on each track, but for those that were skipped.

    Raises `InputError` for a file that is no table of verdicts, and `StorageError` if the store does not answer.
    """
    paths = [stored.path for stored in storage.listing(REVIEWS) if is_verdicts(stored.path)]
    found: dict[Key, Opinion] = {}
    for path, data in zip(paths, storage.read_existing(paths), strict=True):
        for row in _rows(f"{storage}/{path}", data) if data is not None else ():
            key = row["video_id"], row["object_id"]
            before = found.get(key)
            if row["verdict"] != Verdict.SKIP and (before is None or before.reviewed_at <= row["reviewed_at"]):
                found[key] = Opinion(Verdict(row["verdict"]), row["reviewed_at"], bool(row["is_audit"]))
    return found


def _rows(name: str, data: bytes) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(io.BytesIO(data))
        version = int((table.schema.metadata or {}).get(_VERSION_KEY, b"1"))
        if version > VERSION:
            raise InputError(f"{name} was written by a newer maskmill: use that one for this output")
        columns = [field.name for field in VERDICTS if field.name in table.column_names]
        kept = pa.schema([VERDICTS.field(column) for column in columns])
        rows: list[dict[str, Any]] = table.select(columns).cast(kept).to_pylist()
        blank = dict.fromkeys(VERDICTS.names)
        for row in rows:
            Verdict(row["verdict"])
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise InputError(f"{name} is no table of verdicts: {error}") from error
    return [blank | row for row in rows]
