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
from pipeline.errors import StorageError
from pipeline.output.digest import DigestWriter, clean_digests
from pipeline.output.schema import TABLES
from pipeline.output.segment_files import SegmentOrigin, build_segment
from pipeline.output.segments import (
    SegmentFooter,
    delete_former,
    is_whole,
    list_segments,
    publish,
    read_batches,
    read_footer,
    retire,
)
from pipeline.records import Outcome, Segment
from pipeline.storage.atomic_files import deleted_on_error, spool_errors
from pipeline.storage.faults import is_from_full_disk
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)

_SEGMENTS_PER_ENTRY = 16


def rewrite_without(
    storage: JobStorage, name: str, video_ids: Collection[str], spool_dir: Path, epoch: int
) -> Segment | None:
    """Publish a copy of segment `name` without some videos, as the driver's of `epoch`; None if nothing is left.

    The copy is not in the log yet, and the original stays. Memory is bounded by one row group.

    Raises:
        FileNotFoundError: the original, or a part of it, has been deleted meanwhile.
        StorageError: the store does not answer, or the disk of `spool_dir` is full.
    """
    footer = read_footer(storage, name)
    outcomes = [outcome for outcome in footer.segment.outcomes if outcome.video_id not in video_ids]
    if not outcomes:
        return None
    origin = SegmentOrigin(epoch, "driver", footer.origin.fingerprint)
    dropped = pa.array(list(video_ids), pa.string())

    def kept(table: str) -> Iterator[pa.RecordBatch]:
        for batch in read_batches(storage, table, footer.segment):
            yield batch.filter(pc.invert(pc.is_in(batch["video_id"], value_set=dropped)))

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
        the log names already are skipped. Returns the outcomes that count from now on.
        """
        self._log.settle()
        state = self._log.state
        add: list[Segment] = []
        replaced: list[str] = []
        taken: set[str] = set()
        for segment in segments:
            if segment.name in state.segments or segment.name in state.removed:
                continue
            leaving = {
                outcome.video_id
                for outcome in segment.outcomes
                if outcome.video_id in state.finished or outcome.video_id in taken
            }
            kept = segment
            if leaving:
                replaced.append(segment.name)
                copy = self._rewrite(segment.name, leaving)
                if copy is None:
                    continue
                kept = copy
            add.append(kept)
            taken.update(outcome.video_id for outcome in kept.outcomes)
        self._log.append(add=add, remove=replaced, strikes=strikes)
        self._delete(replaced)
        self._digests.add(add)
        return [outcome for segment in add for outcome in segment.outcomes]

    def forget(
        self, video_ids: Iterable[str], why: Mapping[str, str] | None = None, keep_rows: Collection[str] = ()
    ) -> None:
        """Make finished videos unfinished, and remove their rows: they are to be labeled again.

        Their prompts have changed, `retry=` names their status, the job relabels all, or the tables lack them. `why`
        says it of each, by id: a `Reason`. Of videos in `keep_rows` only some objects are labeled again, so that the
        segments with their rows stay until then.
        """
        self._log.settle()
        wanted = list(video_ids)
        while not self._forget(wanted, why or {}, frozenset(keep_rows)):
            _log.info("a compaction has merged segments meanwhile; the driver reads the log again")

    def erase(self, is_wanted: Callable[[str], bool]) -> None:
        """Leave nothing that names a video which is neither finished nor wanted: the rest of what `forget` began.

        Objects that count no more are deleted, also those that other processes may be writing and those that earlier
        rounds of reviews need, and the history of the log is erased. A driver that is killed in between calls this
        again.
        """
        state = self._log.state
        state.forget_rounds_before(state.round)
        state.formers.clear()
        self._log.append(forget=sorted(v for v in self._log.state.unfinished if not is_wanted(v)))
        self.sweep(temporary_seconds=0.0)
        clean_digests(self._storage, self._log.state.segments.keys())
        self._log.erase_history()

    def adopt(self, fingerprint: str) -> list[Outcome]:
        """Commit segments that a worker published before its driver, or the worker itself, died.

        Only whole segments of the same `fingerprint` are taken, and of these only videos that are unfinished. Returns
        the outcomes that count from now on. A worker that reports such a segment later changes nothing.
        """
        self._log.settle()
        state = self._log.state
        listed = list_segments(self._storage)
        sizes = {path: size for objects in listed.values() for path, size in objects.items()}
        names = [name for name in sorted(listed) if name not in state.segments and name not in state.removed]
        found = [
            footer.segment
            for footer in self._storage.in_parallel(self._footer, names)
            if footer is not None
            and footer.origin.fingerprint == fingerprint
            and is_whole(footer, sizes)
            and any(outcome.video_id not in state.finished for outcome in footer.segment.outcomes)
        ]
        adopted: list[Outcome] = []
        remaining = iter(found)
        while group := list(islice(remaining, _SEGMENTS_PER_ENTRY)):
            adopted += self.commit(group)
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

    def _forget(self, video_ids: Sequence[str], why: Mapping[str, str], keep_rows: Collection[str]) -> bool:
        """Forget these videos. False: a compaction has moved some of them, so that the rest must be grouped anew."""
        finished = self._log.state.finished
        by_segment: dict[str, set[str]] = {}
        for video_id in video_ids:
            if video_id in finished:
                by_segment.setdefault(finished[video_id].segment, set()).add(video_id)
        remaining = iter(sorted(by_segment.items()))
        while group := list(islice(remaining, _SEGMENTS_PER_ENTRY)):
            names = [name for name, _ in group]
            try:
                copies = [self._rewrite(name, leaving) for name, leaving in group]
                forget = sorted(video_id for _, leaving in group for video_id in leaving)
                former = {v: name for name, leaving in group for v in leaving if v in keep_rows}
                self._log.append(
                    add=[copy for copy in copies if copy],
                    remove=names,
                    forget=forget,
                    why={video_id: why[video_id] for video_id in forget if video_id in why},
                    former=former,
                )
            except (StaleEntry, FileNotFoundError):
                state = self._log.catch_up()
                if all(name in state.segments for name in names):
                    raise  # no compaction: an object of the job is missing
                return False
            self._delete(names)
        return True

    def _rewrite(self, name: str, leaving: Collection[str]) -> Segment | None:
        return rewrite_without(self._storage, name, leaving, self._spool_dir, self._log.state.epoch)

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
