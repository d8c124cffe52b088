"""Walks back to the prompts (`conf=verify`) that are of the labels as they are now, and their columns of `tracks`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.reviews.cycles import Cycle, read_cycles
from pipeline.reviews.files import Listed
from pipeline.reviews.keeping import labeled_at
from pipeline.reviews.live import Read
from pipeline.reviews.verdicts import Key
from pipeline.storage.job_storage import JobStorage

COLUMNS = {"cycle_iou": "iou", "walks_iou": "walks_iou", "parting_frame": "parting_frame"}
"""Columns of `tracks` with the fields of `Cycle` that they show."""


class LiveCycles:
    """Walks are read when they are asked for first, and again after `forget`; errors are those of `read_cycles`.

    `videos` and `tracks` read rows of the tables, of videos alone of which a track was walked.
    """

    def __init__(self, storage: JobStorage, videos: Read, tracks: Read, listed: Listed) -> None:
        self._storage = storage
        self._listed = listed
        self._read_videos = videos
        self._read_tracks = tracks
        self._live: Mapping[Key, Cycle] | None = None

    def forget(self, listed: Listed) -> None:
        """The log was read again: so are the walks."""
        self._live, self._listed = None, listed

    def live(self) -> Mapping[Key, Cycle]:
        """The newest walk of each track whose rows are still those that were walked."""
        if self._live is None:
            walked = read_cycles(self._storage, self._listed)
            made = made_at(self._read_videos, self._read_tracks, {video_id for video_id, _ in walked})
            self._live = {key: one for key, one in walked.items() if key in made and one.is_of(made[key])}
        return self._live

    def put_in(self, tracks: pa.Table) -> pa.Table:
        """Rows of `tracks` with what their walks found, in those of `COLUMNS` that they have."""
        wanted = [name for name in COLUMNS if name in tracks.column_names]
        if not wanted or not tracks.num_rows:
            return tracks
        walks = self.live()
        if not walks:
            return tracks
        is_walked = pc.is_in(tracks["video_id"], value_set=pa.array({video_id for video_id, _ in walks}, pa.string()))
        if not pc.any(is_walked).as_py():
            return tracks
        keys = zip(tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist(), strict=True)
        found = [walks.get(key) for key in keys]
        for name in wanted:
            values = [None if one is None else getattr(one, COLUMNS[name]) for one in found]
            field = tracks.schema.field(name)
            tracks = tracks.set_column(tracks.schema.get_field_index(name), field, pa.array(values, field.type))
        return tracks


def made_at(videos: Read, tracks: Read, video_ids: Collection[str]) -> dict[Key, datetime]:
    """When the rows of each track of these videos were made; nothing of videos that are not finished."""
    if not video_ids:
        return {}
    known = {row["video_id"]: row for row in _rows(videos(video_ids), ("video_id", "finished_at", "kept_since"))}
    return {
        (row["video_id"], row["object_id"]): labeled_at(row, known[row["video_id"]])
        for row in _rows(tracks(video_ids), ("video_id", "object_id", "labeled_at"))
        if row["video_id"] in known
    }


def _rows(table: pa.Table, columns: Iterable[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.select(list(columns)).to_pylist()
    return found
