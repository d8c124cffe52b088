"""Read a job's output, exactly: only rows that the commit log counts, at any time, also while the job runs.

from pipeline import tables

job = tables.open("s3://bucket/labels")
job.videos().to_pandas()
job.masks(columns=["video_id", "area"], where="predicted_iou < 0.7 and area > 100").to_polars()
job.tracks(where='verdict = "accept"')  # what reviewers say; what they rejected is left out elsewhere
before = tables.open("s3://bucket/labels", round=1)  # as it was at the end of a round of reviews
job.sql("select category, avg(predicted_iou) from masks group by category").df()
for mask in job.video_masks("clip-1"):
    mask.object_id, mask.frame_index, mask.pixels_HW
clip = job.video("clip-1")
nights = tables.open(["s3://bucket/labels/2026-11-28", "s3://bucket/labels/2026-11-29"])  # as one
clip.frame(37)  # a picture with masks and ids, which Jupyter shows
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from pipeline.commits.committed_rows import CommittedRows, RoundRows, is_one_of
from pipeline.commits.history import History
from pipeline.commits.log import CommitLog, no_job
from pipeline.commits.missing import steadily
from pipeline.commits.read_history import read_history
from pipeline.commits.since import asked_since
from pipeline.commits.snapshot import JobState
from pipeline.errors import NotInJob
from pipeline.notebook.job_card import JobFacts, job_card
from pipeline.notebook.rows import Rows, as_ids, check_columns, check_list, plain
from pipeline.notebook.several_jobs import SameId, SeveralJobs
from pipeline.notebook.sql import query_tables
from pipeline.output.kept_columns import with_kept_columns
from pipeline.output.layout import JOB, LOG
from pipeline.output.schema import SORT_KEYS, TRACKS
from pipeline.output.where import Condition, columns_of, condition
from pipeline.reviews.cycles import Cycle
from pipeline.reviews.files import Listed
from pipeline.reviews.live import LiveVerdicts, names_verdict, without_rejected
from pipeline.reviews.live_cycles import LiveCycles
from pipeline.reviews.verdicts import Key, Opinion, Verdict
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.matching import folders_with
from pipeline.text import meant_several

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as ds

    from pipeline.notebook.clip import Clip

T = TypeVar("T")
Place = str | os.PathLike[str]
_MANY_SEGMENTS = 256
_COMPARED_IDS = 100_000


@dataclass(frozen=True)
class VideoMask:
    """One decoded mask: pixels of the video as displayed, bool `[H, W]`."""

    object_id: int
    frame_index: int
    pts_seconds: float | None
    pixels_HW: npt.NDArray[np.bool_]


@overload
def open(
    uri: Place,
    storage_options: dict[str, Any] | None = None,
    *,
    same_id: SameId = "error",
    reviews: bool = True,
    round: int | None = None,
) -> JobTables: ...
@overload
def open(
    uri: list[Place] | tuple[Place, ...],
    storage_options: dict[str, Any] | None = None,
    *,
    same_id: SameId = "error",
    reviews: bool = True,
) -> SeveralJobs: ...
def open(
    uri: Place | list[Place] | tuple[Place, ...],
    storage_options: dict[str, Any] | None = None,
    *,
    same_id: SameId = "error",
    reviews: bool = True,
    round: int | None = None,
) -> JobTables | SeveralJobs:
    """The tables of the job whose `output=` was `uri`, as its log stands now; of a list of outputs, all of them as one.

    A list may hold globs, as `["s3://bucket/labels/*"]`: folders that match and hold no job are left out. `same_id`
    says what is done with a video that several outputs have (see `SeveralJobs`). `reviews=False` shows the rows as the
    job wrote them, with rejected tracks, and reads nothing that reviewers have said. `round` shows them so too, as they
    were at the end of that round of reviews, as far as `keep_rounds=` of the job goes back.

    Raises:
        ValueError: the list is empty, or a list is given with `round`.
        NoRound: the tables of this round cannot be read; names those that can.
        FileNotFoundError: nothing was committed there.
        StorageError: the store does not answer, or denies access.
        NewerVersion: a newer version of this program has written there.
    """
    if isinstance(uri, list | tuple):
        if round is not None:
            raise ValueError("round= is that of one output: open it alone")
        if not uri:
            raise ValueError("the list of outputs is empty: give at least one, as in tables.open(['labels'])")
        places = [place for given in uri for place in folders_with(os.fspath(given), LOG, storage_options)]
        jobs = {place: open(place, storage_options, reviews=reviews) for place in dict.fromkeys(places)}
        return SeveralJobs(jobs, same_id)
    storage = JobStorage(os.fspath(uri), storage_options)
    state = CommitLog(storage, "reader").load()
    if state.next_entry == 0:
        raise no_job(storage)
    return JobTables(storage, state, reviews=reviews and round is None, round=round)


class JobTables:
    """A snapshot of a job's tables.

    When a running job or a compaction has replaced segments meanwhile, the log is read again, and what is asked for is
    read from the segments of now. Batches that are under way fail with `FileNotFoundError` instead. From
    `many_segments` on, `tracks` and `videos` look for digests first. With `reviews`, what reviewers say is read when it
    is needed first, and again by `refresh`. With `round`, it is that of the tables at the end of a round.
    """

    def __init__(
        self,
        storage: JobStorage,
        state: JobState,
        many_segments: int = _MANY_SEGMENTS,
        *,
        reviews: bool = False,
        round: int | None = None,
    ) -> None:
        self._storage = storage
        self._committed = (
            CommittedRows(storage, state, many_segments) if round is None else RoundRows.of(storage, state, round)
        )
        self.state = self._committed.state
        found = partial(self._rows, "videos"), partial(self._rows, "tracks"), Listed(storage)
        self._verdicts = LiveVerdicts(storage, *found) if reviews else None
        self._cycles = LiveCycles(storage, *found) if reviews else None

    def refresh(self) -> None:
        """Read the log, and what reviewers say, as they stand now. A round stays as it was."""
        self._committed = self._committed.refreshed()
        self.state = self._committed.state
        listed = Listed(self._storage)
        for live in (self._verdicts, self._cycles):
            if live is not None:
                live.forget(listed)

    def finished_ids(self) -> pa.Array:
        """Ids of all finished videos, in no order."""
        return self.state.finished.ids()

    def masks(
        self,
        video_ids: Collection[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        where: Condition | None = None,
        rejected: bool = False,
    ) -> Rows:
        """One row per video, object and frame; of all videos or of `video_ids`. Nothing is read yet.

        `where` is a text as `predicted_iou < 0.7 and area > 100`, or an expression of Arrow. Reading them, as by
        `to_table()`, `to_pandas()`, `to_polars()` or `to_duckdb()`, reads these columns only, and opens no segment that
        the log, which knows the first and last id of each, or the statistics of its row groups rule out.
        Tracks that a reviewer rejected have none, unless `rejected`; the `category` of a reviewer is in `tracks` alone.
        """
        return self._lazy("masks", video_ids, columns, where, rejected)

    def tracks(
        self, video_ids: Collection[str] | None = None, *, where: Condition | None = None, rejected: bool = False
    ) -> pa.Table:
        """One row per video and object, sorted; what `keep_columns` kept of the prompts as columns of their own.

        `verdict`, `reviewer`, `reviewed_at` and `category` are what reviewers say now of these labels, `cycle_iou` what
        a walk back to the prompt found (`conf=verify`). Rejected tracks are left out, unless `rejected`, or `where`
        names `verdict`.
        """
        rows = self._rows("tracks", video_ids)
        rows = with_kept_columns(rows.sort_by([(key, "ascending") for key in SORT_KEYS["tracks"]]))
        return self._reviewed(rows, where, rejected)

    def track_rows(
        self,
        video_ids: Collection[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        where: Condition | None = None,
        rejected: bool = False,
    ) -> Rows:
        """The rows of `tracks` in no order, as `masks` gives those of `masks`: for jobs of millions of tracks.

        They are as the job wrote them, without what reviewers and `keep_columns` say; see `track_batches`.
        """
        return self._lazy("tracks", video_ids, columns, where, rejected)

    def _lazy(
        self,
        table: str,
        video_ids: Collection[str] | None,
        columns: Sequence[str] | None,
        where: Condition | None,
        rejected: bool,
    ) -> Rows:
        chosen = as_ids(video_ids)
        return Rows(
            lambda: self._committed.files(table, chosen),
            partial(self._up_to_date, table),
            columns,
            where,
            partial(self.within, chosen, rejected=rejected),
            table,
        )

    def track_batches(
        self,
        video_ids: Collection[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        where: Condition | None = None,
        rejected: bool = False,
    ) -> Iterator[pa.Table]:
        """The rows of `tracks` with what reviewers say now, in no order, a bounded number at a time.

        They lack what `keep_columns` kept. Batches fail with `FileNotFoundError` where a segment was replaced.
        """
        chosen = as_ids(video_ids)
        check_list("columns", columns)
        check_columns("tracks", columns or (), TRACKS)
        wanted = TRACKS.names if columns is None else list(columns)
        asked = None if where is None else columns_of(condition(where, TRACKS), TRACKS)
        read = list(dict.fromkeys((*wanted, "video_id", "object_id", "verdict", *(asked or ()))))
        for batch in self._committed.dataset("tracks", chosen).to_batches(columns=read):
            yield self._reviewed(pa.Table.from_batches([batch]), where, rejected).select(wanted)

    def _reviewed(self, tracks: pa.Table, where: Condition | None, rejected: bool) -> pa.Table:
        """Rows of `tracks` with what reviewers say now, and of these the ones to show."""
        asked = None if where is None else condition(where, tracks.schema)
        if self._cycles is not None:
            tracks = self._cycles.put_in(tracks)
        if self._verdicts is not None:
            tracks = self._verdicts.put_in(tracks)
            if not (rejected or names_verdict(where)):
                tracks = without_rejected(tracks)
        return tracks if asked is None else tracks.filter(asked)

    def walks(self) -> Mapping[Key, Cycle]:
        """The walks back (`conf=verify`) of the labels as they are now, by video and object."""
        return {} if self._cycles is None else self._cycles.live()

    def opinions(self) -> dict[Key, Opinion]:
        """What reviewers say now of the labels as they are now, by video and object."""
        live = {} if self._verdicts is None else self._verdicts.live()
        return {key: opinion for key, opinion in live.items() if opinion.verdict is not Verdict.WITHDRAW}

    def skipped(self) -> set[Key]:
        """Video and object of the tracks that a reviewer has skipped as they are labeled now."""
        return set() if self._verdicts is None else self._verdicts.skipped()

    def categories(self, video_ids: Collection[str] | None = None) -> dict[Key, str]:
        """What reviewers say that objects are, of all videos or of these, by video and object."""
        return {} if self._verdicts is None else self._verdicts.categories(as_ids(video_ids))

    def rejected(self, video_ids: Collection[str] | None = None) -> set[Key]:
        """Video and object of each track, of all videos or of these, that reviewers have rejected."""
        return set() if self._verdicts is None else self._verdicts.rejected(as_ids(video_ids))

    def within(self, video_ids: Sequence[str] | None = None, *, rejected: bool = False) -> pc.Expression | None:
        """What holds of the rows of `masks` that are shown of these videos, besides what a reader asks for."""
        shown = None if rejected or self._verdicts is None else self._verdicts.condition(video_ids)
        if video_ids is None:
            return shown
        return is_one_of(video_ids) if shown is None else is_one_of(video_ids) & shown

    def videos(self, video_ids: Collection[str] | None = None, *, where: Condition | None = None) -> pa.Table:
        """One row per finished video, sorted; what `keep_columns` kept of the videos as columns of their own."""
        rows = self._rows("videos", video_ids)
        rows = with_kept_columns(rows.sort_by([(key, "ascending") for key in SORT_KEYS["videos"]]))
        return rows if where is None else rows.filter(condition(where, rows.schema))

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query of duckdb on `masks`, `tracks` and `videos`. It reads the columns and files that it needs.

        Its answer has `df()` for pandas, `pl()` for polars and `to_arrow_table()`.
        """
        return query_tables(
            query, {"masks": lambda: self.masks().dataset, "tracks": self.tracks, "videos": self.videos}
        )

    def places_read(self) -> set[str | None]:
        """The `uri` of each video of which frames were decoded; None is among them for bytes that lay in a table."""

        rows = self._rows("videos", None).filter(pc.field("num_frames_decoded") > 0)
        return set(rows["uri"].to_pylist())

    def newest_videos(self, most: int) -> pa.Table:
        """Rows of `videos` of the newest segments that hold masks, until there are `most` of them.

        However large the job is, few segments are read. Nights on which all failed are passed over.
        """
        return self._up_to_date("videos", lambda: self._committed.newest_videos(most))

    def noted_tracks(self, video_ids: Collection[str]) -> list[dict[str, Any]]:
        """Of these videos the rows of `tracks` that failed or have a warning: ids, status and message."""
        is_noted = (pc.field("status") != "ok") | (pc.field("message") != "")
        columns = ["video_id", "object_id", "status", "message"]
        rows = self._rows("tracks", video_ids).filter(is_noted).select(columns)
        found: list[dict[str, Any]] = rows.sort_by([(key, "ascending") for key in SORT_KEYS["tracks"]]).to_pylist()
        return found

    def video_masks(
        self, video_id: str, object_ids: Collection[int] | None = None, *, rejected: bool = False
    ) -> Iterator[VideoMask]:
        """Decoded masks of one video, by object, then frame, hidden ones (all False) included; see `masks`.

        Raises:
            KeyError: the job has not finished such a video.
            FileNotFoundError: an object store has deleted the video's segment in the middle, because it was replaced.
        """
        video_id = plain(video_id)
        self.check_video(video_id)
        where = None if object_ids is None else pc.field("object_id").isin(pa.array(list(object_ids), pa.int64()))
        for batch in self._mask_rows(video_id, rejected, ["object_id", "frame_index", "pts_seconds", "rle"], where):
            for row in batch.to_pylist():
                yield VideoMask(
                    row["object_id"], row["frame_index"], row["pts_seconds"], coco.decode(row["rle"]).astype(bool)
                )

    def check_video(self, video_id: str) -> None:
        """Raises `NotInJob`, a `KeyError`, naming videos with ids like this one if the job has not finished it."""
        if video_id not in self.state.finished:
            raise self._no_video(video_id)

    def video(self, video_id: str, *, videos_root: str | None = None, rejected: bool = False) -> Clip:
        """One finished video: its frames as pictures, its masks as arrays, its tracks, rejected ones if `rejected`.

        `videos_root` is a folder or URI below which its file lies now, where it was moved since. Raises `KeyError`
        naming videos with ids like this one if the job has not finished such a video.
        """
        # Frames need the model's readers, and with them torch, which takes 2 seconds: tables alone are there at once.
        from pipeline.notebook.clip import Clip
        from pipeline.notebook.source_frames import SourceFile

        video_id = plain(video_id)
        rows = self.videos([video_id]).to_pylist() if video_id in self.state.finished else []
        if not rows:
            raise self._no_video(video_id)
        source = SourceFile(rows[0], videos_root, self._storage.storage_options)
        tracks = self.tracks([video_id], rejected=rejected)
        hidden = () if rejected else [object_id for _, object_id in self.rejected([video_id])]
        return Clip(rows[0], tracks, partial(self._mask_rows, video_id, rejected), source, hidden)

    def _mask_rows(
        self, video_id: str, rejected: bool, columns: list[str], where: pc.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of one video, sorted by object, then frame, a bounded number at a time."""

        def begin() -> Iterator[pa.RecordBatch]:
            within = self.within([video_id], rejected=rejected)
            masks = self._committed.files("masks", [video_id]).filter(within if where is None else within & where)
            batches = masks.scanner(columns=columns, batch_size=1024, use_threads=False).to_batches()
            return chain(list(islice(batches, 1)), batches)

        yield from self._up_to_date("masks", begin)

    def labeled_again(self) -> list[str]:
        """Videos that a round of reviews labels again and has not finished: their rows are those of the round before.

        Rows of some of them may be missing where an earlier version of this program began the round; `missing` names
        these, and `open(uri, round=…)` with the number of an earlier round has their rows.
        """
        state = self.state
        return sorted(name for name in state.formers if name not in state.finished or state.is_set_aside(name))

    def _no_video(self, video_id: str) -> NotInJob:
        number = self.state.round - 1
        if video_id in self.state.formers and number >= self.state.oldest_round:
            return NotInJob(
                f"{self._storage}: video {video_id!r} is labeled again in round {number + 1} and is not finished yet; "
                f"tables.open(…, round={number}) has its rows"
            )
        near = get_close_matches(str(video_id), islice(self.state.finished, _COMPARED_IDS), n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        hint = meant_several(str(video_id), self.state.finished) or hint
        return NotInJob(f"{self._storage}: no finished video {video_id!r}{hint}")

    def _repr_html_(self) -> str:
        """For Jupyter: counts, and the first videos with a picture of each."""
        return job_card(self._facts(), self.video, self.videos)

    def __repr__(self) -> str:
        return self._facts().line()

    def _facts(self) -> JobFacts:
        sizes = self.state.segments.values()
        statuses = [(video_id, finished.status) for video_id, finished in self.state.finished.pairs()]
        return JobFacts(
            str(self._storage),
            statuses,
            num_tracks=sum(size.num_tracks for size in sizes),
            num_masks=sum(size.num_masks for size in sizes),
        )

    def changes(self, *, since: str | date | None = None, entry: int = 0) -> History:
        """Which videos came, were labeled again or left, up to what these tables show; the log alone is read.

        `entry` is where an earlier reading ended (`History.entry`); `since` a time, or a text as `yesterday`, `36h` or
        `2026-11-28`. Without either it is everything since the job began. If the tables are older than `entry`, they
        are read as they stand now first.

        Raises:
            ValueError: `since` is no time, or has no time zone; or both are given.
            NoHistory: the log does not reach back so far, or not to `entry`.
        """
        if entry > self.state.next_entry:
            self.refresh()
        return read_history(self._storage, asked_since(since, entry), self.state.next_entry)

    def missing(self, video_ids: Iterable[str]) -> list[str]:
        """Those of these videos that the job has not finished, or has no more."""
        return [video_id for video_id in as_ids(video_ids) or () if video_id not in self.state.finished]

    def job_config(self) -> dict[str, Any]:
        """What made these tables: the content of `job.json`."""
        document: dict[str, Any] = json.loads(self._storage.read(JOB))
        return document

    def _rows(self, table: str, video_ids: Collection[str] | None) -> pa.Table:
        """Rows of `tracks` or `videos`, in no order."""
        chosen = as_ids(video_ids)
        return self._up_to_date(table, lambda: self._committed.rows(table, chosen))

    def _up_to_date(self, table: str, read: Callable[[], T]) -> T:
        return self.steadily(read, f"{self._storage}/{table}: segments vanish while they are read")

    def steadily(self, read: Callable[[], T], problem: str = "segments vanish while they are read") -> T:
        """`read()`, once more after each time that the log has gone on and the segments to read are gone.

        Raises `StorageError`, which tells the problem, if they are gone each time, or which object is lost.
        """
        return steadily(self._storage, read, self.refresh, lambda: self.state.next_entry, problem)

    def dataset(self, table: str, output: str) -> ds.Dataset:
        """All rows of a table as an Arrow dataset of the files of now, with a column `output` that has this value."""
        return self._committed.files(table, None, {"output": output})
