"""What an export will write, known before any mask is read: videos, tracks, and the numbers that they get.

Numbers follow from the sorted ids and from the counts in `tracks` and `videos`, and never from the order in which a job
has run. They are unique in an export and need not be dense. Memory does not grow with them: rows wait on local disk.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.formats.left_out import LeftOut
from pipeline.formats.review_facts import COLUMNS, review_facts
from pipeline.formats.selection import split_of
from pipeline.formats.table_spool import Spools
from pipeline.storage.uris import StorageOptions

NO_CATEGORY = "object"
"""The category of a track that has none."""

_VIDEOS_AT_A_TIME = 64
_UTC = ZoneInfo("UTC")
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

    @property
    def reviewed(self) -> dict[str, Any]:
        """Verdict, reviewer and round, as far as there is something to say of reviews."""
        return review_facts(self.row)


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
    def has_reviews(self) -> bool:
        """Whether there is something to say of reviews of one of its tracks."""
        return any(track.reviewed for track in self.tracks)

    @property
    def num_masks(self) -> int:
        """Rows of `masks` of its selected tracks."""
        return sum(track.row["num_masks"] for track in self.tracks)


@dataclass(frozen=True)
class Task:
    """A part of an export: videos of one split that are written by one process. `number` is its place in the order.

    `handout` is the id under which they go out to be reviewed, if they do.
    """

    number: int
    videos: tuple[PlannedVideo, ...]
    handout: str | None = None


def _with_zone(value: object) -> object:
    """The UTC of Python where there is a time: versions of pyarrow give zones that are written in other ways."""
    return value.replace(tzinfo=_UTC) if isinstance(value, datetime) else value


class Plan:
    """See the module. `make_plan` fills it; `left_out` says what is not exported. `spools` are closed with the plan.

    `stride` is that of the labeled frames, where the job says so and has one. `handout` is the id under which it goes
    out to be reviewed, if it does. `has_reviews`: there is something to say of reviews of a track (`review_facts`).
    `storage_options` open what keys of a format name.
    """

    def __init__(
        self,
        splits: Mapping[str, float],
        left_out: LeftOut,
        spools: Spools,
        stride: int | None,
        storage_options: StorageOptions | None = None,
    ) -> None:
        self.stride = stride
        self.storage_options = storage_options
        self.handout: str | None = None
        self.left_out = left_out
        self.splits: tuple[str, ...] = tuple(splits) or ("train",)
        self.num_tracks = 0
        self.num_videos_of: Counter[str] = Counter()
        self.has_reviews = False
        self.weights: set[str] = set()
        self.config_hashes: set[str] = set()
        self._shares = splits
        self._names: set[str] = set()
        self._hash = hashlib.sha256()
        self._spools = spools
        self._videos, self._tracks = spools.new(), spools.new()

    def __enter__(self) -> Plan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete what waits on local disk."""
        self._spools.close()

    def add(self, videos: pa.Table, tracks: pa.Table) -> None:
        """Take selected videos and their tracks, sorted; ids are behind those that were added before."""
        self._videos.add(videos)
        self._tracks.add(tracks)
        self.num_tracks += tracks.num_rows
        self.num_videos_of.update(self._splits_of(videos))
        self.weights.update(pc.unique(videos["checkpoint"]).to_pylist())
        self.config_hashes.update(pc.unique(videos["config_hash"]).to_pylist())
        self._names.update(category or NO_CATEGORY for category in pc.unique(tracks["category"]).to_pylist())
        for name, table in (("videos", videos), ("tracks", tracks)):
            columns = (table[one].to_pylist() for one in _DIGESTED[name])
            for row in zip(*columns, strict=True):
                self._hash.update(repr(tuple(map(_with_zone, row))).encode())
        # Parts say what reviewers said. Where nobody has, the digest is that of earlier programs: their exports go on.
        for row in tracks.select(["video_id", "object_id", *COLUMNS]).to_pylist():
            if facts := review_facts(row):
                self.has_reviews = True
                self._hash.update(repr((row["video_id"], row["object_id"], facts)).encode())

    @property
    def num_videos(self) -> int:
        """Videos that are written."""
        return self.num_videos_of.total()

    @cached_property
    def categories(self) -> dict[str, int]:
        """The number of each category, from 1, by its name."""
        return {name: number for number, name in enumerate(sorted(self._names), 1)}

    @property
    def digest(self) -> str:
        """A hash of what is selected and of its labels: parts of two with different ones do not fit together."""
        found = self._hash.copy()
        found.update(repr(dict(self._shares)).encode())
        return found.hexdigest()

    def tables(self, split: str | None = None) -> Iterator[tuple[pa.Table, pa.Table]]:
        """The selected rows of `videos` and `tracks`, about a thousand videos at a time; all, or those of a split."""
        for videos, tracks in zip(self._videos.read(), self._tracks.read(), strict=True):
            if split is not None:
                chosen = pa.array([one == split for one in self._splits_of(videos)])
                videos = videos.filter(chosen)
                tracks = tracks.filter(pc.is_in(tracks["video_id"], pc.unique(videos["video_id"])))
            if videos.num_rows:
                yield videos, tracks

    def each(self, split: str | None = None) -> Iterator[PlannedVideo]:
        """All videos, or those of a split, by id; a bounded number is in memory."""
        done = _Before()
        for videos, tracks in zip(self._videos.read(), self._tracks.read(), strict=True):
            splits = self._splits_of(videos)
            starts = _starts(tracks["video_id"], videos.num_rows)
            masks, frames = _sums(tracks["num_masks"]), _sums(videos["num_frames"])
            for first in range(0, videos.num_rows, _VIDEOS_AT_A_TIME):
                end = min(first + _VIDEOS_AT_A_TIME, videos.num_rows)
                places = [place for place in range(first, end) if split in (None, splits[place])]
                of_tracks = tracks.slice(starts[first], starts[end] - starts[first]).to_pylist() if places else []
                for place, row in zip(places, videos.take(np.asarray(places, np.int64)).to_pylist(), strict=True):
                    mine = range(starts[place], starts[place + 1])
                    yield PlannedVideo(
                        number=done.videos + place + 1,
                        video_id=row["video_id"],
                        name=safe_name(row["video_id"]),
                        split=splits[place],
                        row=row,
                        tracks=tuple(
                            self._track(done.tracks + one, one - mine.start + 1, of_tracks[one - starts[first]])
                            for one in mine
                        ),
                        first_image_id=done.frames + frames[place] + 1,
                        first_annotation_id=done.masks + masks[mine.start] + 1,
                    )
            done.add(videos.num_rows, tracks.num_rows, frames[-1], masks[-1])

    def tasks(self, part_masks: int, part_videos: int) -> Iterator[Task]:
        """Parts, split after split: as many videos as have this many masks together, one at least."""
        number = 0
        for split in self.splits:
            videos: list[PlannedVideo] = []
            num_masks = 0
            for video in self.each(split):
                if videos and (num_masks + video.num_masks > part_masks or len(videos) == part_videos):
                    yield Task(number, tuple(videos), self.handout)
                    number, videos, num_masks = number + 1, [], 0
                videos.append(video)
                num_masks += video.num_masks
            if videos:
                yield Task(number, tuple(videos), self.handout)
                number += 1

    def _splits_of(self, videos: pa.Table) -> list[str]:
        return [split_of(video_id, self._shares) for video_id in videos["video_id"].to_pylist()]

    def _track(self, place: int, number: int, row: Mapping[str, Any]) -> PlannedTrack:
        category = row["category"] or NO_CATEGORY
        return PlannedTrack(place + 1, number, row["object_id"], category, self.categories[category], row)


@dataclass
class _Before:
    """How many of each come before those at hand."""

    videos: int = 0
    tracks: int = 0
    frames: int = 0
    masks: int = 0

    def add(self, videos: int, tracks: int, frames: int, masks: int) -> None:
        self.videos += videos
        self.tracks += tracks
        self.frames += frames
        self.masks += masks


def _starts(ids: pa.ChunkedArray, num: int) -> list[int]:
    """Where the rows of each of `num` ids begin in a sorted column, `[num + 1]`."""
    counts = pc.value_counts(ids).field("counts")
    if len(counts) != num:
        raise AssertionError(f"{len(counts)} videos have tracks, {num} are selected")
    return _sums(counts)


def _sums(numbers: pa.ChunkedArray | pa.Array) -> list[int]:
    """The sum of what comes before each of N numbers, and of all of them: `[N + 1]`."""
    sums: list[int] = np.concatenate([[0], np.cumsum(np.asarray(numbers, np.int64))]).tolist()
    return sums


def safe_name(video_id: str) -> str:
    """An id as the name of a file or folder, without dots: itself, or what is left of it with a hash of all.

    An id that looks like a name with a hash gets one too, so that no name is that of another id.
    """
    is_plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{,99}", video_id)
    if is_plain and not re.search(r"-[0-9a-f]{10}$", video_id):
        return video_id
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", video_id)
    return f"{plain[:80].strip('_-') or 'video'}-{hashlib.sha256(video_id.encode()).hexdigest()[:10]}"
