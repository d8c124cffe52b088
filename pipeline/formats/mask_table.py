"""Labels of any format as a table of masks in Parquet, for those who hold them against the masks of a job.

The table has the columns of `MASKS`. A row without an object says that the frame is labeled, one without `rle` that the
object is hidden there. A crowd is no object: its frame is labeled, and nothing else is known of it.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelCrowd, LabelFrame, LabelPolygons, ReadOptions, SizeHW, frame_number
from pipeline.formats.label_videos import stem_of
from pipeline.formats.labels import read_labels
from pipeline.output.schema import RLE
from pipeline.storage.uris import StorageOptions

MASKS = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("object_id", pa.string()),
        pa.field("frame_index", pa.int64()),
        pa.field("pts_seconds", pa.float64()),
        pa.field("rle", RLE),
        pa.field("category", pa.string()),
    ]
)
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class ImageFolder:
    """A video that is a folder of so many images: the frame of each by its name; None where the folder is gone."""

    num_frames: int
    frames: Mapping[str, int] | None


def _no_folder(video_id: str) -> ImageFolder | None:
    return None


@dataclass(frozen=True)
class KnownVideos:
    """The videos of the job: their sizes by id. A label may name a video by its id or by the name of its file.

    `folder_of` looks at the file of a video: what it is as a folder of images, None if it is a film.
    """

    sizes: Mapping[str, SizeHW | None]
    only: Collection[str] = ()
    folder_of: Callable[[str], ImageFolder | None] = _no_folder

    def ids_by_name(self) -> dict[str, str]:
        """Ids by their last part without an ending, where that is of one video alone."""
        stems = Counter(map(stem_of, self.sizes))
        return {stem_of(video_id): video_id for video_id in self.sizes if stems[stem_of(video_id)] == 1}

    def default(self) -> str | None:
        """The video that is meant where a format names none."""
        some = list(self.only or self.sizes)
        return some[0] if len(some) == 1 else None


@dataclass(frozen=True)
class LabelsToRead:
    """Labels at a URI: their format, the file of images that they name, and the number of the first frame.

    A number of None is the format's own rule.
    """

    uri: str
    format_name: str
    images: str | None = None
    first_frame: int | None = None
    storage_options: StorageOptions | None = None


def write_mask_table(path: Path, source: LabelsToRead, videos: KnownVideos) -> None:
    """Write the labels as rows of `MASKS`.

    Raises `InputError` for labels that are no masks, or that do not say which object or which video they are of.
    """
    options = ReadOptions(storage_options=source.storage_options, images=source.images, first_frame=source.first_frame)
    labels = read_labels(source.uri, source.format_name, options, key="truth")
    by_stem = videos.ids_by_name()
    frames = _Frames(videos, source.first_frame or 0)
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, MASKS) as writer:
        for label in labels:
            rows.append(_row(label, videos, by_stem, frames))
            if len(rows) == _ROWS_AT_A_TIME:
                writer.write_table(pa.Table.from_pylist(rows, MASKS))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, MASKS))


class _Frames:
    """The numbers of the frames that labels mean.

    Where a video is a folder of images, and the first of its labels is called as one of them, names tell: the fifth
    image of YouTube-VOS is `00020`. Labels of images that the folder lacks get numbers behind all of its frames.
    """

    def __init__(self, videos: KnownVideos, first_frame: int) -> None:
        self._videos = videos
        self._first_frame = first_frame
        self._folders: dict[str, ImageFolder | None] = {}

    def number(self, video_id: str, frame: LabelFrame) -> int | None:
        """The number; None where the label says a time alone. Raises `ValueError` for a frame that cannot be meant."""
        number = frame_number(frame, self._first_frame)
        if frame.index is not None or frame.file_name is None:
            return number
        stem = posixpath.splitext(frame.file_name)[0]
        folder = self._folder_of(video_id, stem)
        if folder is None:
            return number
        if folder.frames is not None:
            return folder.frames.get(stem, folder.num_frames + (number or 0))
        if number is not None and number >= folder.num_frames:
            raise ValueError(
                f"the video is a folder of {folder.num_frames} images, whose names tell which of them {stem!r} is, and "
                "it is gone: name the folder that it lies in now with videos_root="
            )
        return number

    def _folder_of(self, video_id: str, stem: str) -> ImageFolder | None:
        if video_id not in self._folders:
            folder = self._videos.folder_of(video_id)
            goes_by_names = folder is not None and (folder.frames is None or stem in folder.frames)
            self._folders[video_id] = folder if goes_by_names else None
        return self._folders[video_id]


def _row(label: Label, videos: KnownVideos, by_stem: Mapping[str, str], frames: _Frames) -> dict[str, Any]:
    video_id = label.video or videos.default()
    if video_id is None:
        raise InputError(f"{label.place}: the format names no video; give videos=[ID], the video that is meant")
    if video_id not in videos.sizes:
        video_id = by_stem.get(stem_of(video_id), video_id)
    if isinstance(label.shape, LabelCrowd):
        label = replace(label, object_key=None, shape=None)
    if label.object_key is None and label.shape is not None:
        raise InputError(f"{label.place}: nothing says which object it is on other frames; truth needs ids of objects")
    mask = label.mask(videos.sizes.get(video_id))
    if label.shape is not None and mask is None:
        remedy = (
            "its video is not in the output, so that the size of the polygon is not known"
            if isinstance(label.shape, LabelPolygons)
            else "this label is no mask, and scores need masks"
        )
        raise InputError(f"{label.place}: {remedy}")
    try:
        frame_index = frames.number(video_id, label.frame)
    except ValueError as error:
        raise InputError(f"{label.place}: {error}") from error
    return {
        "video_id": video_id,
        "object_id": None if label.object_key is None else str(label.object_key),
        "frame_index": frame_index,
        "pts_seconds": label.frame.pts_seconds,
        "rle": None if mask is None else mask.rle,
        "category": label.category,
    }
