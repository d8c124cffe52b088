"""Reads the rows of an input table that a `RowSpan` names: the driver hands out spans, the workers read them.

Parquet is read forward. A reader keeps its place in the row groups that it used last, because the driver hands out the
videos of a row group in their order. Without that place a worker would read the whole row group again for each video.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, TableChanged
from pipeline.records import RowSpan
from pipeline.redact import redact, redact_uri
from pipeline.storage.ranges import BlockCache, RangeFile, remote_file
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import StorageOptions, is_local, open_filesystem
from pipeline.text import reason_in_line


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file in memory."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


class Columns(Protocol):
    """Which columns of a file are read, and what is made of them."""

    def to_read(self, schema: pa.Schema, file: str) -> list[str]: ...

    def of(self, rows: pa.Table, schema: pa.Schema, file: str) -> pa.Table: ...


class PlainColumns:
    """Columns by their names; those that a file lacks are left out."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def to_read(self, schema: pa.Schema, file: str) -> list[str]:
        """The names that the file has."""
        return [name for name in self._names if name in schema.names]

    def of(self, rows: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
        """What was read, as it is."""
        return rows


class RowReader:
    """Reads some columns, `batch_rows` rows at a time, with a place kept in up to `max_cursors` row groups.

    Each place keeps a file open, and of a remote file 16 blocks of `block_bytes` in memory, until `close`. Any thread
    may read and close.
    """

    def __init__(self, columns: Columns, *, batch_rows: int, max_cursors: int, block_bytes: int) -> None:
        self._columns = columns
        self._batch_rows = batch_rows
        self._max_cursors = max_cursors
        self._block_bytes = block_bytes
        self._cursors: OrderedDict[tuple[str, int, str], _Cursor] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def num_open(self) -> int:
        """Number of files that are held open."""
        return len(self._cursors)

    def close(self) -> None:
        """Close all files. A read that is under way in another thread closes its own when it ends, and later ones too.

        It does not wait for that thread, because a read may hang for as long as its store does.
        """
        self._closed = True
        while self._cursors and self._lock.acquire(blocking=False):
            try:
                while self._cursors:
                    self._cursors.popitem()[1].close()
            finally:
                self._lock.release()

    def read(self, span: RowSpan, storage_options: StorageOptions | None = None) -> pa.Table:
        """The rows of a span, as `columns` makes them; a column that the file lacks is left out.

        Raises `TableChanged` if the rows are gone, `InputError` if they are damaged, and `StorageError` when storage is
        away.
        """
        try:
            return Backoff().run(f"reading {redact_uri(span.file)}", lambda: self._read(span, storage_options))
        except (FileNotFoundError, pa.ArrowInvalid, IndexError) as error:
            raise TableChanged(span.file, redact(str(error))) from error
        except OSError as error:
            if type(error) is not OSError or error.errno is not None:
                raise
            # Arrow says so of bytes that it cannot decode.
            shown, reason = redact_uri(span.file), reason_in_line(error, redact)
            raise InputError(f"{shown} is damaged ({reason}): write it again, or copy it anew") from error

    def _read(self, span: RowSpan, storage_options: StorageOptions | None) -> pa.Table:
        filesystem, path = open_filesystem(span.file, storage_options)
        key = (span.file, span.row_group, str(filesystem.ukey(path)))
        try:
            with self._lock:
                cursor = self._cursor(key, span, storage_options)
                try:
                    rows = cursor.read(span.start, span.stop)
                except BaseException:
                    cursor.close()
                    raise
                self._cursors[key] = cursor
                while len(self._cursors) > self._max_cursors:
                    self._cursors.popitem(last=False)[1].close()
                return rows
        finally:
            if self._closed:
                self.close()

    def _cursor(self, key: tuple[str, int, str], span: RowSpan, storage_options: StorageOptions | None) -> _Cursor:
        """The place before a span that is kept, taken out, or a new one at the start of the row group."""
        cursor = self._cursors.pop(key, None)
        if cursor is not None:
            if cursor.first_row <= span.start:
                return cursor
            cursor.close()
        parquet = open_parquet(span.file, storage_options, self._block_bytes)
        return _Cursor(parquet, span, self._columns, self._batch_rows)


class _Cursor:
    """A place in one row group: rows before `first_row` are gone, those of the batch at hand are still there."""

    def __init__(self, parquet: pq.ParquetFile, span: RowSpan, columns: Columns, batch_rows: int) -> None:
        self._parquet = parquet
        self._columns = columns
        self._file = span.file
        self.first_row = 0
        self._batch: Any = None
        try:
            if span.row_group >= parquet.metadata.num_row_groups:
                raise IndexError(f"it has no row group {span.row_group}")
            self._schema = parquet.schema_arrow
            self._batches: Iterator[Any] = parquet.iter_batches(
                batch_rows,
                row_groups=[span.row_group],
                columns=columns.to_read(self._schema, span.file),
                use_threads=False,
            )
        except BaseException:
            self.close()
            raise

    def read(self, start: int, stop: int) -> pa.Table:
        """Rows `[start, stop)` of the row group; `start` is not before `first_row`."""
        found = []
        while True:
            if self._batch is not None:
                end = self.first_row + self._batch.num_rows
                if start < end:
                    found.append(self._batch.slice(start - self.first_row, stop - start))
                    start += found[-1].num_rows
                if start == stop:
                    return self._columns.of(pa.Table.from_batches(found), self._schema, self._file)
                self.first_row = end
            self._batch = next(self._batches, None)
            if self._batch is None:
                raise IndexError(f"it has no row {stop - 1}")

    def close(self) -> None:
        self._parquet.close(force=True)


def open_parquet(file: str, storage_options: StorageOptions | None, block_bytes: int = 2 << 20) -> pq.ParquetFile:
    """A Parquet file that is read page by page, not whole columns at a time. Close it with `force=True`.

    Of a remote file, 16 blocks are kept, because its columns are read side by side.
    """
    filesystem, path = open_filesystem(file, storage_options)
    if is_local(file):
        source = filesystem.open(path, "rb")
    else:
        num_bytes, fetch = remote_file(filesystem, path)
        if num_bytes is None:
            source = io.BytesIO(filesystem.cat_file(path))
        else:
            source = io.BufferedReader(RangeFile(BlockCache(fetch, num_bytes, block_bytes=block_bytes)))
    try:
        return pq.ParquetFile(source, buffer_size=block_bytes // 4, pre_buffer=False)
    except BaseException:
        source.close()
        raise
