"""Merges published segments into one that is sorted by video, and publishes it. Nobody reads it before its commit."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.output.layout import segment_object
from pipeline.output.regroup import RowsByVideo, part_ends
from pipeline.output.schema import TABLES
from pipeline.output.segment_files import BuiltSegment, SegmentOrigin, build_segment
from pipeline.output.segments import PUT_BACK, delete_segments, open_parquet, publish, read_footer, read_part
from pipeline.records import Segment
from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.scratch import WorkerFolder

MERGER_ID = "compactor"
"""Stands in the names of merged segments as the worker that made them."""

# Segments are fetched together up to these bytes and this number; a larger one is read a row group at a time.
_CHUNK_BYTES = 32 << 20
_CHUNK_SEGMENTS = 64
# What is ordered in memory at once: so many rows of masks, or of a table with one row a video or object.
_PART_ROWS = 65_536
_PART_VIDEOS = 16_384


@dataclass(frozen=True)
class MergeTask:
    """Segments to merge into one, and the epoch of the driver whose they are."""

    names: tuple[str, ...]
    epoch: int


@dataclass(frozen=True)
class Merged:
    """What became of a task: the segment that was published, or why there is none."""

    task: MergeTask
    segment: Segment | None
    error: Exception | None = None


class Merger:
    """Does one task after the other in one process, with a folder of its own in `spool_dir` on local disk.

    Folders that killed mergers and workers left are deleted first.
    """

    def __init__(self, storage: JobStorage, spool_dir: str | None) -> None:
        self._storage = storage
        with spool_errors(Path(spool_dir or tempfile.gettempdir())):
            self._folder = WorkerFolder(spool_dir)

    def work(self, task: MergeTask) -> Merged:
        """Merge and publish; a segment that is missing or damaged, a store and a disk that fail are in the answer."""
        try:
            return Merged(task, merge_segments(self._storage, task.names, task.epoch, self._folder.path))
        except (FileNotFoundError, StorageError) as error:
            return Merged(task, None, error)
        except ValueError as error:  # it names the segment
            return Merged(task, None, StorageError(f"{str(error).rstrip('.')}: {PUT_BACK}", transient=False))

    def close(self) -> None:
        """Delete the folder."""
        self._folder.close()


def merge_segments(storage: JobStorage, names: Sequence[str], epoch: int, folder: Path) -> Segment:
    """Make one segment of several and publish it. `folder` on local disk takes rows that wait.

    Raises:
        FileNotFoundError: one of the segments, or a part of it, has been deleted.
        StorageError: the store does not answer, or the disk is full. Nothing is left of the new segment then.
        ValueError: the rows of a segment are not those that it promises.
    """
    segments = [footer.segment for footer in storage.in_parallel(partial(read_footer, storage), names)]
    outcomes = sorted((o for segment in segments for o in segment.outcomes), key=lambda outcome: outcome.video_id)
    video_ids = [outcome.video_id for outcome in outcomes]
    ends = {
        "masks": part_ends([outcome.num_masks for outcome in outcomes], _PART_ROWS),
        "tracks": part_ends([1] * len(outcomes), _PART_VIDEOS),
        "videos": part_ends([1] * len(outcomes), _PART_VIDEOS),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_memory_is_kept())
        rows = {t: stack.enter_context(RowsByVideo(t, video_ids, ends[t], folder)) for t in TABLES}
        for table, group in _rows(storage, segments):
            rows[table].put(group)
        with spool_errors(folder):
            built = build_segment(
                SegmentOrigin(epoch, MERGER_ID, ""), outcomes, {t: rows[t].batches() for t in TABLES}, folder
            )
    return _publish(storage, built)


@contextlib.contextmanager
def _memory_is_kept() -> Iterator[None]:
    """Have Arrow use jemalloc, where it has it. Others give freed memory back to the kernel at once.

    Each row is copied a few times, and getting the same memory anew for each costs a quarter of the processor's time.
    """
    before = pa.default_memory_pool()
    with contextlib.suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _publish(storage: JobStorage, built: BuiltSegment) -> Segment:
    """Publish all objects of a segment or none: what a full store took of it is deleted again, to give room back."""
    try:
        return publish(storage, built)
    except StorageError:
        with contextlib.suppress(StorageError):
            delete_segments(storage, [built.segment.name])
        raise


@dataclass(frozen=True)
class _Source:
    """The rows of one table in one segment."""

    table: str
    path: str


def _rows(storage: JobStorage, segments: Sequence[Segment]) -> Iterator[tuple[str, pa.Table]]:
    """All rows of these segments, each row group with its table. Small segments are fetched several at a time."""

    def whole(source: _Source) -> list[tuple[str, pa.Table]]:
        return list(_groups(storage, source, pa.BufferReader(storage.read(source.path))))

    for chunk in _chunks(segments):
        sources = [_Source(t, segment_object(t, s.name)) for s in chunk for t in TABLES if s.num_rows[t]]
        if sum(segment.num_bytes for segment in chunk) <= _CHUNK_BYTES:
            for groups in storage.in_parallel(whole, sources):
                yield from groups
        else:
            for source in sources:
                with storage.open_input(source.path) as file:
                    yield from _groups(storage, source, file)


def _groups(storage: JobStorage, source: _Source, file: BinaryIO) -> Iterator[tuple[str, pa.Table]]:
    with open_parquet(storage, source.path, file, read_dictionary=["video_id"]) as parquet:
        for group in range(parquet.num_row_groups):
            read = partial(parquet.read_row_group, group, use_threads=False)
            yield source.table, read_part(storage, source.path, read)


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
