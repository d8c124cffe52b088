"""The rounds of reviews as the log tells them: when each was, and what the tables were at the end of one.

Each entry has its round, which never falls. So the state at the end of a round is what the log adds up to before the
first entry of a later one. What was erased by a run with `prune=true` is told no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from pipeline.commits.entry import Entry, EntryDocument, EntryKind, decode_entry
from pipeline.commits.log import CommitLog, no_job
from pipeline.commits.read_history import first_true
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.commits.snapshot import JobState
from pipeline.errors import NoRound
from pipeline.output import layout
from pipeline.storage.job_storage import JobStorage

_ENTRIES_AT_A_TIME = 64


@dataclass(frozen=True)
class RoundEntries:
    """Entries `[first, stop)` of the log that are of one round, and when the round began and ended.

    The first round began with the job; the last one has no end. `is_readable`: its tables can still be read.
    """

    number: int
    first: int
    stop: int
    began_at: datetime
    ended_at: datetime | None
    is_readable: bool


def read_rounds(storage: JobStorage, state: JobState) -> list[RoundEntries]:
    """All rounds of a job, whose log adds up to `state`, the first one first.

    About twice as many entries are read for each as the length of the log has binary digits. Raises `StorageError`.
    """

    def document(number: int) -> EntryDocument:
        path = layout.log_entry(number)
        return EntryDocument.from_json(storage.read(path), f"{storage}/{path}")

    def first_of(number: int, after: int) -> int:
        return first_true(lambda at: at >= state.next_entry or (at >= after and document(at).round >= number), after)

    firsts = [0]
    for number in range(FIRST_ROUND + 1, state.round + 1):
        firsts.append(first_of(number, firsts[-1]))
    began = [datetime.fromisoformat(document(first).written_at) for first in firsts]
    ends = [*zip(firsts[1:], began[1:], strict=True), (state.next_entry, None)]
    return [
        RoundEntries(number, first, stop, began_at, ended_at, number >= state.oldest_round)
        for number, first, began_at, (stop, ended_at) in zip(count(FIRST_ROUND), firsts, began, ends)
    ]


def end_of_round(storage: JobStorage, number: int) -> int:
    """The number of the entry at which the next round began; that of the next entry for the round of now.

    Raises `FileNotFoundError` where there is no job, `NoRound` if there was no such round, and `StorageError`.
    """
    state = CommitLog(storage, "reader").load()
    if state.next_entry == 0:
        raise no_job(storage)
    if not FIRST_ROUND <= number <= state.round:
        there = "is round 1 alone" if state.round == FIRST_ROUND else f"are rounds 1 to {state.round}"
        raise NoRound(f"round={number}: there {there} of {storage}")
    return read_rounds(storage, state)[number - FIRST_ROUND].stop


def check_round(storage: JobStorage, state: JobState, number: int) -> None:
    """Raises `NoRound`, which names those that there are, if the tables of a round cannot be read."""
    if not state.oldest_round <= number <= state.round:
        first, last = state.oldest_round, state.round
        there = f"is round {last}" if first == last else f"are rounds {first} to {last}"
        why = (
            "masks that were replaced before are deleted (keep_rounds=)"
            if FIRST_ROUND <= number < state.oldest_round
            else "a run that takes reviews in opens the next one"
        )
        raise NoRound(f"{storage}: round {number} cannot be read; there {there}: {why}")


def state_of_round(storage: JobStorage, now: JobState, number: int) -> JobState:
    """What the log of a job added up to at the end of a round; `now` is what it adds up to now.

    All entries up to there are read, or those after a roll-up of that time if there is one.

    Raises `NoRound` if its tables can be read no more, and `StorageError` if the store does not answer.
    """
    check_round(storage, now, number)
    if number == now.round:
        return now
    state = _roll_up_before(storage, number)
    for entry in _entries(storage, state.next_entry, now.next_entry):
        if entry.round > number:
            break
        if entry.kind is EntryKind.ERASED:
            raise NoRound(f"{storage}: round {number} cannot be read: what its log said was erased by prune=true")
        state.apply(entry)
    return state


def _roll_up_before(storage: JobStorage, number: int) -> JobState:
    """The newest sum of the log that has no entry of a later round."""
    for stored in reversed(storage.listing(layout.LOG, layout.ROLL_UP_STEM)):
        (data,) = storage.read_existing([stored.path])
        if data is not None:
            state = JobState.from_parquet(data, f"{storage}/{stored.path}")
            if state.round <= number:
                return state
    return JobState()


def _entries(storage: JobStorage, first: int, stop: int) -> Iterator[Entry]:
    for begin in range(first, stop, _ENTRIES_AT_A_TIME):
        paths = [layout.log_entry(number) for number in range(begin, min(begin + _ENTRIES_AT_A_TIME, stop))]
        for path, data in zip(paths, storage.in_parallel(storage.read, paths), strict=True):
            yield decode_entry(data, f"{storage}/{path}")
