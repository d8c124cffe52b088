"""One entry of the commit log, as it is written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from pipeline.output.schema import SCHEMA_VERSION
from pipeline.output.segment_document import SegmentFields
from pipeline.records import Segment
from pipeline.storage.documents import Document


@dataclass(frozen=True)
class Entry:
    """One log entry: all of it counts, or nothing. It is applied in this order: forget, remove, add, strikes.

    `forget` are finished videos that become unfinished, or unfinished ones of which nothing is to be kept. Every other
    video of a removed segment must be in an added one. `strikes` are new totals by video; 0 clears them. A `compaction`
    moves finished videos between segments and changes nothing else. It may come from another process than the driver.
    An entry that `is_erased` says nothing any more: a later roll-up has what counts of it.
    """

    writer_id: str
    epoch: int
    add: tuple[Segment, ...] = ()
    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    strikes: Mapping[str, int] = field(default_factory=dict)
    compaction: bool = False
    is_erased: bool = False


class EntryDocument(Document):
    """An entry on disk. `written_at` is for people."""

    VERSION: ClassVar[int] = SCHEMA_VERSION
    VERSION_KEY: ClassVar[str] = "schema_version"

    writer_id: str
    epoch: int
    written_at: str
    add: list[SegmentFields]
    remove: list[str]
    forget: list[str]
    strikes: dict[str, int]
    compaction: bool = False
    is_erased: bool = False


def encode_entry(entry: Entry) -> bytes:
    """JSON of a log entry."""
    return EntryDocument(
        writer_id=entry.writer_id,
        epoch=entry.epoch,
        written_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        add=[SegmentFields.of(segment) for segment in entry.add],
        remove=list(entry.remove),
        forget=list(entry.forget),
        strikes=dict(entry.strikes),
        compaction=entry.compaction,
        is_erased=entry.is_erased,
    ).to_json()


def decode_entry(data: bytes, name: str = "a log entry") -> Entry:
    """The inverse of `encode_entry`; `name` says in messages where the entry lies.

    Raises:
        NewerVersion: the entry was written by a newer version of this program.
        ValueError: this is no log entry.
    """
    document = EntryDocument.from_json(data, name)
    return Entry(
        writer_id=document.writer_id,
        epoch=document.epoch,
        add=tuple(fields.segment() for fields in document.add),
        remove=tuple(document.remove),
        forget=tuple(document.forget),
        strikes=document.strikes,
        compaction=document.compaction,
        is_erased=document.is_erased,
    )
