"""Merges small segments into few large ones, each by one entry of the commit log; see `pipeline.compact`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from pipeline.commits.job_record import read_record
from pipeline.commits.log import CommitLog, StaleEntry, no_job
from pipeline.commits.owner import Ownership, look, new_writer_id
from pipeline.commits.snapshot import JobState
from pipeline.errors import ConfigError, OwnedByAnother, StorageError
from pipeline.output.schema import TABLES
from pipeline.output.segment_files import BuiltSegment, SegmentOrigin, build_segment
from pipeline.output.segments import (
    delete_segments,
    list_segments,
    publish,
    read_batches,
    read_footer,
)
from pipeline.records import Segment
from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.scratch import WorkerFolder

_log = logging.getLogger(__name__)

WORKER_ID = "compactor"

# Segments are fetched together up to these bytes and this number.
_CHUNK_BYTES = 32 << 20
_CHUNK_SEGMENTS = 64


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


def compact(storage: JobStorage, spool_dir: Path, sizes: Sizes | None = None) -> Compaction:
    """Merge small segments. A group of them that a running job changes meanwhile is left as it is.

    Raises:
        FileNotFoundError: there is no job.
        ConfigError: a driver of a job with `single_driver=true` runs, or has taken the job over.
        UnusableStore: the store would let a driver and a compaction overwrite each other's entries.
        StorageError: the store does not answer, or the disk is full. What was merged so far counts.
    """
    record = read_record(storage)
    if record is not None and record.has_single_driver:
        storage = replace(storage, single_driver=True)
    log = CommitLog(storage, f"{WORKER_ID}-{new_writer_id()}")
    if log.load().next_entry == 0:
        raise no_job(storage)
    with _spool_folder(spool_dir) as folder, _fenced(storage, log) as check_fence:
        return _merge_small(storage, log, folder, sizes or Sizes(), check_fence)


@contextlib.contextmanager
def _spool_folder(spool_dir: Path) -> Iterator[Path]:
    """A folder for temporary files. Folders that killed compactions and workers left are deleted first."""
    with spool_errors(spool_dir):
        folder = WorkerFolder(str(spool_dir))
    with contextlib.closing(folder):
        yield folder.path


@contextlib.contextmanager
def _fenced(storage: JobStorage, log: CommitLog) -> Iterator[Callable[[], None]]:
    """Make sure that a driver and this compaction cannot overwrite each other's log entries.

    Gives a function that raises `LostOwnership` if that holds no more.
    """
    if not storage.single_driver:
        storage.probe()
        yield lambda: None
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
    storage: JobStorage, log: CommitLog, folder: Path, sizes: Sizes, check_fence: Callable[[], None]
) -> Compaction:
    _delete_leftovers(storage, log)
    num_merged, made = 0, []
    for names in plan_groups(log.state, sizes):
        check_fence()
        try:
            segment = _merge(storage, log, names, folder)
        except (StaleEntry, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and log.refresh().segments.keys() >= set(names):
                raise  # the job has not deleted it: an object of the log is missing
            _log.info("the job has changed one of %d segments meanwhile, so that they are not merged", len(names))
            continue
        delete_segments(storage, names)
        num_merged += len(names)
        made.append(segment)
        _log.info("%d segments are merged into %s, %.1f MB", len(names), segment.name, segment.num_bytes / 1e6)
    return Compaction(num_merged, len(made), sum(segment.num_bytes for segment in made))


def plan_groups(state: JobState, sizes: Sizes) -> list[tuple[str, ...]]:
    """Names of small segments to merge, in groups that fit into one each: neighbors by the id of their first video."""
    first_video: dict[str, str] = {}
    for video_id, finished in state.finished.items():
        first_video[finished.segment] = min(video_id, first_video.get(finished.segment, video_id))
    small = [name for name, size in state.segments.items() if size.num_bytes < sizes.small_bytes]
    groups: list[list[str]] = []
    num_bytes = 0
    for name in sorted(small, key=lambda name: (first_video.get(name, ""), name)):
        size = state.segments[name].num_bytes
        if not groups or num_bytes + size > sizes.most_bytes:
            groups.append([])
            num_bytes = 0
        groups[-1].append(name)
        num_bytes += size
    return [tuple(group) for group in groups if len(group) > 1]


def _merge(storage: JobStorage, log: CommitLog, names: Sequence[str], folder: Path) -> Segment:
    """Make one segment of several and commit it in their place. Rows wait on disk: memory is bounded by a row group."""
    footers = storage.in_parallel(lambda name: read_footer(storage, name), names)
    segments = [footer.segment for footer in footers]
    outcomes = [outcome for segment in segments for outcome in segment.outcomes]
    video_ids = sorted(outcome.video_id for outcome in outcomes)
    origin = SegmentOrigin(log.state.epoch, WORKER_ID, "")
    with contextlib.ExitStack() as stack:
        spools = {table: stack.enter_context(_VideoSpool(folder / f"{table}.arrow", table)) for table in TABLES}
        for table, batch in _rows(storage, segments):
            spools[table].put(batch)
    batches = {table: spool.by_video(video_ids) for table, spool in spools.items()}
    with spool_errors(folder):
        built = build_segment(origin, outcomes, batches, folder)
    merged = _publish(storage, built)
    try:
        log.compact([merged], names)
    except StaleEntry:
        delete_segments(storage, [merged.name])
        raise
    return merged


def _publish(storage: JobStorage, built: BuiltSegment) -> Segment:
    """Publish all objects of a segment or none: what a full store took of it is deleted again, to give room back."""
    try:
        return publish(storage, built)
    except StorageError:
        with contextlib.suppress(StorageError):
            delete_segments(storage, [built.segment.name])
        raise


def _rows(storage: JobStorage, segments: Sequence[Segment]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """All rows of these segments, each with its table. Small segments are fetched several at a time."""

    def whole(segment: Segment) -> list[tuple[str, pa.RecordBatch]]:
        return [(table, batch) for table in TABLES for batch in read_batches(storage, table, segment)]

    for chunk in _chunks(segments):
        if len(chunk) == 1:
            for table in TABLES:
                for batch in read_batches(storage, table, chunk[0]):
                    yield table, batch
        else:
            for rows in storage.in_parallel(whole, chunk):
                yield from rows


def _chunks(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    chunk: list[Segment] = []
    num_bytes = 0
    for segment in segments:
        if chunk and (num_bytes + segment.num_bytes > _CHUNK_BYTES or len(chunk) == _CHUNK_SEGMENTS):
            yield chunk
            chunk, num_bytes = [], 0
        chunk.append(segment)
        num_bytes += segment.num_bytes
    if chunk:
        yield chunk


class _VideoSpool:
    """Rows of one table in one local file. They are written as they come inside `with`, then read video by video."""

    def __init__(self, path: Path, table: str) -> None:
        self._path = path
        self._schema = TABLES[table]
        self._batches: dict[str, list[int]] = {}
        self._num_batches = 0

    def __enter__(self) -> _VideoSpool:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with spool_errors(self._path.parent):
            self._sink = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_file(self._sink, self._schema, options=options)
        return self

    def __exit__(self, *exception: object) -> None:
        with spool_errors(self._path.parent), self._sink:
            self._writer.close()

    def put(self, batch: pa.RecordBatch) -> None:
        """Add rows; those of a video are next to each other, as in every segment."""
        rows = pa.Table.from_batches([batch]).cast(self._schema)
        start = 0
        for video_id, run in groupby(rows["video_id"].to_pylist()):
            stop = start + sum(1 for _ in run)
            for part in rows.slice(start, stop - start).combine_chunks().to_batches():
                with spool_errors(self._path.parent):
                    self._writer.write_batch(part)
                self._batches.setdefault(video_id, []).append(self._num_batches)
                self._num_batches += 1
            start = stop

    def by_video(self, video_ids: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows of these videos, in this order; once the writing is over."""
        with pa.OSFile(str(self._path), "rb") as source, pa.ipc.open_file(source) as reader:
            for video_id in video_ids:
                for number in self._batches.get(video_id, ()):
                    yield reader.get_batch(number)


def _delete_leftovers(storage: JobStorage, log: CommitLog) -> None:
    """Delete the objects that a killed compaction left: segments that it merged, or made and never committed.

    If another compaction at work is about to commit one of these, its commit is refused, because the log says first
    that the segment is removed.
    """
    found = list_segments(storage)
    state = log.refresh()
    unfinished = [
        name for name in found if f"-{WORKER_ID}-" in name and name not in state.segments and name not in state.removed
    ]
    with contextlib.suppress(StaleEntry):
        log.compact([], unfinished)
    storage.delete(path for name in found if name in log.state.removed for path in found[name])
