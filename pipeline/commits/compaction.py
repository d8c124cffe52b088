"""Merges small segments into few large ones, each by one entry of the commit log; see `pipeline.compact`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pipeline.commits.exclusion import Work, at_work
from pipeline.commits.id_ranges import id_ranges
from pipeline.commits.job_record import read_record
from pipeline.commits.log import CommitLog, StaleEntry, no_job
from pipeline.commits.missing import lost_object
from pipeline.commits.owner import Ownership, look, new_writer_id
from pipeline.commits.snapshot import JobState
from pipeline.errors import ConfigError, OwnedByAnother
from pipeline.output.digest import clean_digests
from pipeline.output.merge import MERGER_ID, Merged, Merger, MergeTask
from pipeline.output.segments import delete_segments, list_segments, retire
from pipeline.records import Segment
from pipeline.reviews.verdicts import digest_verdicts
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sizes:
    """Segments of less than `small_bytes` are merged into segments of at most `most_bytes`."""

    small_bytes: int = 256 << 20
    most_bytes: int = 512 << 20


@dataclass(frozen=True)
class Compaction:
    """What a compaction did: how many segments it merged, how many it made of them, and the bytes of these."""

    num_merged: int
    num_made: int
    num_bytes: int


class Mergers(Protocol):
    """Where segments are merged: in this process, or in several that `pipeline.cluster` runs."""

    def merge(self, tasks: Iterable[MergeTask]) -> Iterator[Merged]:
        """Do the tasks, in any order; each is asked for when there is room for it, and answered when it is done."""


class OneMerger:
    """Merges in this process, one task after the other."""

    def __init__(self, storage: JobStorage, spool_dir: str | None) -> None:
        self._storage = storage
        self._spool_dir = spool_dir

    def merge(self, tasks: Iterable[MergeTask]) -> Iterator[Merged]:
        """See `Mergers`."""
        with contextlib.closing(Merger(self._storage, self._spool_dir)) as merger:
            yield from map(merger.work, tasks)


def compact(
    storage: JobStorage, spool_dir: Path, sizes: Sizes | None = None, mergers: Mergers | None = None
) -> Compaction:
    """Merge small segments. A group of them that a running job changes meanwhile is left as it is.

    Raises:
        FileNotFoundError: there is no job.
        ConfigError: a driver of a job with `single_driver=true` runs, or has taken the job over; or a run with
            `prune=true` is at work.
        UnusableStore: the store would let a driver and a compaction overwrite each other's entries.
        StorageError: the store does not answer, or the disk is full. What was merged so far counts.
    """
    record = read_record(storage)
    if record is not None and record.has_single_driver:
        storage = replace(storage, single_driver=True)
    log = CommitLog(storage, f"{MERGER_ID}-{new_writer_id()}")
    if log.load().next_entry == 0:
        raise no_job(storage)
    with _fenced(storage, log) as check_fence:
        return _merge_small(storage, log, mergers or OneMerger(storage, str(spool_dir)), sizes or Sizes(), check_fence)


@contextlib.contextmanager
def _fenced(storage: JobStorage, log: CommitLog) -> Iterator[Callable[[], None]]:
    """Make sure that a driver and this compaction cannot overwrite each other's log entries.

    Nor does it run beside a prune. Gives a function that raises if that holds no more.
    """
    if not storage.single_driver:
        storage.probe()
        with at_work(storage, Work.COMPACTION) as check:
            yield check
        return
    driver = look(storage)
    if driver is not None and not driver.is_gone:
        raise ConfigError(
            f"{storage}: driver {driver.writer_id} is at work on this job (last sign {driver.silent_seconds:.0f} s "
            "ago), and with single_driver=true nothing else may write there. Compact it when the job has ended; if "
            "that driver has died, run the job again first."
        )
    ownership = Ownership(storage, log)
    try:
        ownership.acquire()
        yield ownership.check
    except OwnedByAnother as error:
        raise ConfigError(str(error)) from error
    finally:
        ownership.release()


def _merge_small(
    storage: JobStorage, log: CommitLog, mergers: Mergers, sizes: Sizes, check_fence: Callable[[], None]
) -> Compaction:
    """Have all groups merged and commit each as it is done. After an error no further one is begun."""
    _delete_leftovers(storage, log)
    num_merged, made = 0, []
    errors: list[Exception] = []

    def tasks() -> Iterator[MergeTask]:
        for names in plan_groups(log.state, sizes):
            if errors:
                return
            check_fence()
            yield MergeTask(names, log.state.epoch)

    for merged in mergers.merge(tasks()):
        names = merged.task.names
        if merged.error is not None:
            if not isinstance(merged.error, FileNotFoundError):
                errors.append(merged.error)
            elif log.refresh().segments.keys() >= set(names):
                errors.append(lost_object(storage, merged.error))
            else:
                _log.info("the job has changed one of %d segments meanwhile, so that they are not merged", len(names))
        elif merged.segment is not None and _commit(storage, log, merged.segment, names, check_fence):
            num_merged += len(names)
            made.append(merged.segment)
    if made:
        clean_digests(storage, log.state.segments.keys())
    digest_verdicts(storage)
    if errors:
        raise errors[0]
    return Compaction(num_merged, len(made), sum(segment.num_bytes for segment in made))


def _commit(
    storage: JobStorage, log: CommitLog, segment: Segment, names: tuple[str, ...], check_fence: Callable[[], None]
) -> bool:
    """Put a merged segment into the place of its parts, and delete these. False: one of them has left the log."""
    check_fence()
    try:
        log.compact([segment], names)
    except StaleEntry:
        delete_segments(storage, [segment.name])
        _log.info("the job has changed one of %d segments meanwhile, so that they are not merged", len(names))
        return False
    retire(storage, names, log.state.spared())
    _log.info("%d segments are merged into %s, %.1f MB", len(names), segment.name, segment.num_bytes / 1e6)
    return True


def plan_groups(state: JobState, sizes: Sizes) -> list[tuple[str, ...]]:
    """Names of small segments to merge, in groups that fit into one each: neighbors by the id of their first video.

    Segments with videos that are set aside wait until their round is over. A merged one would be written once more
    whenever new rows take the place of those of one such video.
    """
    ranges, waiting = id_ranges(state.finished), state.segments_of_round()
    small = [
        name for name, size in state.segments.items() if size.num_bytes < sizes.small_bytes and name not in waiting
    ]
    groups: list[list[str]] = []
    num_bytes = 0
    for name in sorted(small, key=lambda name: (ranges[name].first if name in ranges else "", name)):
        size = state.segments[name].num_bytes
        if not groups or num_bytes + size > sizes.most_bytes:
            groups.append([])
            num_bytes = 0
        groups[-1].append(name)
        num_bytes += size
    return [tuple(group) for group in groups if len(group) > 1]


def _delete_leftovers(storage: JobStorage, log: CommitLog) -> None:
    """Delete the objects that a killed compaction left: segments that it merged, or made and never committed.

    If another compaction at work is about to commit one of these, its commit is refused, because the log says first
    that the segment is removed.
    """
    found = list_segments(storage)
    state = log.refresh()
    unfinished = [
        name for name in found if f"-{MERGER_ID}-" in name and name not in state.segments and name not in state.removed
    ]
    with contextlib.suppress(StaleEntry):
        log.compact([], unfinished)
    retire(storage, [name for name in found if name in log.state.removed], log.state.spared(), found)
