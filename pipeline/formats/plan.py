"""What an export will write, known before any mask is read: videos, tracks, and the numbers that they get.

Numbers follow from the sorted ids and from the counts in `tracks` and `videos`, and never from the order in which a job
has run. They are unique in an export and need not be dense.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Int64Array
from pipeline.errors import ConfigError
from pipeline.formats.selection import Selection, split_of
from pipeline.output.where import condition
from pipeline.tables import JobTables
from pipeline.text import MAX_NAMED, one_line

NO_CATEGORY = "object"
"""The category of a track that has none."""

_VIDEOS_AT_A_TIME = 1024
_DIGESTED = {
    "videos": ["video_id", "num_masks", "num_frames", "prompt_hash", "config_hash", "finished_at"],
    "tracks": ["video_id", "object_id", "category", "num_masks"],
}


@dataclass(frozen=True)
class PlannedTrack:
    """One object. `id` is unique over the export, `number` in its video; both from 1. `row` is that of `tracks`."""

    id: int
    number: int
    object_id: int
    category: str
    category_id: int
    row: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedVideo:
    """One video. `number` is from 1, `name` is safe as a name of a file or folder, and `row` is that of `videos`.

    Its images have the ids `first_image_id`, … in the order of its labeled frames, and its masks those from
    `first_annotation_id` on.
    """

    number: int
    video_id: str
    name: str
    split: str
    row: Mapping[str, Any]
    tracks: tuple[PlannedTrack, ...]
    first_image_id: int
    first_annotation_id: int

    @property
    def num_masks(self) -> int:
        """Rows of `masks` of its selected tracks."""
        return sum(track.row["num_masks"] for track in self.tracks)


@dataclass(frozen=True)
class Task:
    """A part of an export: videos of one split that are written by one process. `number` is its place in the order."""

    number: int
    videos: tuple[PlannedVideo, ...]


class Plan:
    """See the module. `videos` and `tracks` are the selected rows, sorted; `left_out` says what is not.

    `stride` is that of the labeled frames, where the job says so and has one.
    """

    def __init__(
        self,
        videos: pa.Table,
        tracks: pa.Table,
        splits: Mapping[str, float],
        left_out: LeftOut,
        stride: int | None = None,
    ) -> None:
        self.stride = stride
        self.videos = videos
        self.tracks = tracks
        self.left_out = left_out
        self.splits: tuple[str, ...] = tuple(splits) or ("train",)
        names = {category or NO_CATEGORY for category in pc.unique(tracks["category"]).to_pylist()}
        self.categories: dict[str, int] = {name: number for number, name in enumerate(sorted(names), 1)}
        self._split_of = [split_of(video_id, splits) for video_id in videos["video_id"].to_pylist()]
        self._first_track = _starts(tracks["video_id"], videos.num_rows)
        num_masks = np.asarray(tracks["num_masks"], np.int64)
        self._masks_before = np.concatenate([[0], np.cumsum(num_masks)])
        self._frames_before = np.concatenate([[0], np.cumsum(np.asarray(videos["num_frames"], np.int64))])

    @property
    def num_videos(self) -> int:
        """Videos that are written."""
        return int(self.videos.num_rows)

    @property
    def num_tracks(self) -> int:
        """Tracks that are written."""
        return int(self.tracks.num_rows)

    @property
    def num_masks(self) -> int:
        """Rows of `masks` of these tracks, hidden ones included."""
        return int(self._masks_before[-1])

    @cached_property
    def digest(self) -> str:
        """A hash of what is selected and of its labels: parts of two with different ones do not fit together."""
        found = hashlib.sha256()
        for name, table in (("videos", self.videos), ("tracks", self.tracks)):
            for batch in table.select(_DIGESTED[name]).to_batches(_VIDEOS_AT_A_TIME):
                found.update(repr(batch.to_pydict()).encode())
        found.update(repr((self.splits, self._split_of)).encode())
        return found.hexdigest()

    def each(self) -> Iterator[PlannedVideo]:
        """All videos, by id; a bounded number is in memory."""
        for first in range(0, self.num_videos, _VIDEOS_AT_A_TIME):
            rows = self.videos.slice(first, _VIDEOS_AT_A_TIME).to_pylist()
            start, end = int(self._first_track[first]), int(self._first_track[first + len(rows)])
            tracks = self.tracks.slice(start, end - start).to_pylist()
            for place, row in enumerate(rows, first):
                mine = range(int(self._first_track[place]), int(self._first_track[place + 1]))
                yield PlannedVideo(
                    number=place + 1,
                    video_id=row["video_id"],
                    name=safe_name(row["video_id"]),
                    split=self._split_of[place],
                    row=row,
                    tracks=tuple(self._track(one, mine.start, tracks[one - start]) for one in mine),
                    first_image_id=int(self._frames_before[place]) + 1,
                    first_annotation_id=int(self._masks_before[mine.start]) + 1,
                )

    def tasks(self, part_masks: int, part_videos: int) -> Iterator[Task]:
        """Parts, split after split: as many videos as have this many masks together, one at least."""
        number = 0
        for split in self.splits:
            videos: list[PlannedVideo] = []
            num_masks = 0
            for video in self.each():
                if video.split != split:
                    continue
                if videos and (num_masks + video.num_masks > part_masks or len(videos) == part_videos):
                    yield Task(number, tuple(videos))
                    number, videos, num_masks = number + 1, [], 0
                videos.append(video)
                num_masks += video.num_masks
            if videos:
                yield Task(number, tuple(videos))
                number += 1

    def _track(self, place: int, first: int, row: Mapping[str, Any]) -> PlannedTrack:
        category = row["category"] or NO_CATEGORY
        return PlannedTrack(place + 1, place - first + 1, row["object_id"], category, self.categories[category], row)


def make_plan(job: JobTables, selection: Selection) -> Plan:
    """What the selection means for the job as it stands now.

    Raises `ConfigError` for a video, a category or a column that there is not, and where nothing is selected.
    """
    left_out = LeftOut()
    if selection.videos is not None:
        _check_videos(job, selection.videos)
    every = job.videos(selection.videos)
    videos = left_out.keep(every, pc.equal(every["status"], "ok"), "videos that failed")
    tracks = _selected_tracks(job.tracks(selection.videos), videos, selection, left_out)
    has_tracks = pc.is_in(videos["video_id"], pc.unique(tracks["video_id"]))
    videos = left_out.keep(videos, has_tracks, "videos without a selected track")
    if not videos.num_rows:
        raise ConfigError(f"nothing is left to export: {'; '.join(left_out.lines()) or 'the job has no videos yet'}")
    return Plan(videos, tracks, selection.splits, left_out, _stride(job))


def _stride(job: JobTables) -> int | None:
    """Every how many frames the job labels; None where it labels by `frames.fps`, or has no record of itself."""
    try:
        fingerprint = job.job_config().get("fingerprint", {})
    except FileNotFoundError:
        return None
    stride = fingerprint.get("frames.stride")
    return stride if isinstance(stride, int) and fingerprint.get("frames.fps") is None else None


class LeftOut:
    """What of a job is not exported: how much of it, by reason, and the first few."""

    def __init__(self) -> None:
        self.reasons: dict[str, dict[str, Any]] = {}

    def keep(self, rows: pa.Table, is_kept: pa.ChunkedArray, reason: str) -> pa.Table:
        """The rows that are kept, of `videos` or `tracks`; the others are noted. Null keeps no row."""
        is_kept = pc.fill_null(is_kept, False)
        others = rows.filter(pc.invert(is_kept))
        if others.num_rows:
            self.reasons[reason] = {
                "count": others.num_rows,
                "first": [_named(row) for row in others.slice(0, MAX_NAMED).to_pylist()],
            }
        return rows.filter(is_kept)

    def lines(self) -> list[str]:
        """A line for each reason."""
        return [
            f"{reason}: {noted['count']} ({'; '.join(noted['first'])}{'; …' if noted['count'] > MAX_NAMED else ''})"
            for reason, noted in self.reasons.items()
        ]


def _named(row: Mapping[str, Any]) -> str:
    whose = f"object {row['object_id']} of video" if "object_id" in row else "video"
    return f"{whose} {row['video_id']!r}{': ' + one_line(row['message'], 200) if row['message'] else ''}"


def _selected_tracks(tracks: pa.Table, videos: pa.Table, selection: Selection, left_out: LeftOut) -> pa.Table:
    tracks = tracks.filter(pc.is_in(tracks["video_id"], videos["video_id"]))
    every = tracks
    tracks = left_out.keep(tracks, pc.equal(tracks["status"], "ok"), "tracks that failed")
    if selection.categories is not None:
        wanted = _known_categories(tracks, selection.categories)
        tracks = left_out.keep(tracks, pc.is_in(tracks["category"], wanted), "tracks of other categories")
    if selection.where is not None:
        is_kept = _that_meet(selection.where, tracks)
        tracks = left_out.keep(tracks, pa.chunked_array([pa.array(is_kept)]), "tracks that where= leaves out")
    if selection.whole_videos:
        is_kept = pc.invert(pc.is_in(tracks["video_id"], _ids_of_bad_tracks(every, selection)))
        tracks = left_out.keep(tracks, is_kept, "tracks of videos with a track that failed or that where= leaves out")
    if not selection.keep_never_visible:
        tracks = left_out.keep(tracks, pc.greater(tracks["num_visible"], 0), "tracks that are never visible")
    return tracks


def _that_meet(where: str, tracks: pa.Table) -> BoolArray:
    """Which tracks a condition keeps, `[N]`."""
    numbered = tracks.append_column("_place", pa.array(np.arange(tracks.num_rows)))
    is_kept = np.zeros(tracks.num_rows, bool)
    is_kept[np.asarray(numbered.filter(condition(where, tracks.schema))["_place"], np.int64)] = True
    return is_kept


def _ids_of_bad_tracks(tracks: pa.Table, selection: Selection) -> pa.ChunkedArray:
    """The videos of tracks that failed, and of those of any category that `where=` leaves out."""
    is_good = pc.equal(tracks["status"], "ok").to_numpy()
    if selection.where is not None:
        is_good = is_good & _that_meet(selection.where, tracks)
    return tracks["video_id"].filter(pa.array(~is_good))


def _known_categories(tracks: pa.Table, wanted: tuple[str, ...]) -> pa.Array:
    known = [category or NO_CATEGORY for category in pc.unique(tracks["category"]).to_pylist()]
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"categories: no track is of {name!r}; there are {', '.join(sorted(known)[:20])}{hint}")
    return pa.array([*wanted, *([None] if NO_CATEGORY in wanted else [])], pa.string())


def _check_videos(job: JobTables, video_ids: tuple[str, ...]) -> None:
    for video_id in video_ids:
        if video_id not in job.state.finished:
            try:
                next(job.video_masks(video_id))
            except KeyError as error:
                raise ConfigError(f"videos: {error.args[0]}") from error


def _starts(ids: pa.ChunkedArray, num: int) -> Int64Array:
    """Where the rows of each of `num` ids begin in a sorted column, `[num + 1]`."""
    counts = pc.value_counts(ids).field("counts") if len(ids) else pa.array([], pa.int64())
    if len(counts) != num:
        raise AssertionError(f"{len(counts)} videos have tracks, {num} are selected")
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int64)


def safe_name(video_id: str) -> str:
    """An id as the name of a file or folder, without dots: itself, or what is left of it with a hash of all.

    An id that looks like a name with a hash gets one too, so that no name is that of another id.
    """
    is_plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{,99}", video_id)
    if is_plain and not re.search(r"-[0-9a-f]{10}$", video_id):
        return video_id
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", video_id)
    return f"{plain[:80].strip('_-') or 'video'}-{hashlib.sha256(video_id.encode()).hexdigest()[:10]}"
