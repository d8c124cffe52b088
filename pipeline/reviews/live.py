"""What reviewers say now of the tracks of a job, put into rows of its tables.

A verdict is put into a row if it is said of these labels and not of earlier ones of the same object: a round of reviews
labels some objects of a video again, and keeps the rows of the others. A category is of the object, and stays. Tracks
that are rejected leave the rows, and so do their masks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.where import Condition
from pipeline.reviews.files import Listed
from pipeline.reviews.keeping import labeled_at
from pipeline.reviews.verdicts import Key, Opinion, Verdict, read_opinions, read_skips
from pipeline.storage.job_storage import JobStorage

T = TypeVar("T")

REVIEWED = ("verdict", "reviewer", "reviewed_at")
"""Columns of `tracks` that say what a reviewer said."""

_Opinions = dict[int, Opinion]
"""What is said of the objects of a video."""

Read = Callable[[Collection[str]], pa.Table]
"""The rows of a table of these videos, as segments have them."""


class LiveVerdicts:
    """See the module. Reviews are read when they are asked for first, and again after `forget`.

    `videos` and `tracks` read rows of the tables; they are asked for videos alone of which somebody has said something.
    All methods raise as `read_verdicts` does.
    """

    def __init__(self, storage: JobStorage, videos: Read, tracks: Read, listed: Listed) -> None:
        self._storage = storage
        self._listed = listed
        self._read_videos = videos
        self._read_tracks = tracks
        self._said: dict[str, _Opinions] | None = None
        self._live: dict[str, _Opinions] = {}

    def forget(self, listed: Listed) -> None:
        """The log was read again: so are the reviews."""
        self._said, self._live, self._listed = None, {}, listed

    def live(self, video_ids: Iterable[str] | None = None) -> dict[Key, Opinion]:
        """What is said of the labels as they are now, of all videos or of these. Withdrawn verdicts are among them."""
        said, known = self._all(), self._live
        wanted = said.keys() if video_ids is None else [video_id for video_id in set(video_ids) if video_id in said]
        unknown = [video_id for video_id in wanted if video_id not in known]
        if unknown:
            known.update(self._of_labels_of_now({video_id: said[video_id] for video_id in unknown}))
        return {(video_id, object_id): opinion for video_id in wanted for object_id, opinion in known[video_id].items()}

    def _of_labels_of_now(self, said: Mapping[str, _Opinions]) -> dict[str, _Opinions]:
        """Of the verdicts on each of these videos those on the labels that it has now."""
        columns = ["video_id", "finished_at", "kept_since"]
        finished = {row["video_id"]: row for row in self._read_videos(said).select(columns).to_pylist()}
        found: dict[str, _Opinions] = {video_id: {} for video_id in said}
        of_earlier = []
        for video_id, row in finished.items():
            found[video_id] = {
                one: opinion for one, opinion in said[video_id].items() if opinion.is_of(row["finished_at"])
            }
            if len(found[video_id]) < len(said[video_id]):
                of_earlier.append(video_id)
        if of_earlier:  # their videos were labeled again, but maybe these objects were not
            rows = self._read_tracks(of_earlier).select(["video_id", "object_id", "labeled_at"])
            for row in rows.to_pylist():
                video_id, object_id = row["video_id"], row["object_id"]
                opinion = said[video_id].get(object_id)
                if opinion is not None and opinion.is_of(labeled_at(row, finished[video_id])):
                    found[video_id][object_id] = opinion
        return found

    def skipped(self) -> set[Key]:
        """The tracks that somebody has skipped as they are labeled now, whatever else was said of them."""
        skips: dict[str, _Opinions] = {}
        for (video_id, object_id), skip in read_skips(self._storage, self._listed).items():
            skips.setdefault(video_id, {})[object_id] = skip
        found = self._of_labels_of_now(skips) if skips else {}
        return {(video_id, object_id) for video_id, ids in found.items() for object_id in ids}

    def categories(self, video_ids: Iterable[str] | None = None) -> dict[Key, str]:
        """What reviewers say that objects are, of all videos or of these; also where they said it of earlier labels."""
        said = self._all()
        return {
            (video_id, object_id): opinion.category
            for video_id in (said if video_ids is None else set(video_ids))
            for object_id, opinion in said.get(video_id, {}).items()
            if opinion.category is not None
        }

    def put_in(self, rows: pa.Table) -> pa.Table:
        """Rows of `tracks` with what is said of them now. Of its columns only those are changed that the rows have."""
        if not self._all() or not rows.num_rows:
            return rows
        video_ids = pc.unique(rows["video_id"]).to_pylist()
        live, categories = self.live(video_ids), self.categories(video_ids)
        rows = with_categories(rows, categories) if "category" in rows.column_names else rows
        return with_verdicts(rows, live) if live else rows

    def rejected(self, video_ids: Collection[str] | None = None) -> set[Key]:
        """The tracks of all videos, or of these, that are rejected now."""
        return {key for key, opinion in self.live(video_ids).items() if opinion.verdict is Verdict.REJECT}

    def condition(self, video_ids: Collection[str] | None = None) -> pc.Expression | None:
        """What holds of rows of `masks` and `tracks` that are not rejected; None where no track is."""
        keys = self.rejected(video_ids)
        if not keys:
            return None
        # The set of videos stands beside the keys, because statistics rule out files and row groups by it.
        is_reviewed = pc.field("video_id").isin(pa.array({video_id for video_id, _ in keys}, pa.string()))
        key = pc.binary_join_element_wise(pc.field("video_id"), pc.field("object_id").cast(pa.string()), "\0")
        joined = pa.array([f"{video_id}\0{object_id}" for video_id, object_id in keys], pa.string())
        return ~(is_reviewed & key.isin(joined))

    def _all(self) -> dict[str, _Opinions]:
        if self._said is None:
            said: dict[str, _Opinions] = {}
            for (video_id, object_id), opinion in read_opinions(self._storage, self._listed).items():
                said.setdefault(video_id, {})[object_id] = opinion
            self._said = said
        return self._said


def with_verdicts(rows: pa.Table, opinions: Mapping[Key, Opinion]) -> pa.Table:
    """Rows of `tracks` with these verdicts in the columns of `REVIEWED` that they have."""
    found, chosen = _of_rows(rows, opinions)
    is_withdrawn = [one.verdict is Verdict.WITHDRAW for one in found]
    values: dict[str, list[Any]] = {
        "verdict": [one.verdict.value for one in found],
        "reviewer": [one.reviewer for one in found],
        "reviewed_at": [one.reviewed_at for one in found],
    }
    for name in REVIEWED:
        if (place := rows.schema.get_field_index(name)) >= 0:
            field = rows.schema.field(place)
            said = pa.array(values[name], field.type, mask=np.array(is_withdrawn, np.bool_)).take(chosen)
            rows = rows.set_column(place, field, pc.if_else(chosen.is_valid(), said, rows[name]))
    return rows


def with_categories(rows: pa.Table, categories: Mapping[Key, str]) -> pa.Table:
    """Rows of `tracks` or `masks` with these categories in the place of those that they have."""
    if not categories:
        return rows
    found, chosen = _of_rows(rows, categories)
    place = rows.schema.get_field_index("category")
    said = pa.array(found, rows.schema.field(place).type).take(chosen)
    return rows.set_column(place, rows.schema.field(place), pc.coalesce(said, rows["category"]))


def _of_rows(rows: pa.Table, known: Mapping[Key, T]) -> tuple[list[T], pa.Array]:
    """What is known of the tracks of some of these rows, and for each row which of it; null where nothing is."""
    videos = pa.array({video_id for video_id, _ in known}, pa.string())
    places = np.flatnonzero(pc.is_in(rows["video_id"], value_set=videos))
    some = rows.select(["video_id", "object_id"]).take(pa.array(places))
    found: list[T] = []
    chosen = np.full(rows.num_rows, -1)
    keys = zip(some["video_id"].to_pylist(), some["object_id"].to_pylist(), strict=True)
    for place, key in zip(places.tolist(), keys, strict=True):
        if (one := known.get(key)) is not None:
            chosen[place] = len(found)
            found.append(one)
    return found, pa.array(chosen, mask=chosen < 0)


def names_verdict(where: Condition | None) -> bool:
    """Whether a condition says itself which verdicts it wants, so that rejected tracks stay for it to choose."""
    return where is not None and re.search(r"\bverdict\b", str(where)) is not None


def without_rejected(rows: pa.Table) -> pa.Table:
    """The rows of `tracks` that are not rejected."""
    is_shown = pc.fill_null(pc.not_equal(rows["verdict"], Verdict.REJECT.value), True)
    return rows if pc.all(is_shown).as_py() is not False else rows.filter(is_shown)
