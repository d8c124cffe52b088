"""Tables that wait in memory, and beyond a few megabytes in files on local disk, to be read again in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pyarrow as pa

from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.scratch import WorkerFolder

_BYTES_IN_MEMORY = 32 << 20


class Spools:
    """Makes spools, which share `bytes_in_memory`. Their files lie in `parent`; None is the system's own folder.

    `close` deletes the files. Those that a killed process left are deleted by the next one.
    """

    def __init__(self, parent: str | None = None, bytes_in_memory: int = _BYTES_IN_MEMORY) -> None:
        self._parent = parent
        self._left = bytes_in_memory
        self._folder: WorkerFolder | None = None
        self._num_files = 0

    def new(self) -> TableSpool:
        """An empty one."""
        return TableSpool(self)

    def take(self, num_bytes: int) -> bool:
        """Whether so many bytes more may stay in memory."""
        if num_bytes > self._left:
            return False
        self._left -= num_bytes
        return True

    def give_back(self, num_bytes: int) -> None:
        """So many bytes are in memory no more."""
        self._left += num_bytes

    def new_file(self) -> Path:
        """A path for a file. Raises `StorageError` where the disk refuses."""
        if self._folder is None:
            with spool_errors(Path(self._parent or gettempdir())):
                self._folder = WorkerFolder(self._parent)
        self._num_files += 1
        return self._folder.path / f"{self._num_files}.arrow"

    def close(self) -> None:
        """Delete all files."""
        if self._folder is not None:
            self._folder.close()
            self._folder = None


class TableSpool:
    """Tables of one schema. Those that memory has no room for are in a file, and all that are added later too."""

    def __init__(self, spools: Spools) -> None:
        self._spools = spools
        self._tables: list[pa.Table] = []
        self._num_bytes = 0
        self._path: Path | None = None
        self._writer: Any = None

    def add(self, rows: pa.Table) -> None:
        """Take these rows. Raises `StorageError` where the disk refuses."""
        if self._path is None and self._spools.take(rows.nbytes):
            self._num_bytes += rows.nbytes
            self._tables.append(rows)
            return
        path = self._path or self._spools.new_file()
        with spool_errors(path.parent):
            if self._path is None:
                self._path = path
                self._writer = pa.ipc.new_stream(
                    str(path), rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
                )
            # One table is one batch, so that they come out as they went in.
            for batch in rows.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], rows.schema)]:
                self._writer.write_batch(batch)

    def read(self) -> Iterator[pa.Table]:
        """The tables as they were added, one in memory at a time. Nothing can be added any more."""
        yield from self._tables
        if self._path is None:
            return
        with spool_errors(self._path.parent):
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])

    def clear(self) -> None:
        """Forget all rows."""
        self._spools.give_back(self._num_bytes)
        self._tables, self._num_bytes = [], 0
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
