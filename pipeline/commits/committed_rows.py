"""The rows that a log counts, as the segments have them: of whole tables, or of some videos."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial, reduce
from operator import and_
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits.id_ranges import IdRange, id_ranges
from pipeline.commits.snapshot import JobState
from pipeline.output.digest import read_digests
from pipeline.output.layout import segment_object
from pipeline.output.schema import TABLES
from pipeline.output.segments import read_whole
from pipeline.storage.job_storage import JobStorage

if TYPE_CHECKING:
    import pyarrow.dataset as ds


class CommittedRows:
    """See the module. From `many_segments` on, rows of `tracks` and `videos` are looked for in digests first.

    All that reads raises `FileNotFoundError` where a job or a compaction has replaced segments since `state` was read.
    """

    def __init__(self, storage: JobStorage, state: JobState, many_segments: int) -> None:
        self._storage = storage
        self._state = state
        self._many_segments = many_segments
        self._ranges: dict[str, IdRange] | None = None

    def rows(self, table: str, video_ids: Collection[str] | None) -> pa.Table:
        """Rows of `tracks` or `videos`, in no order: of many segments from digests, the rest several at a time."""
        names = self._segments(table, video_ids)
        if self._storage.is_local and len(names) < self._many_segments:
            return self.dataset(table, video_ids).to_table()
        parts = [TABLES[table].empty_table()]
        if len(names) >= self._many_segments:
            digested, found = read_digests(self._storage, table, names)
            parts.append(digested)
            names = [name for name in names if name not in found]
        parts += self._storage.in_parallel(partial(read_whole, self._storage, table), names)
        rows = pa.concat_tables(parts)
        return rows if video_ids is None else rows.filter(is_one_of(video_ids))

    def dataset(self, table: str, video_ids: Collection[str] | None) -> ds.Dataset:
        """The rows as an Arrow dataset, which may be a filtered one."""
        files = self.files(table, video_ids)
        return files if video_ids is None else files.filter(is_one_of(video_ids))

    def files(
        self, table: str, video_ids: Collection[str] | None, constants: Mapping[str, str] | None = None
    ) -> ds.Dataset:
        """The segments that have rows of these videos, with what the log knows of each; `constants` are columns."""
        import pyarrow.dataset as ds  # it imports pandas, where there is one: a third of a second of each command

        filesystem, root = self._storage.arrow_filesystem()
        names = self._segments(table, video_ids)
        constants = constants or {}
        paths = [f"{root}/{segment_object(table, name)}" for name in names]
        return ds.FileSystemDataset.from_paths(
            paths,
            schema=pa.schema([*TABLES[table], *(pa.field(name, pa.string()) for name in constants)]),
            format=ds.ParquetFileFormat(),
            filesystem=filesystem,
            partitions=[self._known_of(name, constants) for name in names] if video_ids is None else None,
        )

    def _known_of(self, name: str, constants: Mapping[str, str]) -> pc.Expression:
        """What the log says of the rows of a segment: where a filter contradicts it, nothing of it is opened."""
        if self._ranges is None:
            self._ranges = id_ranges(self._state.finished)
        video_id = pc.field("video_id")
        first, last = self._ranges[name]
        known = video_id == first if first == last else (video_id >= first) & (video_id <= last)
        return reduce(and_, (pc.field(name) == value for name, value in constants.items()), known)

    def _segments(self, table: str, video_ids: Collection[str] | None) -> list[str]:
        """Names of the segments with rows of `table`, of these videos."""
        finished, sizes = self._state.finished, self._state.segments
        names = set(sizes)
        if video_ids is not None:
            names = {finished[video_id].segment for video_id in video_ids if video_id in finished}
        return sorted(name for name in names if getattr(sizes[name], f"num_{table}"))


def is_one_of(video_ids: Collection[str]) -> pc.Expression:
    """The rows of these videos."""
    return pc.field("video_id").isin(pa.array(list(video_ids), pa.string()))
