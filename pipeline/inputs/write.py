"""Input tables as maskmill writes them: the demo's, and those that an importer makes."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.uris import StorageOptions, open_filesystem

VIDEOS = pa.schema([pa.field("video_id", pa.string()), pa.field("uri", pa.string())])


PROMPTS = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("object_id", pa.int64()),
        pa.field("frame_index", pa.int64()),
        pa.field("points_xy", pa.list_(pa.list_(pa.float32()))),
        pa.field("point_labels", pa.list_(pa.int32())),
        pa.field("box_xyxy", pa.list_(pa.float32())),
        pa.field("mask_rle", pa.struct([pa.field("size", pa.list_(pa.int32())), pa.field("counts", pa.string())])),
        pa.field("category", pa.string()),
    ]
)


def parquet_bytes(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """A Parquet file of the rows; columns that a row lacks are null."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), buffer)
    return buffer.getvalue()


def write_file(uri: str, content: bytes, storage_options: StorageOptions | None = None) -> None:
    """Writes a whole file or object, with the folders above it."""
    filesystem, path = open_filesystem(uri, storage_options)
    filesystem.makedirs(posixpath.dirname(path) or ".", exist_ok=True)
    filesystem.pipe_file(path, content)
