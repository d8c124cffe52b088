"""What an entry of the log changed, and what is left of it when a run with `prune=true` erases the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pipeline.commits.entry import EntryChanges, EntryDocument
from pipeline.output.schema import TABLES
from pipeline.records import Reason


def changes_of(entry: EntryDocument) -> EntryChanges | None:
    """What an entry changed; None for one that says nothing any more."""
    if entry.is_erased:
        return entry.changes
    none = dict.fromkeys(TABLES, 0)
    if entry.compaction:
        # The driver sets videos aside, which moves rows as well: nothing changes until new ones take their place.
        return EntryChanges(rows_in=none, rows_out=none) if entry.former else EntryChanges(is_compaction=True)
    forgotten = frozenset(entry.forget)
    rows_in: Counter[str] = Counter(none)
    rows_moved: Counter[str] = Counter()
    added = []
    for segment in entry.add:
        new = [outcome for outcome in segment.outcomes if not forgotten or outcome[0] in forgotten]
        (rows_in if new else rows_moved).update(segment.rows)  # a copy of what was there has no new videos
        added += new
    rows_out = None
    if entry.removed_rows is not None:
        rows_out = {table: entry.removed_rows.get(table, 0) - rows_moved[table] for table in TABLES}
    # Where no segment is removed, the forgotten videos were unfinished, and no rows went.
    gone = list(entry.forget) if entry.remove else []
    return EntryChanges(added=added, gone=gone, why=entry.why, rows_in=dict(rows_in), rows_out=rows_out)


def reasons_of(changes: EntryChanges) -> dict[str, str]:
    """Why videos went or were labeled again, by id."""
    why = {name: reason for reason, names in (changes.why or {}).items() for name in names}
    return {**dict.fromkeys(changes.gone, Reason.UNKNOWN.value), **why}


def erased(
    entry: EntryDocument, writer_id: str, epoch: int, is_named: Callable[[str], bool] | None = None
) -> EntryDocument:
    """What is left of an entry: its time, and the changes of videos that may be named. Of others only sums are kept.

    Without `is_named` nothing of it is left.
    """
    changes = None if is_named is None else changes_of(entry)
    if changes is not None and is_named is not None:
        changes = _without_others(changes, is_named)
    if entry.is_erased and changes == entry.changes:
        return entry
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return EntryDocument(
        writer_id=writer_id,
        epoch=epoch,
        written_at=now if changes is None else entry.written_at,
        add=[],
        remove=[],
        forget=[],
        strikes={},
        is_erased=True,
        changes=changes,
        round=entry.round,
        oldest_round=entry.oldest_round,
    )


def _without_others(changes: EntryChanges, is_named: Callable[[str], bool]) -> EntryChanges:
    def named(names: Iterable[str]) -> list[str]:
        return [name for name in names if is_named(name)]

    gone = named(changes.gone)
    why = None if changes.why is None else {reason: named(names) for reason, names in changes.why.items()}
    return changes.model_copy(
        update={
            "added": [outcome for outcome in changes.added if is_named(outcome[0])],
            "gone": gone,
            "why": None if why is None else {reason: names for reason, names in why.items() if names},
            "num_unnamed": changes.num_unnamed + len(changes.gone) - len(gone),
        }
    )
