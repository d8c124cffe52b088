"""The one writer of input tables: the demo, importers of other formats and reviewers write prompts through it."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.uris import StorageOptions, open_filesystem

Row = Mapping[str, Any]

VIDEOS = pa.schema([pa.field("video_id", pa.string()), pa.field("uri", pa.string())])
"""Columns that every written table of videos has."""

_MORE_OF_VIDEOS = pa.schema(
    [
        pa.field("bytes", pa.large_binary()),
        pa.field("start_seconds", pa.float64()),
        pa.field("end_seconds", pa.float64()),
        pa.field("duration_seconds", pa.float64()),
    ]
)

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
"""Columns that every written table of prompts has."""

_MORE_OF_PROMPTS = pa.schema(
    [
        pa.field("pts_seconds", pa.float64()),
        pa.field("box_xyxyn", pa.list_(pa.float64())),
        *list(VIDEOS)[1:],
        *_MORE_OF_VIDEOS,
    ]
)


def videos_table(rows: Iterable[Row]) -> pa.Table:
    """A table for `videos=`. A column that a row lacks is null. Raises `ValueError` for a column that nobody reads."""
    return _table("videos", rows, VIDEOS, _MORE_OF_VIDEOS)


def prompts_table(rows: Iterable[Row]) -> pa.Table:
    """A table for `prompts=`. A column that a row lacks is null. Raises `ValueError` for a column that nobody reads."""
    return _table("prompts", rows, PROMPTS, _MORE_OF_PROMPTS)


def write_table(uri: str, table: pa.Table, storage_options: StorageOptions | None = None) -> None:
    """Write a table as one Parquet file, with the folders above it."""
    write_file(uri, parquet_bytes(table), storage_options)


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file in memory."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def write_file(uri: str, content: bytes, storage_options: StorageOptions | None = None) -> None:
    """Write a whole file or object, with the folders above it."""
    filesystem, path = open_filesystem(uri, storage_options)
    filesystem.makedirs(posixpath.dirname(path) or ".", exist_ok=True)
    filesystem.pipe_file(path, content)


def _table(key: str, rows: Iterable[Row], always: pa.Schema, more: pa.Schema) -> pa.Table:
    """Arrow leaves values out whose column is not in the schema, so a misspelled column would vanish without a word."""
    found = [dict(row) for row in rows]
    named = dict.fromkeys(name for row in found for name in row)
    allowed = (*always.names, *more.names)
    for name in named:
        if name not in allowed:
            raise ValueError(f"{name!r} is no column of the {key} table; its columns are {', '.join(allowed)}")
    return pa.Table.from_pylist(found, pa.schema([*always, *(field for field in more if field.name in named)]))
