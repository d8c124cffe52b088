"""One entry of the commit log, as it is written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.commits.round_state import FIRST_ROUND, EntryRound
from pipeline.errors import NewerVersion, StorageError
from pipeline.output.schema import SCHEMA_VERSION
from pipeline.output.segment_document import SegmentFields, lists_of, outcomes_of
from pipeline.output.segments import PUT_BACK
from pipeline.records import Segment
from pipeline.storage.documents import Document
from pipeline.text import reason_in_line


class EntryKind(Enum):
    """What an entry is.

    A compaction moves finished videos between segments and changes nothing else. It may come from another process than
    the driver, which itself moves the videos of a round so. An erased entry says nothing any more: a later roll-up has
    what counts of it.
    """

    COMMIT = "commit"
    COMPACTION = "compaction"
    ERASED = "erased"


@dataclass(frozen=True)
class Entry(EntryRound):
    """One log entry: all of it counts, or nothing. It is applied in this order: forget, remove, add, strikes,
    setbacks.

    `forget` are finished videos that become unfinished, or unfinished ones of which nothing is to be kept; `why` says
    the reason of each that was finished, by id. Every other video of a removed segment must be in an added one, so that
    an entry which forgets videos adds no new ones but those: then new rows take the place of former ones. `strikes` are
    new totals by video; 0 clears them.
    """

    writer_id: str
    epoch: int
    add: tuple[Segment, ...] = ()
    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    strikes: Mapping[str, int] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    kind: EntryKind = EntryKind.COMMIT


@dataclass(frozen=True)
class EntryNotes:
    """What an entry says besides for readers of changes, who know nothing of the log before it.

    `again` is why added videos were labeled again, by id; new videos are not among them. `removed_rows` are the rows of
    the removed segments that counted, by table.
    """

    again: Mapping[str, str] = field(default_factory=dict)
    removed_rows: Mapping[str, int] = field(default_factory=dict)


NO_NOTES = EntryNotes()


class EntryChanges(BaseModel):
    """What an entry changed. An erased entry has it for those videos alone that may still be named.

    `added` are outcomes as in segments, of videos that were labeled; `gone` are finished videos that were forgotten.
    `why` has ids of both by reason; null where an earlier version did not tell it, as are `rows_out`. `num_unnamed`
    videos went whose ids are erased.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    added: list[list[Any]] = []
    gone: list[str] = []
    why: dict[str, list[str]] | None = None
    rows_in: dict[str, int] = {}
    rows_out: dict[str, int] | None = None
    num_unnamed: int = 0
    is_compaction: bool = False


class EntryDocument(Document):
    """An entry on disk. `written_at` is by the clock of the machine that wrote it.

    `why` has ids by reason: of forgotten videos, and of added ones that were in the job before. It is null, as is
    `removed_rows`, where an earlier version wrote the entry. `changes` are what is left of an erased entry; null where
    nothing is. `round`, `oldest_round`, `former` and `put_back` are those of `EntryRound`. An earlier version does not
    know `setbacks`; it labels these videos again.
    """

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
    why: dict[str, list[str]] | None = None
    removed_rows: dict[str, int] | None = None
    changes: EntryChanges | None = None
    round: int = FIRST_ROUND
    oldest_round: int = FIRST_ROUND
    former: dict[str, str] = Field(default_factory=dict)
    setbacks: list[list[Any]] = Field(default_factory=list)
    put_back: list[str] = Field(default_factory=list)

    @classmethod
    def from_json(cls, data: bytes | str, name: str) -> Self:
        """The entry in `data`; `name` says in messages where it lies.

        Raises:
            NewerVersion: a newer version of this program wrote it.
            StorageError: this is no log entry.
        """
        try:
            return super().from_json(data, name)
        except NewerVersion:
            raise
        except ValueError as error:
            raise StorageError(
                f"{name} is no entry of a log ({reason_in_line(error)}): {PUT_BACK}", transient=False
            ) from error


def encode_entry(entry: Entry, notes: EntryNotes = NO_NOTES) -> bytes:
    """JSON of a log entry."""
    why: dict[str, list[str]] = {}
    for video_id, reason in (*entry.why.items(), *notes.again.items()):
        why.setdefault(reason, []).append(video_id)
    return EntryDocument(
        writer_id=entry.writer_id,
        epoch=entry.epoch,
        written_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        add=[SegmentFields.of(segment) for segment in entry.add],
        remove=list(entry.remove),
        forget=list(entry.forget),
        strikes=dict(entry.strikes),
        compaction=entry.kind is EntryKind.COMPACTION,
        is_erased=entry.kind is EntryKind.ERASED,
        why=why,
        removed_rows=dict(notes.removed_rows),
        round=entry.round,
        oldest_round=entry.oldest_round,
        former=dict(entry.former),
        setbacks=lists_of(entry.setbacks),
        put_back=list(entry.put_back),
    ).to_json()


def decode_entry(data: bytes, name: str = "a log entry") -> Entry:
    """The inverse of `encode_entry`; `name` says in messages where the entry lies.

    Raises:
        NewerVersion: the entry was written by a newer version of this program.
        StorageError: this is no log entry.
    """
    document = EntryDocument.from_json(data, name)
    forgotten = frozenset(document.forget)
    kind = EntryKind.COMPACTION if document.compaction else EntryKind.COMMIT
    return Entry(
        writer_id=document.writer_id,
        epoch=document.epoch,
        add=tuple(fields.segment() for fields in document.add),
        remove=tuple(document.remove),
        forget=tuple(document.forget),
        strikes=document.strikes,
        why={name: reason for reason, names in (document.why or {}).items() for name in names if name in forgotten},
        kind=EntryKind.ERASED if document.is_erased else kind,
        round=document.round,
        oldest_round=document.oldest_round,
        former=document.former,
        setbacks=tuple(outcomes_of(document.setbacks)),
        put_back=tuple(document.put_back),
    )
