"""Several outputs read as one, as those of a job that has a folder for each night."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial, reduce
from operator import and_
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import NotInJob
from pipeline.notebook.rows import Rows, as_ids, plain
from pipeline.notebook.sql import query_tables
from pipeline.output.schema import SORT_KEYS
from pipeline.output.where import Condition, condition
from pipeline.reviews.live import names_verdict
from pipeline.text import counted

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as ds

    from pipeline.notebook.clip import Clip

T = TypeVar("T")
SameId = Literal["error", "newest"]
"""What is done with a video that several outputs have: refused, or the one that was finished last counts."""

_NUM_EXAMPLES = 3
_READS = 5
OUTPUT = "output"
"""The column that says which of the outputs a row is of."""


class OneJob(Protocol):
    """What `tables.JobTables` has."""

    def finished_ids(self) -> pa.Array:
        """Ids of its finished videos, in no order."""

    def dataset(self, table: str, output: str) -> ds.Dataset:
        """All rows of a table, with the column `output`."""

    def refresh(self) -> None:
        """Read the log as it stands now."""

    def videos(self, video_ids: Collection[str] | None = None) -> pa.Table:
        """A row per finished video."""

    def tracks(self, video_ids: Collection[str] | None = None, *, rejected: bool = False) -> pa.Table:
        """A row per video and object."""

    def within(self, video_ids: Sequence[str] | None = None, *, rejected: bool = False) -> ds.Expression | None:
        """What holds of its rows of `masks` that are shown."""

    def video(self, video_id: str, *, videos_root: str | None = None, rejected: bool = False) -> Clip:
        """One finished video."""

    def video_masks(
        self, video_id: str, object_ids: Collection[int] | None = None, *, rejected: bool = False
    ) -> Iterator[Any]:
        """Its decoded masks."""


class SeveralJobs:
    """The tables of several outputs as one. Their rows have one more column, `output`, which says whose they are.

    `jobs` are the outputs by their names. Raises `ValueError` if two of them have a video with one id, unless `same_id`
    says that the one counts that was finished last, and for another `same_id`.
    """

    def __init__(self, jobs: Mapping[str, OneJob], same_id: SameId = "error") -> None:
        if same_id not in get_args(SameId):
            raise ValueError(f"same_id={same_id!r}: give 'error' or 'newest'")
        self._jobs = dict(jobs)
        self._same_id = same_id
        self._lost = self._older()

    def refresh(self) -> None:
        """Read all logs as they stand now."""
        for job in self._jobs.values():
            job.refresh()
        self._lost = self._older()

    def videos(self, video_ids: Collection[str] | None = None, *, where: Condition | None = None) -> pa.Table:
        """One row per finished video, sorted by id; see `JobTables.videos`."""
        chosen = as_ids(video_ids)
        return self._sorted("videos", lambda job: job.videos(chosen), where)

    def tracks(
        self, video_ids: Collection[str] | None = None, *, where: Condition | None = None, rejected: bool = False
    ) -> pa.Table:
        """One row per video and object, sorted; see `JobTables.tracks`."""
        chosen, are_shown = as_ids(video_ids), rejected or names_verdict(where)
        return self._sorted("tracks", lambda job: job.tracks(chosen, rejected=are_shown), where)

    def masks(
        self,
        video_ids: Collection[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        where: Condition | None = None,
        rejected: bool = False,
    ) -> Rows:
        """One row per video, object and frame; see `JobTables.masks`. `where` may name the column `output`, too."""
        chosen = as_ids(video_ids)
        within = partial(self._within, chosen, rejected)
        return Rows(partial(self._dataset, "masks"), self._up_to_date, columns, where, within)

    def video(self, video_id: str, *, videos_root: str | None = None, rejected: bool = False) -> Clip:
        """One finished video; see `JobTables.video`. Raises `KeyError` if none of the outputs has it."""
        return self._job_of(video_id).video(video_id, videos_root=videos_root, rejected=rejected)

    def video_masks(
        self, video_id: str, object_ids: Collection[int] | None = None, *, rejected: bool = False
    ) -> Iterator[Any]:
        """Decoded masks of one video; see `JobTables.video_masks`. Raises `KeyError` if none of the outputs has it."""
        return self._job_of(video_id).video_masks(video_id, object_ids, rejected=rejected)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query of duckdb on `masks`, `tracks` and `videos`, which all have the column `output`."""
        masks = lambda: self.masks().dataset  # noqa: E731  # opened where the query names it
        return query_tables(query, {"masks": masks, "tracks": self.tracks, "videos": self.videos})

    def __repr__(self) -> str:
        num_videos = sum(len(job.finished_ids()) for job in self._jobs.values()) - sum(map(len, self._lost.values()))
        return f"<{counted(len(self._jobs), 'output')} with {counted(num_videos, 'video')}: {', '.join(self._jobs)}>"

    def _sorted(self, table: str, read: Callable[[OneJob], pa.Table], where: Condition | None) -> pa.Table:
        parts = []
        for name, job in self._jobs.items():
            rows = read(job)
            if lost := self._lost[name]:
                rows = rows.filter(~pc.field("video_id").isin(pa.array(lost, pa.string())))
            parts.append(rows.append_column(OUTPUT, pa.repeat(pa.scalar(name), rows.num_rows)))
        rows = pa.concat_tables(parts, promote_options="permissive")
        rows = rows.sort_by([(key, "ascending") for key in SORT_KEYS[table]])
        return rows if where is None else rows.filter(condition(where, rows.schema))

    def _dataset(self, table: str) -> ds.Dataset:
        import pyarrow.dataset as ds  # it imports pandas, where there is one: a third of a second of each command

        return ds.dataset([job.dataset(table, name) for name, job in self._jobs.items()])

    def _within(self, video_ids: Sequence[str] | None, rejected: bool) -> ds.Expression | None:
        """What holds of the rows that are shown of these videos: no other output has finished them later."""
        found = [] if video_ids is None else [pc.field("video_id").isin(pa.array(video_ids, pa.string()))]
        for name, job in self._jobs.items():
            is_other = pc.field(OUTPUT) != name
            if lost := self._lost[name]:
                found.append(is_other | ~pc.field("video_id").isin(pa.array(lost, pa.string())))
            shown = job.within(rejected=rejected)
            if shown is not None:
                found.append(is_other | shown)
        return reduce(and_, found) if found else None

    def _up_to_date(self, read: Callable[[], T]) -> T:
        """`read()`, once more after each time that segments to read were gone, because a job went on."""
        for _ in range(_READS):
            try:
                return read()
            except FileNotFoundError:
                self.refresh()
        return read()

    def _job_of(self, video_id: str) -> OneJob:
        video_id = plain(video_id)
        for name, job in self._jobs.items():
            if video_id not in self._lost[name] and pc.is_in(pa.scalar(video_id), value_set=job.finished_ids()).as_py():
                return job
        raise NotInJob(f"none of {counted(len(self._jobs), 'output')} has a finished video {video_id!r}")

    def _older(self) -> dict[str, list[str]]:
        """The videos of each output that do not count, because another one has finished them later.

        Raises `ValueError` if there are such, and nobody has said which counts.
        """
        lost: dict[str, list[str]] = {name: [] for name in self._jobs}
        ids = {name: job.finished_ids().cast(pa.large_string()) for name, job in self._jobs.items()}
        counts = pc.value_counts(pa.concat_arrays(ids.values()) if ids else pa.array([], pa.large_string()))
        several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        if not len(several):
            return lost
        if self._same_id == "error":
            first = several[0].as_py()
            having = [name for name, own in ids.items() if pc.is_in(pa.scalar(first, own.type), value_set=own).as_py()]
            more = f", and {counted(len(several) - 1, 'more video')}" if len(several) > 1 else ""
            raise ValueError(
                f"several outputs have one id: {first!r} is in {', '.join(having[:_NUM_EXAMPLES])}{more}; leave one of "
                "them out, or say same_id='newest' to take what was finished last"
            )
        last: dict[str, tuple[Any, str]] = {}
        for name, own in ids.items():
            there = own.filter(pc.is_in(own, value_set=several)).to_pylist()
            for row in self._jobs[name].videos(there).select(["video_id", "finished_at"]).to_pylist() if there else ():
                video_id, at = row["video_id"], row["finished_at"]
                before = last.get(video_id)
                older = name if before is not None and before[0] is not None and (at is None or at < before[0]) else ""
                if before is not None:
                    lost[older or before[1]].append(video_id)
                if not older:
                    last[video_id] = (at, name)
        return lost
