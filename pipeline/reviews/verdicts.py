"""What reviewers said of tracks. The newest verdict on a track counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import itemgetter
from typing import Any

import pyarrow as pa

from pipeline.reviews.files import Listed, ReviewTable, one_of
from pipeline.storage.job_storage import JobStorage


class Verdict(StrEnum):
    """What a reviewer says of a track."""

    ACCEPT = "accept"  # it is good
    REJECT = "reject"  # it is bad, and not worth mending
    FIX = "fix"  # it is bad, and the reviewer has corrected it
    SKIP = "skip"  # later, or somebody else: the track comes behind all others
    WITHDRAW = "withdraw"  # what was said before does not count: an undo


VERDICTS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),  # see `Verdict`
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("reviewed_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("labeled_at", pa.timestamp("ms", tz="UTC")),  # `finished_at` of the labels that the reviewer saw
        pa.field("is_audit", pa.bool_()),  # the queue had drawn the track by lot; null: it was not in a queue
        pa.field("seconds", pa.float32()),  # that the reviewer spent
        pa.field("frame_index", pa.int32()),  # where the reviewer saw the fault
        pa.field("comment", pa.string()),
        pa.field("category", pa.string()),  # what the reviewer says that the object is; null: what it was before
        pa.field("handout", pa.string()),  # where it was said: what was handed out to another program; null: not there
        pa.field("said_id", pa.string()),  # by which a page sends it once more where it has heard no answer
    ]
)
"""One row for each time that somebody said something of a track."""

VERDICT_FILES = "verdicts"
"""The kind of files that hold verdicts."""

_TABLE = ReviewTable(VERDICT_FILES, VERDICTS, 1, lambda row: one_of(Verdict, "verdicts: verdict", row["verdict"]))

Key = tuple[str, int]
"""Video id and object id."""


@dataclass(frozen=True)
class Opinion:
    """The newest verdict on a track. `labeled_at` is when the labels were made that the reviewer saw, if it is told."""

    verdict: Verdict
    reviewed_at: datetime
    is_audit: bool
    reviewer: str = ""
    labeled_at: datetime | None = None
    category: str | None = None

    @property
    def is_bad(self) -> bool:
        """Whether the track was bad when the reviewer saw it."""
        return self.verdict in (Verdict.REJECT, Verdict.FIX)

    def is_of(self, finished_at: datetime | None) -> bool:
        """Whether it is said of the labels of a video that was finished then, and not of earlier ones."""
        if finished_at is None:
            return True
        return finished_at <= (self.reviewed_at if self.labeled_at is None else self.labeled_at)


def write_verdicts(storage: JobStorage, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write verdicts as one new file and return its path below `output=`. Columns that a row lacks are null.

    Raises `ValueError` for a verdict that there is not, and for rows that lack what each must have; `StorageError` if
    the store does not take the file.
    """
    return _TABLE.write(storage, rows)


def as_read(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as readers find them in a file: a file holds milliseconds, and columns that a row lacks are null.

    Raises `ValueError` like `write_verdicts`.
    """
    read: list[dict[str, Any]] = pa.Table.from_pylist([dict(row) for row in rows], VERDICTS).to_pylist()
    return read


def digest_verdicts(storage: JobStorage) -> None:
    """Gather many files of verdicts in one that readers take in their place; they stay. Raises like `read_verdicts`."""
    _TABLE.digest(storage)


def read_verdict_files(storage: JobStorage, known: Collection[str] = ()) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The path and all rows of each file of verdicts, in the order of time, but for those of `known` paths.

    For a program that looks again and again. Raises like `read_verdicts`.
    """
    return _TABLE.read_files(storage, known)


def read_opinions(storage: JobStorage, listed: Listed | None = None) -> dict[Key, Opinion]:
    """The newest verdict on each track, withdrawn ones among them, but for those that were skipped.

    A category stands until another one is given, or what was said is withdrawn. Raises like `read_verdicts`.
    """
    found: dict[Key, Opinion] = {}
    for row in sorted(_TABLE.read(storage, listed), key=itemgetter("reviewed_at")):
        verdict = row["verdict"]
        if verdict == Verdict.SKIP:
            continue
        key = row["video_id"], row["object_id"]
        before = None if verdict == Verdict.WITHDRAW else found.get(key)
        found[key] = Opinion(
            Verdict(verdict),
            row["reviewed_at"],
            bool(row["is_audit"]),
            row["reviewer"],
            row["labeled_at"],
            row["category"] or (None if before is None else before.category),
        )
    return found


def read_skips(storage: JobStorage, listed: Listed | None = None) -> dict[Key, Opinion]:
    """The newest skip of each track that was not taken back. Raises like `read_verdicts`."""
    found: dict[Key, Opinion] = {}
    for row in sorted(_TABLE.read(storage, listed), key=itemgetter("reviewed_at")):
        key = row["video_id"], row["object_id"]
        if row["verdict"] == Verdict.SKIP:
            found[key] = Opinion(Verdict.SKIP, row["reviewed_at"], bool(row["is_audit"]), labeled_at=row["labeled_at"])
        elif row["verdict"] == Verdict.WITHDRAW:
            found.pop(key, None)
    return found


def read_verdicts(storage: JobStorage) -> dict[Key, Opinion]:
    """The newest verdict on each track, but for those that were skipped, and not where the newest was withdrawn.

    Raises `InputError` for a file that is no table of verdicts, and `StorageError` if the store does not answer.
    """
    found = read_opinions(storage)
    return {key: opinion for key, opinion in found.items() if opinion.verdict is not Verdict.WITHDRAW}
