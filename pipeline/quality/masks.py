"""The masks of one video as both sides of a comparison have them: by object, as COCO's counts, not decoded.

Legend: T frames of one object or of the video.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.errors import InputError
from pipeline.masks.rle import parse_counts
from pipeline.output.schema import RLE

ROWS = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("object_id", pa.string()),
        pa.field("frame_index", pa.int64()),
        pa.field("pts_seconds", pa.float64()),
        pa.field("rle", RLE),
        pa.field("is_prompt", pa.bool_()),
        pa.field("category", pa.string()),
    ]
)
"""What both sides are read as. A row without an object says that the frame is labeled, one without `rle` is hidden.

Rows have a frame index or a time. Objects go by the text of their id, because formats have names for them as well.
"""

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class TrackMasks:
    """One object: its rows, by frame. `counts_T` is null where the object is hidden, `pts_T` nan where unknown."""

    object_id: str
    category: str | None
    frames_T: Int64Array
    pts_T: Float64Array
    counts_T: pa.Array
    is_prompt_T: BoolArray

    def counts_on(self, frames: Int64Array) -> pa.Array:
        """Counts on each of these frames; null where the object has no row."""
        return self.counts_T.take(pa.array(self._places(frames), mask=~self._has(frames)))

    def is_prompted_on(self, frames: Int64Array) -> BoolArray:
        """Whether the object has a prompt on each of these frames."""
        if not len(self.frames_T):
            return np.zeros(len(frames), bool)
        found: BoolArray = self.is_prompt_T[self._places(frames)] & self._has(frames)
        return found

    def _places(self, frames: Int64Array) -> Int64Array:
        return np.minimum(np.searchsorted(self.frames_T, frames), max(len(self.frames_T) - 1, 0))

    def _has(self, frames: Int64Array) -> BoolArray:
        return np.isin(frames, self.frames_T)


def track_counts(track: TrackMasks | None, frames: Int64Array) -> pa.Array:
    """Counts of a track on each of these frames; null where it has none, and everywhere for no track."""
    return pa.nulls(len(frames), pa.string()) if track is None else track.counts_on(frames)


@dataclass(frozen=True)
class VideoMasks:
    """One video. `frames_T` are its labeled frames, ascending, also those on which no object has a row.

    Where the rows know times alone, frames are numbered by time, and `is_numbered` is False.
    """

    video_id: str
    size_hw: SizeHW | None
    frames_T: Int64Array
    pts_T: Float64Array
    tracks: dict[str, TrackMasks]
    is_numbered: bool = True


def check_masks(video: VideoMasks, side: str) -> None:
    """Raises `InputError` that names the first mask of the video that is none, by the reader of single masks."""
    height, width = video.size_hw or (1, 1)
    for track in video.tracks.values():
        for frame, counts in zip(track.frames_T.tolist(), track.counts_T.to_pylist(), strict=True):
            try:
                if counts is not None:
                    parse_counts(counts, height * width)
            except ValueError as error:
                where = f"video {video.video_id!r}, object {track.object_id} on frame {frame}"
                raise InputError(f"{side}: {where}: {error}") from error


def by_video(rows: pa.Table, side: str) -> Iterator[VideoMasks]:
    """The videos of rows like `ROWS`, in order of their ids. `side` says in messages whose rows they are.

    Raises `InputError` for masks of several sizes in one video, and for two rows of one object and frame.
    """
    keys = ("video_id", "object_id", "frame_index", "pts_seconds")
    rows = rows.cast(ROWS).sort_by([(key, "ascending") for key in keys])
    rows = rows.combine_chunks()
    for begin, end in _stretches(rows["video_id"]):
        yield _video(rows.slice(begin, end - begin), side)


def _video(rows: pa.Table, side: str) -> VideoMasks:
    video_id = rows["video_id"][0].as_py()
    frames, pts, is_numbered = _frames(rows, side)
    labeled, first = np.unique(frames, return_index=True)
    tracks = {}
    counts, prompts = _counts(rows), np.asarray(pc.fill_null(rows["is_prompt"], False))
    for begin, end in _stretches(rows["object_id"]):
        object_id = rows["object_id"][begin].as_py()
        if object_id is None:
            continue
        part = slice(begin, end)
        if (np.diff(frames[part]) <= 0).any():
            again = int(frames[part][1:][np.diff(frames[part]) <= 0][0])
            raise InputError(
                f"{side}: video {video_id!r} has several masks of object {object_id} on frame {again}; leave one"
            )
        categories = rows["category"].slice(begin, end - begin).drop_null()
        category = categories[0].as_py() if len(categories) else None
        tracks[object_id] = TrackMasks(object_id, category, frames[part], pts[part], counts[part], prompts[part])
    return VideoMasks(video_id, _size(rows, side), labeled, pts[first], tracks, is_numbered)


def _frames(rows: pa.Table, side: str) -> tuple[Int64Array, Float64Array, bool]:
    """Frame and time of each row, and whether the frames have numbers of their own."""
    pts = rows["pts_seconds"].to_numpy()
    if not rows["frame_index"].null_count:
        return rows["frame_index"].to_numpy(), pts, True
    if np.isnan(pts).any():
        raise InputError(
            f"{side}: video {rows['video_id'][0].as_py()!r} has a mask without frame_index and pts_seconds"
        )
    return np.unique(pts, return_inverse=True)[1].astype(np.int64), pts, False


def _counts(rows: pa.Table) -> pa.Array:
    """The texts of all masks; null for rows without one."""
    rle = rows["rle"].combine_chunks()
    rle = rle.chunk(0) if isinstance(rle, pa.ChunkedArray) else rle
    return pc.struct_field(rle, "counts")


def _size(rows: pa.Table, side: str) -> SizeHW | None:
    """The size of all masks; None where all are hidden without saying one."""
    sizes = pc.struct_field(rows["rle"], "size").drop_null()
    flat = np.asarray(pc.list_flatten(sizes))
    video_id = rows["video_id"][0].as_py()
    if len(flat) != 2 * len(sizes):
        raise InputError(f"{side}: video {video_id!r} has a mask whose size is not [height, width]")
    found = np.unique(flat.reshape(-1, 2), axis=0).tolist()
    if len(found) > 1:
        raise InputError(
            f"{side}: video {video_id!r} has masks of {len(found)} sizes, {found[0]} and {found[1]} (height, width) "
            "among them; bring them to one size"
        )
    return (found[0][0], found[0][1]) if found else None


def _stretches(column: pa.ChunkedArray) -> Iterator[tuple[int, int]]:
    """Where each value of a sorted column begins and ends."""
    if not len(column):
        return
    codes = pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1).to_numpy()
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    yield from itertools.pairwise(cuts)
