"""Where masks to compare come from: the output of a job, or a table of masks in Parquet.

Both are read video by video, a group of them at a time, so that memory holds the masks of one group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from pipeline import tables
from pipeline.arrays import Int64Array
from pipeline.errors import InputError, UnusableStore
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.inputs.table_files import table_files
from pipeline.output.layout import LOG
from pipeline.quality.masks import ROWS, SizeHW, VideoMasks, by_video
from pipeline.redact import redact_uri
from pipeline.reviews.live import with_categories
from pipeline.reviews.verdicts import Key
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import StorageOptions, open_filesystem
from pipeline.text import one_line

TRUTH = "truth.parquet"
"""The name of a table that is made of labels of another format."""

_MASKS_OF_A_GROUP = 30_000
_NAMED = 3


class MaskSource(Protocol):
    """One side of a comparison."""

    name: str
    """Its address, without secrets."""

    side: str
    """How messages name it: `truth=…`."""

    def video_ids(self) -> Sequence[str]:
        """The videos that have masks, sorted."""

    def groups(self) -> Iterator[list[str]]:
        """The same videos in groups that are read well together."""

    def read(self, video_ids: Sequence[str]) -> dict[str, VideoMasks]:
        """The masks of those of these videos that it has."""


class OutputMasks:
    """The masks that a job has committed, without those of rejected tracks; or all as they were at the end of a round.

    A group of videos has so many masks, or is one video with more.
    """

    def __init__(
        self,
        key: str,
        uri: str,
        options: StorageOptions | None = None,
        *,
        round: int | None = None,
        masks_of_a_group: int = _MASKS_OF_A_GROUP,
    ) -> None:
        self._masks_of_a_group = masks_of_a_group
        self.name = redact_uri(uri) + ("" if round is None else f" at the end of round {round}")
        self.side = f"{key}={self.name}"
        try:
            self.job = tables.open(uri, dict(options or {}), round=round)
        except UnusableStore as error:
            raise InputError(str(error).replace("output=", f"{key}=", 1)) from error
        columns = ["video_id", "segment", "num_masks", "num_frames", "num_frames_decoded", "height", "width"]
        videos = self.job.videos().select(columns)
        videos = videos.filter(pc.field("num_masks") > 0).sort_by([("segment", "ascending"), ("video_id", "ascending")])
        self._videos = videos
        numbers = zip(*(videos[name].to_pylist() for name in columns[3:5]), strict=True)
        self._num_frames = dict(zip(videos["video_id"].to_pylist(), numbers, strict=True))

    def video_ids(self) -> Sequence[str]:
        """See `MaskSource`."""
        return sorted(self._num_frames)

    def sizes(self) -> dict[str, SizeHW | None]:
        """Height and width of each video; None where the job has not kept them."""
        columns = (self._videos[name].to_pylist() for name in ("video_id", "height", "width"))
        return {
            video_id: None if height is None or width is None else (height, width)
            for video_id, height, width in zip(*columns, strict=True)
        }

    def groups(self) -> Iterator[list[str]]:
        """See `MaskSource`: videos of one segment, because its files are then opened once for many of them."""
        group: list[str] = []
        size = 0
        for video_id, num_masks in zip(
            *(self._videos[name].to_pylist() for name in ("video_id", "num_masks")), strict=True
        ):
            if group and size + num_masks > self._masks_of_a_group:
                yield group
                group, size = [], 0
            group.append(video_id)
            size += num_masks
        if group:
            yield group

    def read(self, video_ids: Sequence[str]) -> dict[str, VideoMasks]:
        """See `MaskSource`."""
        rows = self._rows(video_ids)
        videos = by_video(as_rows(rows, "rle", self.side), self.side)
        return {video.video_id: with_all_frames(video, *self._num_frames[video.video_id]) for video in videos}

    def _rows(self, video_ids: Sequence[str]) -> pa.Table:
        """Rows of these videos. One thread reads them, because buffers of several stay in memory group after group."""

        def once() -> pa.Table:
            masks = self.job.masks(video_ids, columns=ROWS.names, rejected=True)
            rows = _without_objects(masks.scanner(use_threads=False).to_table(), self.job.rejected(video_ids))
            return with_categories(rows, self.job.categories(video_ids))

        found = self.job.steadily(once, f"{self.side}: segments vanish while they are read")
        pa.default_memory_pool().release_unused()
        return found


def with_all_frames(video: VideoMasks, num_frames: int, num_decoded: int) -> VideoMasks:
    """The video with all frames that were labeled, as its row of `videos` counts them.

    Frames that were labeled when no object had begun have no rows; the step from frame to frame tells them.
    """
    every = np.arange(num_frames, dtype=np.int64) * _step(video.frames_T, num_frames, num_decoded)
    if not np.isin(video.frames_T, every).all() or every[-1] >= num_decoded:
        every = _beside_prompts(video, num_frames, num_decoded)
    pts = np.full(len(every), np.nan)
    pts[np.searchsorted(every, video.frames_T)] = video.pts_T
    return VideoMasks(video.video_id, video.size_hw, every, pts, video.tracks)


def _beside_prompts(video: VideoMasks, num_frames: int, num_decoded: int) -> Int64Array:
    """The labeled frames where some with prompts lie between the steps; those with rows alone if no one step fits.

    Frames with prompts are labeled whatever the stride is, and all others are whole steps from the first one.
    """
    prompted = [track.frames_T[track.is_prompt_T] for track in video.tracks.values()]
    divisor = int(np.gcd.reduce(np.setdiff1d(video.frames_T, np.concatenate([np.zeros(0, np.int64), *prompted]))))
    steps = np.arange(1, divisor + 1)
    found = []
    for step in steps[divisor % steps == 0].tolist():
        every = np.union1d(np.arange(0, num_decoded, step), video.frames_T)
        inside = every[(every >= video.frames_T[0]) & (every <= video.frames_T[-1])]
        if len(every) == num_frames and len(inside) == len(video.frames_T):
            found.append(every)
    return found[0] if len(found) == 1 else video.frames_T


def _step(frames_T: Int64Array, num_frames: int, num_decoded: int) -> int:
    """Each so many-th of the decoded frames was labeled, if one step fits; else the largest that all rows fit to.

    Where all objects begin on the last frame, its number alone is no step.
    """
    divisor = int(np.gcd.reduce(frames_T)) if len(frames_T) else 0
    most = (num_decoded - 1) // (num_frames - 1) if num_frames > 1 else 0
    steps = np.arange(max(1, -(-num_decoded // max(1, num_frames))), most + 1)
    fitting = steps[divisor % steps == 0]
    return int(fitting[0]) if len(fitting) == 1 else divisor or 1


def _without_objects(rows: pa.Table, rejected: Collection[Key]) -> pa.Table:
    """Rows of rejected tracks say no more than that their frames are labeled."""
    if not rejected:
        return rows
    keys = zip(rows["video_id"].to_pylist(), rows["object_id"].to_pylist(), strict=True)
    is_rejected = pa.array([key in rejected for key in keys], pa.bool_())
    place = rows.schema.get_field_index("object_id")
    kept = pc.if_else(is_rejected, pa.scalar(None, pa.int64()), rows["object_id"])
    return rows.set_column(place, "object_id", kept)


class TableMasks:
    """Masks in Parquet: columns `video_id`, `object_id`, `rle` (or `mask_rle`), and `frame_index` or `pts_seconds`.

    `uri` is a file, a folder or a glob, `shown` what messages call it. Raises `InputError` for what is no such table.
    """

    def __init__(self, key: str, uri: str, options: StorageOptions | None = None, *, shown: str | None = None) -> None:
        self.name = redact_uri(shown or uri)
        self.side = f"{key}={self.name}"
        self._dataset = read_input(key, uri, ReadPolicy(), lambda: _dataset(key, uri, options))
        names = set(self._dataset.schema.names)
        self._rle = "mask_rle" if "mask_rle" in names and "rle" not in names else "rle"
        lacking = [name for name in ("video_id", "object_id", self._rle) if name not in names]
        if not names & {"frame_index", "pts_seconds"}:
            lacking.append("frame_index or pts_seconds")
        if lacking:
            raise InputError(
                f"{self.side}: a table of masks needs the columns video_id, object_id, frame_index (or pts_seconds) "
                f"and rle; it lacks {', '.join(lacking)}"
            )

    def video_ids(self) -> Sequence[str]:
        """See `MaskSource`."""
        found: set[str] = set()
        for batch in self._dataset.to_batches(columns=["video_id"]):
            found.update(pc.unique(batch["video_id"].cast(pa.string())).to_pylist())
        return sorted(found - {None})

    def groups(self) -> Iterator[list[str]]:
        """See `MaskSource`."""
        video_ids = self.video_ids()
        yield from (list(video_ids[begin : begin + 100]) for begin in range(0, len(video_ids), 100))

    def read(self, video_ids: Sequence[str]) -> dict[str, VideoMasks]:
        """See `MaskSource`."""
        schema = self._dataset.schema
        present = [name for name in ROWS.names if name in schema.names and name != "rle"]
        where = self._is_one_of(video_ids)
        # Threads and read-ahead would keep buffers of the whole file in memory, not of this group alone.
        scanner = self._dataset.scanner(
            columns=[*present, self._rle], filter=where, use_threads=False, batch_readahead=1, fragment_readahead=1
        )
        rows = scanner.to_table()
        pa.default_memory_pool().release_unused()
        return {video.video_id: video for video in by_video(as_rows(rows, self._rle, self.side), self.side)}

    def _is_one_of(self, video_ids: Sequence[str]) -> ds.Expression:
        """The range stands beside the set, because statistics rule out row groups by it."""
        video_id = ds.field("video_id")
        if self._dataset.schema.field("video_id").type != pa.string():
            video_id = video_id.cast(pa.string())
        if not video_ids:
            return ds.scalar(False)
        within = (video_id >= min(video_ids)) & (video_id <= max(video_ids))
        return within & video_id.isin(pa.array(video_ids, pa.string()))


def as_rows(rows: pa.Table, rle: str, side: str) -> pa.Table:
    """Rows of a stranger in the columns of `ROWS`. Raises `InputError` for values that do not fit."""
    columns = []
    for field in ROWS:
        name = rle if field.name == "rle" else field.name
        column = rows[name] if name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        try:
            if field.name == "object_id" and pa.types.is_floating(column.type):  # of pandas, where some rows have none
                column = column.cast(pa.int64())  # as text, 4e9 of a float would be another object than 4000000000
            columns.append(_as_rle(column) if field.name == "rle" else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
            raise InputError(f"{side}: column {name} is {column.type}, expected {field.type}") from error
    return pa.Table.from_arrays(columns, schema=ROWS)


def _as_rle(column: Any) -> Any:
    """Counts may be binary, as pycocotools gives them, and sizes of any kind of integer."""
    if pa.types.is_null(column.type):
        return column.cast(ROWS.field("rle").type)
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    parts = [pc.struct_field(whole, name).cast(ROWS.field("rle").type.field(name).type) for name in ("size", "counts")]
    return pa.StructArray.from_arrays(parts, ["size", "counts"], mask=pc.is_null(whole))


def named(names: Sequence[str]) -> str:
    """The first few of these names."""
    shown = ", ".join(one_line(name) for name in names[:_NAMED])
    return f"{shown}, …" if len(names) > _NAMED else shown or "none"


def is_read_directly(uri: str, format_name: str, options: StorageOptions | None) -> bool:
    """Whether `open_masks` reads it as it is: the output of a job, or Parquet by its name or by the format's."""
    if format_name == "auto":
        return uri.rstrip("/").endswith((".parquet", ".pq")) or is_output(uri, options)
    return format_name in ("maskmill", "parquet")


def open_masks(key: str, uri: str, options: StorageOptions | None = None, *, shown: str | None = None) -> MaskSource:
    """The output of a job, or else a table of masks. `shown` is what messages call it."""
    if is_output(uri, options):
        return OutputMasks(key, uri, options)
    return TableMasks(key, uri, options, shown=shown)


def is_output(uri: str, options: StorageOptions | None) -> bool:
    """Whether the output of a job lies there. Raises `StorageError` if the store does not answer for a while."""
    filesystem, path = open_filesystem(uri, options)
    log = f"{str(path).rstrip('/')}/{LOG}"
    return bool(Backoff().run(f"reading {redact_uri(uri)}", lambda: filesystem.exists(log)))


def _in_pieces() -> ds.ParquetFileFormat:
    """Parquet read a row group at a time. By default a scan holds the bytes of a whole file."""
    return ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False))


def _dataset(key: str, uri: str, options: StorageOptions | None) -> ds.Dataset:
    files = table_files(key, uri, options).files
    filesystem, _ = open_filesystem(files[0], options)
    paths = [str(open_filesystem(file, options)[1]) for file in files]
    try:
        return ds.dataset(paths, format=_in_pieces(), filesystem=pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)))
    except pa.ArrowInvalid as error:
        raise InputError(f"{key}: {redact_uri(uri)} is no Parquet file; give format= for other formats") from error
