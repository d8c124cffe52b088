"""Labels of any format as a table of masks in Parquet, for those who hold them against the masks of a job.

The table has the columns of `MASKS`. A row without an object says that the frame is labeled, one without `rle` that the
object is hidden there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelPolygons, ReadOptions, SizeHW, frame_number
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
class KnownVideos:
    """The videos of the job: their sizes by id. A label may name a video by its id or by the name of its file."""

    sizes: Mapping[str, SizeHW | None]
    only: Collection[str] = ()

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
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, MASKS) as writer:
        for label in labels:
            rows.append(_row(label, videos, by_stem, source.first_frame))
            if len(rows) == _ROWS_AT_A_TIME:
                writer.write_table(pa.Table.from_pylist(rows, MASKS))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, MASKS))


def _row(label: Label, videos: KnownVideos, by_stem: Mapping[str, str], first_frame: int | None) -> dict[str, Any]:
    video_id = label.video or videos.default()
    if video_id is None:
        raise InputError(f"{label.place}: the format names no video; give videos=[ID], the video that is meant")
    if video_id not in videos.sizes:
        video_id = by_stem.get(stem_of(video_id), video_id)
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
        frame_index = frame_number(label.frame, first_frame or 0)
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
