"""The one writer of input tables: the demo, importers of other formats and reviewers write prompts through it."""

from __future__ import annotations

import contextlib
import posixpath
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.redact import redact_uri
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem

Row = Mapping[str, Any]

VIDEOS = pa.schema([pa.field("video_id", pa.string()), pa.field("uri", pa.string())])
"""Columns that every written table of videos has."""

_MORE_OF_VIDEOS = pa.schema(
    [
        pa.field("bytes", pa.large_binary()),
        pa.field("start_seconds", pa.float64()),
        pa.field("end_seconds", pa.float64()),
        pa.field("duration_seconds", pa.float64()),
        pa.field("cuts_seconds", pa.list_(pa.float64())),
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
        # What an importer tells of a label. No job reads them, unless `keep_columns` names them.
        pa.field("video_key", pa.string()),
        pa.field("object_key", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("stability", pa.float64()),
        pa.field("source", pa.string()),
    ]
)


def videos_table(rows: Iterable[Row]) -> pa.Table:
    """A table for `videos=`. A column that a row lacks is null. Raises `ValueError` for a column that nobody reads."""
    return _table("videos", rows, VIDEOS, _MORE_OF_VIDEOS)


def prompts_table(rows: Iterable[Row], columns: Sequence[str] = ()) -> pa.Table:
    """A table for `prompts=`. A column that a row lacks is null. Raises `ValueError` for a column that nobody reads.

    `columns` are there also where no row has them, so that tables of several parts have the same ones.
    """
    return _table("prompts", rows, PROMPTS, _MORE_OF_PROMPTS, columns)


def write_table(uri: str, table: pa.Table, storage_options: StorageOptions | None = None) -> None:
    """Write a table as one Parquet file, with the folders above it."""
    write_file(uri, parquet_bytes(table), storage_options)


def write_tables(uri: str, tables: Iterable[pa.Table], storage_options: StorageOptions | None = None) -> int:
    """Write tables with the same columns as one Parquet file, which is whole or absent; the number of its rows.

    One of the tables is in memory at a time. They are written aside, and get their name when all are there. Raises
    `ValueError` if there is none.
    """
    num_rows = 0
    with _named_at_the_end(uri, storage_options) as path, contextlib.ExitStack() as stack:
        writer: Any = None
        for table in tables:
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table)
            num_rows += table.num_rows
        if writer is None:
            raise ValueError(f"{uri}: there is no table to write")
    return num_rows


@contextlib.contextmanager
def _named_at_the_end(uri: str, storage_options: StorageOptions | None) -> Iterator[Path]:
    """A file on local disk that becomes `uri` if no error is raised: renamed, or put into its store as a whole."""
    if is_local(uri):
        final = Path(local_path(uri))
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
        try:
            yield aside
            aside.replace(final)
        finally:
            aside.unlink(missing_ok=True)
        return
    filesystem, path = open_filesystem(uri, storage_options)
    with tempfile.TemporaryDirectory(prefix="maskmill-table-") as folder:
        aside = Path(folder) / "table.parquet"
        yield aside
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        Backoff().run(f"writing {redact_uri(uri)}", partial(filesystem.put_file, str(aside), path))


def write_file(uri: str, content: bytes, storage_options: StorageOptions | None = None) -> None:
    """Write a whole file or object, with the folders above it."""
    filesystem, path = open_filesystem(uri, storage_options)
    filesystem.makedirs(posixpath.dirname(path) or ".", exist_ok=True)
    filesystem.pipe_file(path, content)


def _table(key: str, rows: Iterable[Row], always: pa.Schema, more: pa.Schema, columns: Sequence[str] = ()) -> pa.Table:
    """Arrow leaves values out whose column is not in the schema, so a misspelled column would vanish without a word."""
    found = [dict(row) for row in rows]
    named = dict.fromkeys((*columns, *(name for row in found for name in row)))
    allowed = (*always.names, *more.names)
    for name in named:
        if name not in allowed:
            raise ValueError(f"{name!r} is no column of the {key} table; its columns are {', '.join(allowed)}")
    return pa.Table.from_pylist(found, pa.schema([*always, *(field for field in more if field.name in named)]))
