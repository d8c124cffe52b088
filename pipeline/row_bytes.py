"""Video bytes that lie in a table's row: read by the worker, page by page, never by the driver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.uris import StorageOptions, open_filesystem
from pipeline.work import RowSpan


class _Cursor:
    """Walks down the `bytes` column of one row group. Parquet pages cannot be reached directly, only in order."""

    def __init__(self, span: RowSpan, options: StorageOptions | None) -> None:
        filesystem, path = open_filesystem(span.file, options)
        self._file: IO[bytes] = filesystem.open(path, "rb")
        self._row = 0
        try:
            # With a buffer size and without pre-buffering, pages are read one by one instead of the whole column.
            parquet = pq.ParquetFile(self._file, buffer_size=1 << 20, pre_buffer=False)
            self._batches: Iterator[Any] = parquet.iter_batches(
                batch_size=1, row_groups=[span.row_group], columns=["bytes"], use_threads=False
            )
        except BaseException:
            self._file.close()
            raise

    def read(self, row: int) -> bytes | None:
        """The bytes of a row that has not been passed yet; `None` for null."""
        for batch in self._batches:
            self._row += 1
            if self._row > row:
                data: bytes | None = batch.column(0)[0].as_py()
                return data
        raise ValueError(f"the row group has no row {row}: the table was changed while the job was running")

    @property
    def next_row(self) -> int:
        return self._row

    def close(self) -> None:
        self._file.close()


_lock = threading.Lock()
_cursors: dict[tuple[str, int], _Cursor] = {}


def read_row_bytes(span: RowSpan, storage_options: StorageOptions | None = None) -> bytes | None:
    """Column `bytes` of the first row of `span`, `None` for null.

    The place in the row group is kept for the next call: videos of a row group are dispatched in order, and starting
    over for each would read the row group once per video. Storage errors pass; `ValueError` for a table that changed.
    """
    key = (span.file, span.row_group)
    with _lock:
        cursor = _cursors.pop(key, None)
        if cursor is None or cursor.next_row > span.start:
            if cursor is not None:
                cursor.close()
            cursor = _Cursor(span, storage_options)
        try:
            data = cursor.read(span.start)
        except (pa.ArrowException, KeyError) as error:
            cursor.close()
            raise ValueError(f"column bytes cannot be read: {error}") from error
        except BaseException:
            cursor.close()
            raise
        for old in _cursors.values():
            old.close()
        _cursors.clear()
        _cursors[key] = cursor
        return data
