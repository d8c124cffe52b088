"""The rows that a log counts, as the segments have them: of whole tables, or of some videos."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from functools import partial, reduce
from operator import and_
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits.id_ranges import IdRange, id_ranges
from pipeline.commits.log import CommitLog
from pipeline.commits.read_rounds import state_of_round
from pipeline.commits.snapshot import JobState
from pipeline.output.digest import read_digests
from pipeline.output.layout import FORMER, former_object, segment_object
from pipeline.output.schema import TABLES
from pipeline.output.segments import read_object, read_whole
from pipeline.storage.job_storage import JobStorage

if TYPE_CHECKING:
    import pyarrow.dataset as ds


class CommittedRows:
    """See the module. From `many_segments` on, rows of `tracks` and `videos` are looked for in digests first.

    All that reads raises `FileNotFoundError` where a job or a compaction has replaced segments since `state` was read.
    """

    def __init__(self, storage: JobStorage, state: JobState, many_segments: int) -> None:
        self.state = state
        self._storage = storage
        self._many_segments = many_segments
        self._put_away: Collection[str] = ()
        self._ranges: dict[str, IdRange] | None = None

    def refreshed(self) -> CommittedRows:
        """Those that the log counts now."""
        return CommittedRows(self._storage, CommitLog(self._storage, "reader").load(), self._many_segments)

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
        paths = [self._path(table, name) for name in names]
        parts += self._storage.in_parallel(partial(read_object, self._storage, table), paths)
        rows = pa.concat_tables(parts)
        return rows if video_ids is None else rows.filter(is_one_of(video_ids))

    def newest_videos(self, most: int) -> pa.Table:
        """Rows of `videos` of the newest segments that hold masks, until there are `most` of them."""
        sizes, names, num_rows = self.state.segments, [], 0
        for name in sorted(sizes, reverse=True):  # a name begins with its epoch
            if num_rows >= most:
                break
            if sizes[name].num_masks:
                names.append(name)
                num_rows += sizes[name].num_videos
        parts = self._storage.in_parallel(partial(read_whole, self._storage, "videos"), names)
        return pa.concat_tables([TABLES["videos"].empty_table(), *parts])

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
        paths = [f"{root}/{self._path(table, name)}" for name in names]
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
            self._ranges = id_ranges(self.state.finished)
        video_id = pc.field("video_id")
        first, last = self._ranges[name]
        known = video_id == first if first == last else (video_id >= first) & (video_id <= last)
        return reduce(and_, (pc.field(name) == value for name, value in constants.items()), known)

    def _path(self, table: str, name: str) -> str:
        path = former_object(table, name)
        return path if path in self._put_away else segment_object(table, name)

    def _segments(self, table: str, video_ids: Collection[str] | None) -> list[str]:
        """Names of the segments with rows of `table`, of these videos."""
        finished, sizes = self.state.finished, self.state.segments
        names = set(sizes)
        if video_ids is not None:
            names = {finished[video_id].segment for video_id in video_ids if video_id in finished}
        return sorted(name for name in names if getattr(sizes[name], f"num_{table}"))


class RoundRows(CommittedRows):
    """Those that the log counted at the end of a round of reviews. Segments that were replaced since are put away."""

    def __init__(self, storage: JobStorage, state: JobState, number: int) -> None:
        super().__init__(storage, state, sys.maxsize)  # digests have rows of segments that count now
        self._number = number
        self._put_away = frozenset(storage.tree(FORMER))

    @staticmethod
    def of(storage: JobStorage, now: JobState, number: int) -> RoundRows:
        """Those of a round of a job whose log adds up to `now`. Raises `NoRound`."""
        return RoundRows(storage, state_of_round(storage, now, number), number)

    def refreshed(self) -> RoundRows:
        """The same rows where they lie now; of the last round those of now. Raises `NoRound` if they were deleted."""
        return RoundRows.of(self._storage, CommitLog(self._storage, "reader").load(), self._number)


def is_one_of(video_ids: Collection[str]) -> pc.Expression:
    """The rows of these videos."""
    return pc.field("video_id").isin(pa.array(list(video_ids), pa.string()))
