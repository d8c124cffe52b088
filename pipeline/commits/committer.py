"""Brings published segments and the commit log into agreement, so that no video is lost or in the tables twice.

The driver always goes in this order: it publishes new segments, writes one log entry, and deletes the segments that
the new ones replace. A driver that is stopped in between leaves files that the log does not name. Nobody reads these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits.log import CommitLog, StaleEntry
from pipeline.commits.missing import lost_object
from pipeline.commits.sorting import DRIVER_ID, MaySwap, Sorted, may_swap_when_adopted, reason_of, sort_out
from pipeline.errors import StorageError
from pipeline.output.digest import DigestWriter, clean_digests
from pipeline.output.schema import TABLES
from pipeline.output.segment_files import SegmentOrigin, build_segment
from pipeline.output.segments import (
    SegmentFooter,
    delete_former,
    is_whole,
    list_segments,
    lost_former,
    publish,
    read_batches,
    read_footer,
    retire,
)
from pipeline.records import Outcome, Segment, Status
from pipeline.storage.atomic_files import deleted_on_error, spool_errors
from pipeline.storage.faults import is_from_full_disk
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)

_SEGMENTS_PER_ENTRY = 16
_SET_ASIDE_TOGETHER = 32  # when one of them is replaced, the others are written once more

Group = Sequence[tuple[str, Collection[str]]]
"""Segments, and some of the videos of each."""


def rewrite_without(
    storage: JobStorage, name: str, video_ids: Collection[str], spool_dir: Path, epoch: int
) -> Segment | None:
    """Publish a copy of segment `name` without some videos, as the driver's of `epoch`; None if nothing is left.

    See `copy_of`.
    """
    return copy_of(storage, name, lambda video_id: video_id not in video_ids, spool_dir, epoch)


def copy_of(
    storage: JobStorage, name: str, is_kept: Callable[[str], bool], spool_dir: Path, epoch: int
) -> Segment | None:
    """Publish a copy of some videos of segment `name`, as the driver's of `epoch`; None if these are none.

    The copy is not in the log yet, and the original stays. Memory is bounded by one row group.

    Raises:
        FileNotFoundError: the original, or a part of it, has been deleted meanwhile.
        StorageError: the store does not answer, or the disk of `spool_dir` is full.
    """
    footer = read_footer(storage, name)
    outcomes = [outcome for outcome in footer.segment.outcomes if is_kept(outcome.video_id)]
    if not outcomes:
        return None
    origin = SegmentOrigin(epoch, DRIVER_ID, footer.origin.fingerprint)
    wanted = pa.array([outcome.video_id for outcome in outcomes], pa.string())

    def kept(table: str) -> Iterator[pa.RecordBatch]:
        for batch in read_batches(storage, table, footer.segment):
            yield batch.filter(pc.is_in(batch["video_id"], value_set=wanted))

    batches = {table: kept(table) for table in TABLES}
    with spool_errors(spool_dir, is_from_full_disk):
        spool_dir.mkdir(parents=True, exist_ok=True)
        built = build_segment(origin, outcomes, batches, spool_dir)
    with deleted_on_error(built.files.values()):
        return publish(storage, built)


class SegmentKeeper:
    """What a driver does with segments: it commits, replaces, adopts and deletes them.

    After a `StorageError`, which says that the store does not answer, each method may be called again. After
    `LostOwnership` the driver must stop at once, because another one has the job.
    """

    def __init__(self, storage: JobStorage, log: CommitLog, spool_dir: Path) -> None:
        self._storage = storage
        self._log = log
        self._spool_dir = spool_dir
        self._digests = DigestWriter(storage)

    def commit(self, segments: Iterable[Segment], strikes: Mapping[str, int] | None = None) -> list[Outcome]:
        """Commit segments that workers have published, and new totals of strikes, in one log entry.

        If another attempt has finished a video before, the video is taken out of the new segment first. Segments that
        the log names already are skipped. Rows of videos that are set aside take the place of those that they have, in
        an entry before the other one; of those that failed the log keeps that instead. Returns the outcomes whose rows
        count from now on.
        """
        return self._commit(list(segments), strikes, lambda _segment, _video_id: True)

    def forget(
        self, video_ids: Iterable[str], why: Mapping[str, str] | None = None, keep_rows: Collection[str] = ()
    ) -> None:
        """Make finished videos unfinished, and remove their rows: they are to be labeled again.

        Their prompts have changed, `retry=` names their status, the job relabels all, or the tables lack them. `why`
        says it of each, by id: a `Reason`. Of videos in `keep_rows` only some objects are labeled again, so that the
        segments with their rows stay until then.
        """
        reasons, with_rows = why or {}, frozenset(keep_rows)

        def change(group: Group) -> None:
            copies = [self._rewrite(name, leaving) for name, leaving in group]
            forget = sorted(video_id for _, leaving in group for video_id in leaving)
            former = {v: name for name, leaving in group for v in leaving if v in with_rows}
            self._log.append(
                add=[copy for copy in copies if copy],
                remove=[name for name, _ in group],
                forget=forget,
                why={video_id: reasons[video_id] for video_id in forget if video_id in reasons},
                former=former,
            )

        finished = self._log.state.finished
        self._by_segment(list(video_ids), finished.__contains__, change)

    def set_aside(self, video_ids: Collection[str]) -> None:
        """Move `ok` videos of which some objects are labeled again to segments of their own.

        Their rows count until a commit puts new ones in their place. The segments with all rows of the round before
        stay for workers that read rows to keep. Videos that are not `ok` are left alone, and so are those that are set
        aside already, unless an earlier version of this program has deleted these segments meanwhile.
        """
        state = self._log.state
        lost = lost_former(self._storage, {state.formers[name] for name in video_ids if state.is_set_aside(name)})

        def is_to_move(video_id: str) -> bool:
            finished = state.finished.get(video_id)
            is_ok = finished is not None and finished.status is Status.OK
            return is_ok and (not state.is_set_aside(video_id) or state.formers[video_id] in lost)

        self._set_aside(list(video_ids), is_to_move)

    def _set_aside(self, video_ids: Sequence[str], is_to_move: Callable[[str], bool]) -> None:
        def change(group: Group) -> None:
            add: list[Segment | None] = []
            for name, leaving in group:
                add.append(self._rewrite(name, leaving))
                ordered = sorted(leaving)
                for first in range(0, len(ordered), _SET_ASIDE_TOGETHER):
                    some = frozenset(ordered[first : first + _SET_ASIDE_TOGETHER])
                    add.append(self._copy(name, some.__contains__))
            former = {video_id: name for name, leaving in group for video_id in leaving}
            self._log.move([copy for copy in add if copy is not None], [name for name, _ in group], former)

        self._by_segment(video_ids, is_to_move, change)

    def erase(self, is_wanted: Callable[[str], bool]) -> None:
        """Leave nothing that names a video which is neither finished nor wanted: the rest of what `forget` began.

        Objects that count no more are deleted, also those that other processes may be writing and those that earlier
        rounds of reviews need, and the history of the log is erased. Videos that are set aside are so anew: the log
        says that their rows to keep are in other segments, before those are deleted that may name other videos. A
        driver that is killed in between calls this again.
        """
        state = self._log.state
        self._set_aside(sorted(state.set_aside()), state.is_set_aside)
        state.forget_rounds_before(state.round)
        for video_id in state.formers.keys() - state.set_aside():
            del state.formers[video_id]
        self._log.append(forget=sorted(v for v in self._log.state.unfinished if not is_wanted(v)))
        self.sweep(temporary_seconds=0.0)
        clean_digests(self._storage, self._log.state.segments.keys())
        self._log.erase_history()

    def adopt(self, fingerprint: str) -> list[Outcome]:
        """Commit segments that a worker published before its driver, or the worker itself, died.

        Only whole segments of the same `fingerprint` are taken, and of these only videos that are unfinished, or that
        are set aside and were labeled after that. Returns the outcomes that count from now on. A worker that reports
        such a segment later changes nothing.
        """
        self._log.settle()
        state = self._log.state
        listed = list_segments(self._storage)
        sizes = {path: size for objects in listed.values() for path, size in objects.items()}
        names = [name for name in sorted(listed) if name not in state.segments and name not in state.removed]
        whole = [
            footer
            for footer in self._storage.in_parallel(self._footer, names)
            if footer is not None and footer.origin.fingerprint == fingerprint and is_whole(footer, sizes)
        ]
        may_swap = may_swap_when_adopted(state, {footer.segment.name: footer.origin for footer in whole})
        found = [
            footer.segment
            for footer in whole
            if any(
                one.video_id not in state.finished or may_swap(footer.segment, one.video_id)
                for one in footer.segment.outcomes
            )
        ]
        adopted: list[Outcome] = []
        remaining = iter(found)
        while group := list(islice(remaining, _SEGMENTS_PER_ENTRY)):
            adopted += self._commit(group, None, may_swap)
        return adopted

    def sweep(self, temporary_seconds: float = 3600.0) -> int:
        """Delete every segment that the log does not name, and temporary files of this age; return how many segments.

        No worker may be left, because it could have published a segment that is not committed yet. The log says first
        that these segments are removed, so that a driver that takes over in the middle adopts none of them. Those that
        rounds of reviews need are put with the others of earlier rounds.
        """
        self._log.settle()
        listed = list_segments(self._storage)
        while True:
            state = self._log.catch_up()
            unnamed = sorted(name for name in listed if name not in state.segments)
            try:
                self._log.append(remove=unnamed)
                break
            except StaleEntry:
                _log.info("a compaction has merged segments meanwhile; the driver reads the log again")
        spared = self._log.state.spared()
        retire(self._storage, unnamed, spared, listed)
        delete_former(self._storage, spared)
        self._storage.clear_temporary(temporary_seconds)
        return len(unnamed)

    def _commit(
        self, segments: Sequence[Segment], strikes: Mapping[str, int] | None, may_swap: MaySwap
    ) -> list[Outcome]:
        self._log.settle()
        counted: list[Outcome] = []
        while True:
            num_read = self._log.state.next_entry
            try:
                found = sort_out(segments, self._log.state, may_swap)
                counted += self._swap(found)
                counted += self._add(found, strikes)
                return counted
            except StaleEntry:
                pass
            except FileNotFoundError as error:
                if self._log.catch_up().next_entry == num_read:  # no compaction
                    raise lost_object(self._storage, error) from error
            _log.info("a compaction has merged segments meanwhile; the driver reads the log again")

    def _swap(self, found: Sequence[Sorted]) -> list[Outcome]:
        """Put new rows in the place of those of videos that are set aside, in one entry."""
        state, again = self._log.state, [outcome for one in found for outcome in one.again]
        if not again:
            return []
        groups = self._grouped(outcome.video_id for outcome in again)
        names = sorted(groups)
        others = [copy for name in names if (copy := self._rewrite(name, groups[name])) is not None]
        add = [part for one in found if (part := self._part(one, one.again)) is not None]
        self._log.append(
            add=[*others, *add],
            remove=names,
            forget=sorted(outcome.video_id for outcome in again),
            why={outcome.video_id: reason_of(outcome, state) for outcome in again},
        )
        self._delete(names)
        self._digests.add(add)
        return again

    def _add(self, found: Sequence[Sorted], strikes: Mapping[str, int] | None) -> list[Outcome]:
        """Commit new videos, what failed and kept its rows, and strikes, in one entry."""
        add = [part for one in found if (part := self._part(one, one.new)) is not None]
        replaced = [one.segment.name for one in found if one.is_left_out]
        failed = [outcome for one in found for outcome in one.failed]
        self._log.append(add=add, remove=replaced, strikes=strikes, setbacks=failed)
        self._delete(replaced)
        self._digests.add(add)
        return [outcome for segment in add for outcome in segment.outcomes]

    def _part(self, one: Sorted, some: list[Outcome]) -> Segment | None:
        """A segment with these of its videos: itself if they are all; None if they are none."""
        if not some or one.is_whole(some):
            return one.segment if some else None
        return self._copy(one.segment.name, {outcome.video_id for outcome in some}.__contains__)

    def _by_segment(
        self, video_ids: Sequence[str], is_wanted: Callable[[str], bool], change: Callable[[Group], None]
    ) -> None:
        """Do something with finished videos, by the segments that they are in, some segments in one entry."""
        self._log.settle()
        while not self._change_all(video_ids, is_wanted, change):
            _log.info("a compaction has merged segments meanwhile; the driver reads the log again")

    def _change_all(
        self, video_ids: Sequence[str], is_wanted: Callable[[str], bool], change: Callable[[Group], None]
    ) -> bool:
        """False: a compaction has moved some of the videos, so that the rest must be grouped anew."""
        remaining = iter(sorted(self._grouped(filter(is_wanted, video_ids)).items()))
        while group := list(islice(remaining, _SEGMENTS_PER_ENTRY)):
            names = [name for name, _ in group]
            try:
                change(group)
            except (StaleEntry, FileNotFoundError) as error:
                state = self._log.catch_up()
                if all(name in state.segments for name in names):  # no compaction
                    if isinstance(error, FileNotFoundError):
                        raise lost_object(self._storage, error) from error
                    raise
                return False
            self._delete(names)
        return True

    def _grouped(self, video_ids: Iterable[str]) -> dict[str, set[str]]:
        """Finished videos by the segments that they are in."""
        groups: dict[str, set[str]] = {}
        for video_id in video_ids:
            groups.setdefault(self._log.state.finished[video_id].segment, set()).add(video_id)
        return groups

    def _rewrite(self, name: str, leaving: Collection[str]) -> Segment | None:
        if len(leaving) == self._log.state.segments[name].num_videos:
            return None  # it need not be read, and may be lost
        return rewrite_without(self._storage, name, leaving, self._spool_dir, self._log.state.epoch)

    def _copy(self, name: str, is_kept: Callable[[str], bool]) -> Segment | None:
        return copy_of(self._storage, name, is_kept, self._spool_dir, self._log.state.epoch)

    def _delete(self, names: Sequence[str]) -> None:
        """Delete the objects of segments that count no more, or put them away. `sweep` finds what stays behind."""
        try:
            retire(self._storage, names, self._log.state.spared())
        except StorageError as error:
            _log.warning(
                "replaced segments could not be deleted now; the driver deletes them at the end of the job: %s",
                error,
            )

    def _footer(self, name: str) -> SegmentFooter | None:
        try:
            return read_footer(self._storage, name)
        except FileNotFoundError:
            return None
        except ValueError as error:
            _log.warning("a segment that a killed run left cannot be read and is not adopted: %s", error)
            return None
