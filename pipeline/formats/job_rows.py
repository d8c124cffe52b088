"""Rows of `videos` and `tracks` of a job by id, a thousand videos at a time, in memory that does not grow with the job.

Segments hold videos in the order in which they were finished. Rows of some segments at a time are sorted and wait in a
run; the runs are then read side by side, as a merge sort does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.formats.table_spool import Spools, TableSpool
from pipeline.output.kept_columns import kept_schema, merged_schemas, with_kept_columns
from pipeline.output.schema import SORT_KEYS, TABLES
from pipeline.tables import JobTables

_VIDEOS_AT_A_TIME = 1024
_ROWS_OF_A_RUN = 100_000
_SEGMENTS_OF_A_RUN = 255
_BATCH_ROWS = 4096
_READ = ("videos", "tracks")


class JobRows:
    """See the module. Columns that `keep_columns` kept are those that any row has. `num_rows` bounds a run."""

    def __init__(
        self, job: JobTables, video_ids: Sequence[str] | None, spools: Spools, num_rows: int = _ROWS_OF_A_RUN
    ) -> None:
        self._job = job
        self._kept = {table: pa.schema([]) for table in _READ}
        self._runs: list[dict[str, TableSpool]] = []
        names = job.state.finished.to_table()["name"] if video_ids is None else pa.array(set(video_ids), pa.string())
        self._ids = names.take(pc.sort_indices(names))
        for group in [video_ids] if video_ids is not None else _groups(job, num_rows):
            self._runs.append({table: self._run(table, group, spools) for table in _READ})

    def _run(self, table: str, video_ids: Sequence[str] | None, spools: Spools) -> TableSpool:
        rows = self._job.videos(video_ids) if table == "videos" else self._job.tracks(video_ids, rejected=True)
        self._kept[table] = merged_schemas(self._kept[table], kept_schema(rows, TABLES[table]))
        run = spools.new()
        rows = rows.select(TABLES[table].names)
        for first in range(0, rows.num_rows, _BATCH_ROWS):
            run.add(rows.slice(first, _BATCH_ROWS))
        pa.default_memory_pool().release_unused()
        return run

    def chunks(self, num_videos: int = _VIDEOS_AT_A_TIME) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Rows of `videos` and of `tracks`, sorted, of so many videos at a time. They can be read once."""
        readers = {table: [_Run(run[table]) for run in self._runs] for table in _READ}
        for first in range(0, len(self._ids), num_videos):
            last = self._ids[min(first + num_videos, len(self._ids)) - 1]
            videos, tracks = (self._up_to(last, table, readers[table]) for table in _READ)
            if videos.num_rows:
                yield videos, tracks
        for run in self._runs:
            for spool in run.values():
                spool.clear()

    def _up_to(self, last: pa.Scalar, table: str, runs: Sequence[_Run]) -> pa.Table:
        parts = [part for run in runs for part in run.up_to(last)]
        rows = pa.concat_tables([TABLES[table].empty_table(), *parts]).combine_chunks()
        if len(runs) > 1:
            rows = rows.sort_by([(key, "ascending") for key in SORT_KEYS[table]])
        return with_kept_columns(rows, self._kept[table])


class _Run:
    """Reads sorted rows up to one id after the other."""

    def __init__(self, spool: TableSpool) -> None:
        self._batches = spool.read()
        self._head: pa.Table | None = None

    def up_to(self, last: pa.Scalar) -> list[pa.Table]:
        """The next rows, up to this video and with it."""
        found = []
        while (head := next(self._batches, None) if self._head is None else self._head) is not None:
            num = pc.sum(pc.less_equal(head["video_id"], last)).as_py()
            found.append(head.slice(0, num))
            self._head = head.slice(num) if num < head.num_rows else None
            if self._head is not None:
                break
        return found


def _groups(job: JobTables, num_rows: int) -> Iterator[list[str] | None]:
    """Ids of videos that have about so many rows together, of several segments or a part of one; None for all."""
    sizes = job.state.segments
    if sum(size.num_videos + size.num_tracks for size in sizes.values()) <= num_rows:
        yield None
        return
    finished = job.state.finished.to_table().select(["name", "segment"])
    finished = finished.set_column(1, "segment", finished["segment"].cast(pa.string()))
    finished = finished.sort_by([("segment", "ascending"), ("name", "ascending")]).combine_chunks()
    names = finished["name"]
    first = end = rows = segments = 0
    for one in pc.value_counts(finished["segment"]).to_pylist():
        of_segment = one["counts"] + sizes[one["values"]].num_tracks
        if segments and (rows + of_segment > num_rows or segments == _SEGMENTS_OF_A_RUN):
            yield names.slice(first, end - first).to_pylist()
            first, rows, segments = end, 0, 0
        end, rows, segments = end + one["counts"], rows + of_segment, segments + 1
        if rows > num_rows:  # a large segment on its own, whose row groups lie by id
            step = -(-one["counts"] // -(-rows // num_rows))
            for begin in range(first, end, step):
                yield names.slice(begin, min(step, end - begin)).to_pylist()
            first, rows, segments = end, 0, 0
    if end > first:
        yield names.slice(first, end - first).to_pylist()
