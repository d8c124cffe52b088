"""Rows that a video had before a round of reviews, copied into its new segment bit for bit.

They lie in a segment that counts no more, among rows of other videos. It is read a row group at a time, and masks go to
a local file, so that memory does not grow with their number.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.output.schema import MASKS, TRACKS, VIDEOS, with_columns_of_today
from pipeline.output.segments import open_former, open_parquet, read_part
from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.job_storage import JobStorage

SMALL_BYTES = 32 << 20


@dataclass(frozen=True)
class FormerVideo:
    """A video as it was: its row of `videos`, and its rows of `tracks`."""

    video: dict[str, Any]
    tracks: pa.Table


@dataclass(frozen=True)
class FormerRows:
    """Rows of one video in a segment that counts no more. More than `small_bytes` of masks wait in `folder` on disk."""

    storage: JobStorage
    segment: str
    video_id: str
    folder: Path
    small_bytes: int = SMALL_BYTES

    def read(self) -> FormerVideo | None:
        """The rows of `videos` and `tracks`; None if the segment is gone, or the video is not in it.

        Raises `StorageError` if the store does not answer.
        """
        try:
            videos = _again_where_it_moves(lambda: self._table("videos", VIDEOS)).to_pylist()
            if not videos:
                return None
            (video,) = videos
            has_tracks = video["num_tracks"] > 0  # a table without rows has no object
            tracks = (
                _again_where_it_moves(lambda: self._table("tracks", TRACKS)) if has_tracks else TRACKS.empty_table()
            )
        except FileNotFoundError:
            return None
        return FormerVideo(video, tracks)

    def masks(self, object_ids: Collection[int]) -> pa.Table:
        """The masks of these objects, in the order of the table. Many are mapped from local disk.

        Raises `FileNotFoundError` if the segment is gone, `StorageError` if the store or the disk does not answer.
        """
        if not object_ids:
            return MASKS.empty_table()
        return _again_where_it_moves(lambda: self._masks(pa.array(sorted(object_ids), pa.int64())))

    def _masks(self, object_ids: pa.Array) -> pa.Table:
        batches = self._batches("masks", MASKS, object_ids)
        waiting: list[pa.RecordBatch] = []
        num_bytes = 0
        for batch in batches:
            waiting.append(batch)
            num_bytes += batch.nbytes
            if num_bytes > self.small_bytes:
                return self._on_disk(waiting, batches)
        return pa.Table.from_batches(waiting, MASKS)

    def _on_disk(self, waiting: list[pa.RecordBatch], batches: Iterator[pa.RecordBatch]) -> pa.Table:
        path = self.folder / f"former-{uuid.uuid4().hex}.arrow"
        try:
            with spool_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, MASKS) as writer:
                    while waiting:
                        writer.write_batch(waiting.pop(0))
                    for batch in batches:
                        writer.write_batch(batch)
            with pa.memory_map(str(path)) as source:
                return pa.ipc.open_file(source).read_all()
        finally:
            path.unlink(missing_ok=True)  # what is mapped stays readable

    def _table(self, table: str, schema: pa.Schema) -> pa.Table:
        return pa.Table.from_batches(self._batches(table, schema), schema)

    def _batches(self, table: str, schema: pa.Schema, object_ids: pa.Array | None = None) -> Iterator[pa.RecordBatch]:
        what = f"{table} of {self.segment}"
        with open_former(self.storage, table, self.segment) as file, open_parquet(self.storage, what, file) as parquet:
            for group in range(parquet.num_row_groups):
                if not _may_hold(parquet.metadata.row_group(group), self.video_id):
                    continue
                read = partial(parquet.read_row_group, group, use_threads=False)
                rows = read_part(self.storage, what, read)
                is_wanted = pc.equal(rows["video_id"], self.video_id)
                if object_ids is not None:
                    is_wanted = pc.and_(is_wanted, pc.is_in(rows["object_id"], value_set=object_ids))
                yield from with_columns_of_today(rows.filter(is_wanted), schema).to_batches()


def _again_where_it_moves(read: Callable[[], pa.Table]) -> pa.Table:
    """What is read, from its start once more if the segment was put away meanwhile: the store deletes what is open."""
    try:
        return read()
    except FileNotFoundError:
        return read()


def _may_hold(group: pq.RowGroupMetaData, video_id: str) -> bool:
    """Whether the statistics of a row group allow it to have rows of a video: `video_id` is its first column."""
    told = group.column(0).statistics
    return told is None or not told.has_min_max or bool(told.min <= video_id <= told.max)


def merged_masks(parts: list[pa.Table]) -> pa.Table:
    """Masks of one video in order, of parts that are in order and share no object. No row is copied."""
    runs: list[tuple[int, pa.Table]] = []
    for part in filter(len, parts):
        object_ids_N = part["object_id"].to_numpy()
        starts = np.flatnonzero(np.diff(object_ids_N, prepend=object_ids_N[:1] - 1))
        stops = np.append(starts[1:], len(object_ids_N))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            runs.append((int(object_ids_N[start]), part.slice(start, stop - start)))
    runs.sort(key=lambda run: run[0])
    return pa.concat_tables([MASKS.empty_table(), *(rows for _, rows in runs)])
