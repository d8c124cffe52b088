"""What has changed in a job between two entries of its log: a video each, and sums. `read_history` finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pipeline.records import Outcome

if TYPE_CHECKING:
    import pandas

_ROWS_AT_A_TIME = 16_384  # as dictionaries, which take ten times the room of columns

CHANGES = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("change", pa.string(), nullable=False),  # `added`, `again` or `removed`
        pa.field("why", pa.string(), nullable=False),  # `pipeline.records.Reason`; empty: labeled for the first time
        pa.field("status", pa.string()),  # how it stands now; null: removed
        pa.field("error_class", pa.string()),
        pa.field("message", pa.string()),
        pa.field("num_masks", pa.int64()),
        pa.field("num_tracks", pa.int32()),  # null: removed, or an earlier version did not count them
        pa.field("num_frames", pa.int64()),
        pa.field("attempts", pa.int32()),
        pa.field("entry", pa.int64(), nullable=False),  # of the log: the last one that changed it
        pa.field("changed_at", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
"""One row per video that changed."""


class Kind(StrEnum):
    """What became of a video: its rows are new, are others than before, or are gone."""

    ADDED = "added"
    AGAIN = "again"
    REMOVED = "removed"


class Change(NamedTuple):
    """One video that changed.

    `why` is a `Reason` or one of later versions; it is empty for a video that was labeled for the first time. The
    `outcome` is that of now, None for a removed video. `entry` is the last one that changed it, written at `at`.
    """

    video_id: str
    kind: Kind
    why: str
    outcome: Outcome | None
    entry: int
    at: datetime


@dataclass(frozen=True)
class Sums:
    """Rows that came and went, by table; `rows_out` are None where an earlier version did not tell it.

    Compactions are `num_compactions` of the entries; they change nothing. An entry that sets videos of a round aside
    changes nothing either, and is no compaction. At most `num_unnamed` videos left whose ids were erased
    (`prune=true`): they are in no list of changes.
    """

    rows_in: dict[str, int]
    rows_out: dict[str, int] | None
    num_compactions: int
    num_unnamed: int


@dataclass(frozen=True)
class History:
    """Entries `[first_entry, entry)` of a log and what they changed, ascending by entry.

    The next reading begins at `entry`. `since` is the time that was asked for, or when the entry before the first one
    was written; `until` when the last one was. None: there is no such entry.
    """

    first_entry: int
    entry: int
    since: datetime | None
    until: datetime | None
    changes: tuple[Change, ...]
    sums: Sums

    def of_kind(self, kind: Kind) -> list[Change]:
        """The changes of one kind."""
        return [change for change in self.changes if change.kind is kind]

    @property
    def video_ids(self) -> list[str]:
        """The videos with new rows: they came, or were labeled again."""
        return [change.video_id for change in self.changes if change.kind is not Kind.REMOVED]

    @property
    def gone_ids(self) -> list[str]:
        """The videos whose earlier rows count no more: they left, or were labeled again."""
        return [change.video_id for change in self.changes if change.kind is not Kind.ADDED]

    def rows(self) -> list[dict[str, Any]]:
        """A row per change as `CHANGES` names its values, in their order."""
        return [_row(change) for change in self.changes]

    def to_table(self) -> pa.Table:
        """The same as a table."""
        groups = (
            self.changes[first : first + _ROWS_AT_A_TIME] for first in range(0, len(self.changes), _ROWS_AT_A_TIME)
        )
        parts = [pa.Table.from_pylist(list(map(_row, group)), CHANGES) for group in groups]
        return pa.concat_tables([CHANGES.empty_table(), *parts])

    def to_pandas(self) -> pandas.DataFrame:
        """The same for pandas."""
        return self.to_table().to_pandas()


def _row(change: Change) -> dict[str, Any]:
    outcome = change.outcome
    now = (
        {}
        if outcome is None
        else {
            "status": outcome.status.value,
            "error_class": outcome.error_class,
            "message": outcome.message,
            "num_masks": outcome.num_masks,
            "num_tracks": outcome.details.num_tracks,
            "num_frames": outcome.num_frames,
            "attempts": outcome.details.attempts,
        }
    )
    return (
        dict.fromkeys(CHANGES.names)
        | now
        | {
            "video_id": change.video_id,
            "change": change.kind.value,
            "why": str(change.why),
            "entry": change.entry,
            "changed_at": change.at,
        }
    )
