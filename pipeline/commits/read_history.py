"""What has changed in a job since an entry of its log or since a time: the log alone says it.

Only entries from the asked one on are read, and the one before it, so that asking costs what is new and not what is
known. What counts is the difference between the two ends: a video that came and went again in between is left out.
A reader that keeps `History.entry` and asks from there next time sees each change once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from itertools import count
from typing import NamedTuple

from pipeline.commits.entry import EntryChanges, EntryDocument
from pipeline.commits.entry_changes import changes_of, reasons_of
from pipeline.commits.history import Change, History, Kind, Sums
from pipeline.commits.log import no_job
from pipeline.errors import NoHistory
from pipeline.output import layout
from pipeline.output.schema import TABLES
from pipeline.output.segment_document import outcomes_of
from pipeline.records import Outcome, Reason
from pipeline.storage.job_storage import JobStorage

_MOST_AT_A_TIME = 64


def read_history(storage: JobStorage, since: int | datetime = 0, stop: int | None = None) -> History:
    """What changed from entry number `since`, or from a time on, up to now or up to entry `stop` (exclusive).

    A time is compared with the clocks of the machines that wrote the log. It must have a time zone.

    Raises:
        FileNotFoundError: there is no job.
        NoHistory: entries from there on were erased, and it says from when on there are some; or the log ends before.
        NewerVersion: a newer version of this program has written the log.
        StorageError: the store does not answer.
    """
    reader = _Reader(storage)
    start = since if isinstance(since, int) else _first_since(reader, since)
    if isinstance(since, datetime) and stop is not None:
        start = min(start, stop)  # the log has grown beyond `stop` before that time
    found = _Found(start, since if isinstance(since, datetime) else None)
    for number, entry in reader.entries(max(start - 1, 0), stop):
        found.add(number, entry)
    if found.num_read == 0:
        if start == 0:
            raise no_job(storage)
        raise NoHistory(
            f"{storage}: the log ends before entry {start}, so that it is not the log that this number is of. Was the "
            "output deleted and begun anew? Then read all of it, from entry=0.",
            first_entry=0,
        )
    found.check_not_erased(storage)
    return found.history()


class _Reader:
    """Reads entries by their numbers. Listing a long log would take longer."""

    def __init__(self, storage: JobStorage) -> None:
        self._storage = storage

    def entries(self, first: int, stop: int | None) -> Iterator[tuple[int, EntryDocument]]:
        """The entries from `first` on, up to the end of the log or to `stop`."""
        at_a_time = 2
        while stop is None or first < stop:
            last = first + at_a_time if stop is None else min(first + at_a_time, stop)
            paths = [layout.log_entry(number) for number in range(first, last)]
            for number, data in zip(count(first), self._storage.read_existing(paths)):
                if data is None:
                    return
                yield number, self._document(number, data)
            first, at_a_time = last, min(at_a_time * 2, _MOST_AT_A_TIME)

    def entry(self, number: int) -> EntryDocument | None:
        """One entry; None if the log does not reach to it."""
        (data,) = self._storage.read_existing([layout.log_entry(number)])
        return None if data is None else self._document(number, data)

    def rolled_up_to(self) -> int:
        """A number that the log reaches to, near its end: that of the newest roll-up."""
        stored = self._storage.listing(layout.LOG, layout.ROLL_UP_STEM)
        return layout.number_of_roll_up(stored[-1].path) if stored else 0

    def _document(self, number: int, data: bytes) -> EntryDocument:
        return EntryDocument.from_json(data, f"{self._storage}/{layout.log_entry(number)}")


def _first_since(reader: _Reader, time: datetime) -> int:
    """The number of the first entry that was written at this time or later; the end of the log if there is none."""

    def is_later(number: int) -> bool:
        entry = reader.entry(number)
        return entry is None or (changes_of(entry) is not None and datetime.fromisoformat(entry.written_at) >= time)

    return first_true(is_later, reader.rolled_up_to())


def first_true(is_true: Callable[[int], bool], guess: int) -> int:
    """The first number from 0 on for which something is true, if it stays true from there on.

    Looks from `guess` in steps that double, then halves: about `2 * log2(distance)` calls.
    """
    low, high, step = -1, guess, 1
    if is_true(guess):
        while high > 0:
            low = max(high - step, 0)
            if not is_true(low):
                break
            high, low, step = low, -1, 2 * step
    else:
        while not is_true(guess + step):
            guess, step = guess + step, 2 * step
        low, high = guess, guess + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_true(middle) else (middle, high)
    return high


class _Before(Enum):
    """What a video was before the entries: finished, finished once and unfinished then, new, or nobody has told."""

    THERE, UNFINISHED, NEW, UNKNOWN = range(4)


class _Seen(NamedTuple):
    """A video in the entries so far: what it was before them, why it changed, and how it stands now."""

    before: _Before
    why: str
    outcome: Outcome | None
    entry: int
    at: datetime


@dataclass
class _Totals:
    """Sums over the entries."""

    rows_in: Counter[str] = field(default_factory=Counter)
    rows_out: Counter[str] = field(default_factory=Counter)
    is_removed_known: bool = True
    num_compactions: int = 0
    num_unnamed: int = 0
    erased_at: datetime | None = None
    first_kept: int = 0

    def add(self, changes: EntryChanges) -> None:
        """Count what an entry changed."""
        self.num_compactions += changes.is_compaction
        self.num_unnamed += changes.num_unnamed
        self.rows_in.update(changes.rows_in)
        if changes.rows_out is not None:
            self.rows_out.update(changes.rows_out)
        elif not changes.is_compaction:
            self.is_removed_known = False

    def sums(self) -> Sums:
        """The sums as readers get them."""
        return Sums(
            {table: self.rows_in[table] for table in TABLES},
            {table: self.rows_out[table] for table in TABLES} if self.is_removed_known else None,
            self.num_compactions,
            self.num_unnamed,
        )


@dataclass
class _Found:
    """What the entries say, one after the other."""

    start: int
    since: datetime | None
    until: datetime | None = None
    num_read: int = 0
    seen: dict[str, _Seen] = field(default_factory=dict)
    totals: _Totals = field(default_factory=_Totals)

    @property
    def stop(self) -> int:
        """The number after that of the last entry."""
        return max(self.start - 1, 0) + self.num_read

    def add(self, number: int, entry: EntryDocument) -> None:
        """Take one entry into account; of the one before `start` only its time."""
        self.num_read += 1
        at = datetime.fromisoformat(entry.written_at)
        changes = changes_of(entry)
        if number < self.start:
            if changes is None and self.since is not None and at > self.since:
                self.totals.erased_at, self.totals.first_kept = at, self.start
            self.since, self.until = self.since or at, at
            return
        self.until = at
        if changes is None:
            self.totals.erased_at, self.totals.first_kept = at, number + 1
            return
        self.totals.add(changes)
        reasons = reasons_of(changes)
        for video_id in changes.gone:
            self._forget(video_id, reasons[video_id], number, at)
        for outcome in outcomes_of(changes.added):
            why = reasons.get(outcome.video_id, "" if changes.why is not None else None)
            self._label(outcome, why, number, at)

    def _forget(self, video_id: str, why: str, number: int, at: datetime) -> None:
        seen = self.seen.get(video_id)
        before = _Before.THERE if seen is None else seen.before
        self.seen[video_id] = _Seen(before, why, None, number, at)

    def _label(self, outcome: Outcome, why: str | None, number: int, at: datetime) -> None:
        """A video is finished; `why` is None where the entry does not tell whether it is the first time."""
        seen = self.seen.get(outcome.video_id)
        if seen is not None:
            before, why = seen.before, why or seen.why
        elif why is None:
            before = _Before.UNKNOWN
        else:
            before = _Before.UNFINISHED if why else _Before.NEW
        self.seen[outcome.video_id] = _Seen(before, why or "", outcome, number, at)

    def check_not_erased(self, storage: JobStorage) -> None:
        """Raises `NoHistory` if one of the entries says nothing any more."""
        erased_at, first = self.totals.erased_at, self.totals.first_kept
        if erased_at is not None:
            raise NoHistory(
                f"{storage}: what its log said before {_in_words(erased_at)} was erased, because a run with prune=true "
                f"leaves no trace of removed videos. The log tells changes from entry={first} on, or since="
                f"{erased_at.isoformat()}. Compare what you have with the videos of the job, then go on from there.",
                first_entry=first,
            )

    def history(self) -> History:
        """The difference between the two ends."""
        changes = [
            Change(video_id, kind, _why(seen), seen.outcome, seen.entry, seen.at)
            for video_id, seen in self.seen.items()
            if (kind := _kind_of(seen)) is not None
        ]
        changes.sort(key=lambda change: (change.entry, change.video_id))
        return History(self.start, self.stop, self.since, self.until, tuple(changes), self.totals.sums())


def _kind_of(seen: _Seen) -> Kind | None:
    if seen.outcome is None:
        return Kind.REMOVED if seen.before is _Before.THERE else None
    return Kind.AGAIN if seen.before in (_Before.THERE, _Before.UNFINISHED) else Kind.ADDED


def _why(seen: _Seen) -> str:
    """A video that came in between and was then labeled again is new to a reader. `unknown`: it may not be new."""
    if seen.before is _Before.NEW:
        return ""
    return Reason.UNKNOWN if seen.before is _Before.UNKNOWN else seen.why


def _in_words(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
