"""One reading of a job for a review: its list of tracks, and when each of its videos was labeled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.data_engine.queue import COLUMNS as QUEUE_COLUMNS
from pipeline.data_engine.queue import Queue, QueueRules
from pipeline.data_engine.walked import with_walks
from pipeline.output.schema import TRACKS
from pipeline.quality.blend import DEFAULT
from pipeline.review_server.options import ReviewOptions
from pipeline.review_server.reasons_in_words import CYCLE_IOU
from pipeline.review_server.track_list import COLUMNS, TrackList, broken_rows
from pipeline.reviews.cycles import Cycle
from pipeline.reviews.history import Said
from pipeline.reviews.verdicts import Key, Verdict
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables

QUEUE_TOP = 500
"""So many tracks has the queue that is made where none is given, and a tenth more that are drawn by lot."""


@dataclass(frozen=True)
class Snapshot:
    """See the module. `number` counts the readings of a review; `broken` are `broken_rows`.

    `num_failed` are numbers of objects that failed, of videos that have some.
    """

    number: int
    job: JobTables
    tracks: TrackList
    broken: pa.Table
    num_failed: dict[str, int]
    finished: dict[str, datetime | None]
    made: dict[str, datetime | None]

    @property
    def next_entry(self) -> int:
        """Up to where the log was read."""
        return self.job.state.next_entry

    def finished_at(self, video_id: str) -> datetime | None:
        """When a video was labeled last, None if it is not told."""
        return self.finished.get(video_id)

    def labeled_at(self, key: Key) -> datetime | None:
        """When the rows of a track were made: before its video was labeled last, if that run has kept them."""
        place = self.tracks.place_of(key)
        own: datetime | None = None if place is None else self.tracks.rows["labeled_at"][place].as_py()
        return own or self.made.get(key[0])


def read_snapshot(storage: JobStorage, options: ReviewOptions, said: Mapping[Key, Said], number: int) -> Snapshot:
    """Read the job as it stands now. A queue that is made here goes by what is `said` of tracks.

    Raises:
        FileNotFoundError: there is no job.
        StorageError: the store does not answer.
        WrongCondition: `where` cannot be read.
    """
    job = tables.open(storage.uri, storage.storage_options, reviews=False)  # the book of verdicts says who said what
    rows = _rows(job, options.where)
    videos = job.videos()
    ids = videos["video_id"].to_pylist()
    finished = dict(zip(ids, _times(videos["finished_at"]), strict=True))
    made = dict(zip(ids, _times(pc.coalesce(videos["kept_since"], videos["finished_at"])), strict=True))
    if walks := JobTables(storage, job.state, reviews=True).walks():
        rows = _with_walks(rows, walks)
    queue = options.queue if options.queue is not None else _queue(rows, said, made)
    broken = broken_rows(rows)
    num_failed = Counter(broken.filter(pc.field("status") == "failed")["video_id"].to_pylist())
    return Snapshot(number, job, TrackList(rows, queue), broken, num_failed, finished, made)


def _rows(job: JobTables, where: str | None) -> pa.Table:
    """Tracks in the columns of the list; read again where a running job has replaced segments meanwhile."""
    if not job.state.segments:
        return pa.schema([TRACKS.field(name) for name in COLUMNS]).empty_table()
    read = job.track_rows(columns=COLUMNS, where=where).to_table
    return job.steadily(read, "segments vanish while the review reads them")


def _with_walks(rows: pa.Table, walks: Mapping[Key, Cycle]) -> pa.Table:
    """Tracks with what walks back to their prompts add to doubt and reasons, and with the IoU that they found."""
    keys = zip(rows["video_id"].to_pylist(), rows["object_id"].to_pylist(), strict=True)
    found = [None if (walk := walks.get(key)) is None else walk.iou for key in keys]
    place, field = rows.schema.get_field_index(CYCLE_IOU), TRACKS.field(CYCLE_IOU)
    return with_walks(rows.set_column(place, field, pa.array(found, field.type)), walks, DEFAULT)


def _queue(rows: pa.Table, said: Mapping[Key, Said], made: Mapping[str, datetime | None]) -> dict[Key, bool]:
    """What is worth a look first of what nobody has judged as it is now, with some by lot; skipped ones come last."""
    of_now = {}
    videos = pa.array({video_id for video_id, _ in said}, pa.string())
    reviewed = rows.filter(pc.is_in(rows["video_id"], value_set=videos))
    for row in reviewed.select(["video_id", "object_id", "labeled_at"]).to_pylist():
        one = said.get((row["video_id"], row["object_id"]))
        if one is not None and one.is_of(row["labeled_at"] or made.get(row["video_id"])):
            of_now[row["video_id"], row["object_id"]] = one.verdict
    skipped = {key for key, verdict in of_now.items() if verdict is Verdict.SKIP}
    queue = Queue(QueueRules(top=QUEUE_TOP), of_now.keys() - skipped, skipped)
    queue.add(rows.filter(pc.field("num_masks") > 0).select(list(QUEUE_COLUMNS)))
    return {entry.key: is_audit for entry, is_audit in queue.entries()}


def _times(column: pa.ChunkedArray) -> list[datetime | None]:
    # Of 100,000 times, to_pylist() takes half a second, because it looks for the time zone of each.
    numbers = column.cast(pa.int64()).to_pylist()
    return [None if one is None else datetime.fromtimestamp(one / 1000, UTC) for one in numbers]


def in_text(moment: datetime | None) -> str:
    """A time as it stands in JSON, empty for none."""
    return "" if moment is None else moment.isoformat(timespec="milliseconds")


def from_text(text: Any) -> datetime | None:
    """The time of such a text. Raises `ValueError` for any other."""
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
