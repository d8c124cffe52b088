"""The commit log: it says which segments and outcomes count. A driver commits by creating the next entry.

Entries are numbered, and the store refuses to create a number twice. That keeps a second driver out: a driver that has
lost the job without knowing finds its next number taken. So entries are never deleted; what they say can be erased.
After a hundred entries, later in a large job after more, the driver rolls the log up, so that whoever reads it next
reads one Parquet file and a short tail of entries.

One other process may write as well: a compaction, which only moves finished videos to larger segments. Its entries are
marked. A driver that finds one where it wanted to write applies it and takes the next number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.commits.entry import Entry, EntryDocument, EntryKind, decode_entry, encode_entry
from pipeline.commits.entry_changes import erased
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.commits.snapshot import JobState
from pipeline.errors import AlreadyExists, LostOwnership, StorageError
from pipeline.output import layout
from pipeline.records import Outcome, Segment
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.matching import is_glob
from pipeline.storage.on_disk import is_folder, is_there
from pipeline.storage.uris import local_path

_log = logging.getLogger(__name__)

_ROLL_UP_READS = 5
_ERASED_AT_A_TIME = 64


@dataclass(frozen=True)
class RollUpPolicy:
    """When the log is rolled up: after `entries`, as soon as they hold `new_share` of all finished videos.

    A roll-up is the whole state. One after every hundred entries would write a job of a million videos hundreds of
    times, so that the share must be reached as well. After `most_entries` the log is rolled up in any case, because
    whoever reads the job has to fetch every entry since. The last `kept` roll-ups stay, for readers that are at work.
    After the log was erased the last `told` entries still tell changes.
    """

    entries: int = 100
    most_entries: int = 2_000
    new_share: float = 0.1
    kept: int = 2
    told: int = 2_000


class StaleEntry(Exception):
    """A compaction has moved videos that this entry moves or forgets. Nothing of the entry counts: make it anew."""


def no_job(storage: JobStorage) -> FileNotFoundError:
    """The error for a place where a job is needed and no log is. On disk it says which place was meant, if it can."""
    why = f"no {layout.LOG}/ lies there, which the first run writes; give the output= of a run"
    if is_glob(storage.uri):
        why = f"it is a glob, and one output is needed; tables.open takes globs in a list, as [{str(storage)!r}]"
    elif storage.is_local:
        path = Path(local_path(storage.uri)).absolute()
        above = next((folder for folder in path.parents if is_folder(folder / layout.LOG)), None)
        if above is not None:
            why = f"it lies in one: did you mean {above}?"
        elif not is_there(path):
            why = f"there is no folder {path}; check the path, and give the output= of a run"
    return FileNotFoundError(f"{storage} holds no job: {why}")


class CommitLog:
    """The log of a job as one process sees it. `load` and `refresh` read; `claim`, `append` and `compact` write.

    `writer_id` must be unique to a process that writes: it tells a driver's own write from a rival's.
    """

    def __init__(self, storage: JobStorage, writer_id: str, roll_ups: RollUpPolicy | None = None) -> None:
        self.writer_id = writer_id
        self._policy = roll_ups or RollUpPolicy()
        self.state = JobState()
        self._storage = storage
        self._num_since_roll_up = 0
        self._num_videos_since_roll_up = 0
        self._is_uncertain = False
        self._round = self._oldest_round = FIRST_ROUND

    def load(self) -> JobState:
        """Read the state: the newest roll-up and the entries after it. Also `self.state` from now on.

        Raises:
            NewerVersion: a newer version of this program has written the log.
            StorageError: the store does not answer.
        """
        for _ in range(_ROLL_UP_READS):
            self.state = self._read_roll_up()
            self._num_since_roll_up = self._num_videos_since_roll_up = 0
            if self._read_tail():
                return self.state
        raise StorageError(
            f"{self._storage}/{layout.LOG}: the log is rolled up while it is read. Run the same command again."
        )

    def refresh(self) -> JobState:
        """Read what was written since `load`, or load."""
        if self.state.next_entry == 0 or not self._read_tail():
            return self.load()
        return self.state

    def catch_up(self) -> JobState:
        """Read what a compaction has written meanwhile; for the driver.

        Raises:
            LostOwnership: another driver has written the next entry.
            StorageError: the store does not answer.
        """
        while True:
            path = layout.log_entry(self.state.next_entry)
            (data,) = self._storage.read_existing([path])
            if data is None:
                return self.state
            self._apply_found(path, data)

    def settle(self) -> None:
        """Find out whether the last write, if it ended in a `StorageError`, reached the store after all.

        Raises:
            LostOwnership: another driver has written the next entry.
            StorageError: the store still does not answer.
        """
        if self._is_uncertain:
            path = layout.log_entry(self.state.next_entry)
            (data,) = self._storage.read_existing([path])
            if data is not None:
                self._apply_found(path, data)
            self._is_uncertain = False

    def set_round(self, number: int, oldest: int) -> None:
        """Entries of this process are of this round from now on, and say that `oldest` is the oldest one to keep.

        Neither ever becomes smaller than what the log says.
        """
        self._round, self._oldest_round = number, oldest

    def claim(self) -> int:
        """Open a new epoch and return it. Any other driver's next append will be refused.

        Raises:
            LostOwnership: another driver wrote since `load`, so it is alive.
            StorageError: the store does not answer.
        """
        while not self._write(self._of_round(Entry(self.writer_id, self.state.epoch + 1))):
            pass
        return self.state.epoch

    def append(
        self,
        add: Sequence[Segment] = (),
        remove: Sequence[str] = (),
        forget: Sequence[str] = (),
        strikes: Mapping[str, int] | None = None,
        why: Mapping[str, str] | None = None,
        former: Mapping[str, str] | None = None,
        setbacks: Sequence[Outcome] = (),
    ) -> None:
        """Commit: one entry for all of this, or none of it. See `Entry` for the meaning; `claim` comes before.

        After a `StorageError` it is unknown whether the entry was written; calling again with the same arguments
        is safe.

        Raises:
            LostOwnership: another driver has written the next entry. Nothing of this call counts.
            StorageError: the store does not answer.
            StaleEntry: a compaction came first and moved some of these videos.
            ValueError: the entry would double or lose a video.
        """
        asked = Entry(
            self.writer_id,
            self.state.epoch,
            tuple(add),
            tuple(remove),
            tuple(forget),
            strikes or {},
            why or {},
            former=former or {},
            setbacks=tuple(setbacks),
        )
        self._append(asked)

    def move(self, add: Sequence[Segment], remove: Sequence[str], former: Mapping[str, str]) -> None:
        """Put segments in the place of those that their finished videos were in, as a driver's own entry.

        `former` are videos that are labeled again in part from now on; see `EntryRound`. See `append` for the rest.
        """
        kind = EntryKind.COMPACTION
        self._append(Entry(self.writer_id, self.state.epoch, tuple(add), tuple(remove), kind=kind, former=former))

    def put_back(self, video_ids: Iterable[str]) -> None:
        """Videos that are set aside are so no more; see `EntryRound`. See `append` for the rest."""
        self._append(Entry(self.writer_id, self.state.epoch, put_back=tuple(sorted(video_ids))))

    def _append(self, asked: Entry) -> None:
        was_refused = False
        while True:
            entry = self._of_round(self._remaining(asked))
            if not (entry.add or entry.remove or entry.forget or entry.strikes or entry.setbacks or entry.put_back):
                return
            try:
                self.state.check(entry)
            except ValueError as error:
                if was_refused:
                    raise StaleEntry(str(error)) from error
                raise
            if self._write(entry):
                break
            was_refused = True
        self._roll_up_when_due()

    def compact(self, add: Sequence[Segment], remove: Sequence[str]) -> None:
        """Commit merged segments in place of those they were made of. For any process: no `claim` is needed.

        Segments of `remove` that the log does not name will never count. Other writers' entries that come first are
        applied. After a `StorageError` calling again is safe.

        Raises:
            StaleEntry: one of the segments, or of their videos, has left the log meanwhile. Nothing of this counts.
            StorageError: the store does not answer.
        """
        while not self._is_applied(add, remove):
            entry = Entry(self.writer_id, self.state.epoch, tuple(add), tuple(remove), kind=EntryKind.COMPACTION)
            entry = self._of_round(entry)
            gone = [name for name in remove if name in self.state.removed]
            if gone:
                raise StaleEntry(f"segment {gone[0]} has left the log")
            try:
                self.state.check(entry)
            except ValueError as error:
                raise StaleEntry(str(error)) from error
            path = layout.log_entry(self.state.next_entry)
            try:
                self._storage.create(path, encode_entry(entry, self.state.notes_of(entry)))
            except AlreadyExists:
                entry = self._decoded(path, self._storage.read(path))
            if entry.kind is EntryKind.ERASED:
                self.load()
            else:
                self._apply(entry)
        self._roll_up_when_due()

    def _is_applied(self, add: Sequence[Segment], remove: Sequence[str]) -> bool:
        state = self.state
        return state.removed.issuperset(remove) and all(segment.name in state.segments for segment in add)

    def roll_up(self) -> None:
        """Write the state as a roll-up now."""
        self._write_roll_up(self._policy.kept)

    def erase_history(self) -> None:
        """Leave no id in the log of a video that the job has forgotten.

        A roll-up takes the place of all earlier ones, then each entry before it is replaced by one that counts no more
        and still keeps its number from other drivers. The last ones still tell changes of videos that the job knows,
        and are gone through again each time, because it may have forgotten some of these since. Whoever is killed in
        between calls this again. For the driver.

        Raises `StorageError` if the store does not answer; call again.
        """
        state = self.state
        self._write_roll_up(kept=1)
        first, first_told = (max(0, number - self._policy.told) for number in (state.erased_before, state.next_entry))
        for number in range(first, state.next_entry, _ERASED_AT_A_TIME):
            self._erase(range(number, min(number + _ERASED_AT_A_TIME, state.next_entry)), first_told)
        state.erased_before = state.next_entry
        self._write_roll_up(kept=1)

    def _erase(self, numbers: range, first_told: int) -> None:
        """Erase these entries; those from `first_told` on still tell changes of videos that the job knows."""
        state, paths = self.state, [layout.log_entry(number) for number in numbers]
        unfinished, left = state.unfinished, {}

        def is_known(video_id: str) -> bool:
            return video_id in state.finished or video_id in unfinished

        for number, path, data in zip(
            numbers, paths, self._storage.in_parallel(self._storage.read, paths), strict=True
        ):
            entry = EntryDocument.from_json(data, f"{self._storage}/{path}")
            now = erased(entry, self.writer_id, state.epoch, is_known if number >= first_told else None)
            if now != entry:
                left[path] = now.to_json()
        self._storage.in_parallel(lambda path: self._storage.replace(path, left[path]), left)

    def _write_roll_up(self, kept: int) -> None:
        self._storage.replace(layout.roll_up(self.state.next_entry), self.state.to_parquet())
        self._num_since_roll_up = self._num_videos_since_roll_up = 0
        old = self._storage.listing(layout.LOG, layout.ROLL_UP_STEM)[:-kept]
        self._storage.delete(stored.path for stored in old)

    def _remaining(self, entry: Entry) -> Entry:
        """What of `entry` the log does not say yet: all of it, unless an earlier attempt got through."""
        state = self.state
        add = tuple(segment for segment in entry.add if segment.name not in state.segments)
        forget = tuple(name for name in entry.forget if state.is_forgotten_by(name, entry.why.get(name, "")))
        if entry.add and not add:  # their new rows count already
            forget = ()
        moved = entry.former if entry.kind is EntryKind.COMPACTION else {}
        return replace(
            entry,
            add=add,
            remove=tuple(name for name in entry.remove if name not in state.removed),
            forget=forget,
            why={name: entry.why[name] for name in forget if name in entry.why},
            former={**moved, **{name: entry.former[name] for name in forget if name in entry.former}},
            setbacks=tuple(one for one in entry.setbacks if state.is_set_aside(one.video_id)),
            put_back=tuple(filter(state.is_set_aside, entry.put_back)),
            strikes={name: count for name, count in entry.strikes.items() if state.strikes.get(name, 0) != count},
        )

    def _of_round(self, entry: Entry) -> Entry:
        """An entry with the round in which it is written."""
        state = self.state
        return replace(
            entry, round=max(self._round, state.round), oldest_round=max(self._oldest_round, state.oldest_round)
        )

    def _write(self, entry: Entry) -> bool:
        """Create the next entry and apply it. False: an earlier write of ours, or a compaction, was there instead."""
        path = layout.log_entry(self.state.next_entry)
        try:
            self._storage.create(path, encode_entry(entry, self.state.notes_of(entry)))
        except AlreadyExists:
            self._apply_found(path, self._storage.read(path))
            return False
        except StorageError:
            self._is_uncertain = True
            raise
        self._apply(entry)
        return True

    def _decoded(self, path: str, data: bytes) -> Entry:
        return decode_entry(data, f"{self._storage}/{path}")

    def _apply_found(self, path: str, data: bytes) -> None:
        entry = self._decoded(path, data)
        if entry.writer_id != self.writer_id and entry.kind is not EntryKind.COMPACTION:
            raise LostOwnership(
                f"{self._storage}: driver {entry.writer_id} has taken this job over. This driver stops; what it "
                "committed counts, and the other one goes on from there."
            )
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        self.state.apply(entry)
        self._num_since_roll_up += 1
        self._num_videos_since_roll_up += sum(len(segment.outcomes) for segment in entry.add)

    def _roll_up_when_due(self) -> None:
        """A roll-up only saves time later, so a store that fails now is no reason to fail the commit."""
        if not self._is_roll_up_due():
            return
        try:
            self.roll_up()
        except StorageError as error:
            _log.warning("the commit log was not rolled up; the driver tries again at its next commit: %s", error)

    def _is_roll_up_due(self) -> bool:
        policy = self._policy
        enough_new = self._num_videos_since_roll_up >= policy.new_share * len(self.state.finished)
        return self._num_since_roll_up >= policy.most_entries or (
            self._num_since_roll_up >= policy.entries and enough_new
        )

    def _read_roll_up(self) -> JobState:
        for _ in range(_ROLL_UP_READS):
            stored = self._storage.listing(layout.LOG, layout.ROLL_UP_STEM)
            if not stored:
                return JobState()
            path = stored[-1].path
            try:
                return JobState.from_parquet(self._storage.read(path), f"{self._storage}/{path}")
            except FileNotFoundError:
                continue  # a running driver has deleted it after writing newer ones
        raise StorageError(
            f"{self._storage}/{layout.LOG}: roll-ups vanish while they are read. Run the same command again."
        )

    def _read_tail(self) -> bool:
        """Apply the entries after the roll-up. They are fetched by number: listing a long log would take longer.

        False: an entry has been erased meanwhile, so that a newer roll-up is to be read.
        """
        num_ahead = 4
        while True:
            first = self.state.next_entry
            paths = [layout.log_entry(first + n) for n in range(num_ahead)]
            for path, data in zip(paths, self._storage.read_existing(paths), strict=True):
                if data is None:
                    return True
                entry = self._decoded(path, data)
                if entry.kind is EntryKind.ERASED:
                    return False
                self._apply(entry)
            num_ahead = min(num_ahead * 2, 64)
