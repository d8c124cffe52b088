"""Rows of many files of reviews in one: a shortcut for readers, who would ask for thousands of files of one row each.

A digest has the rows of those files that were there when it was written, and which file each row is of. The files stay.
What a digest lacks is read from them, so that it may be missing or old.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.layout import DIGESTS, new_digest
from pipeline.output.schema import with_columns_of_today
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes

_log = logging.getLogger(__name__)

_PATH = "_path"
Rows = list[dict[str, Any]]


def read_digests(
    storage: JobStorage, name: str, schema: pa.Schema, version: int, paths: Collection[str]
) -> dict[str, Rows]:
    """The rows of those of these files that digests of this kind of reviews hold, by path.

    Digests of another version are passed over. Raises `StorageError` if the store does not answer.
    """
    found: dict[str, Rows] = {}
    digests = [stored.path for stored in storage.listing(DIGESTS, f"{name}-")]
    for data in storage.read_existing(digests):
        if data is None:
            continue  # a newer one has taken its place
        try:
            with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
                if (file.schema_arrow.metadata or {}).get(_version_key(name)) != str(version).encode():
                    continue
                table = file.read(use_threads=False)
            paths_read, rows = table[_PATH].to_pylist(), with_columns_of_today(table, schema).to_pylist()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            _log.warning("a digest of %s is damaged, and all their files are read: %s", name, error)
            continue
        of_digest: dict[str, Rows] = {}
        for path, row in zip(paths_read, rows, strict=True):
            of_digest.setdefault(path, []).append(row)
        found |= {path: of_file for path, of_file in of_digest.items() if path in paths}
    return found


def write_digest(storage: JobStorage, name: str, schema: pa.Schema, version: int, files: dict[str, Rows]) -> None:
    """Put a digest of these rows, by the paths of their files, in the place of all others. Raises `StorageError`."""
    old = [stored.path for stored in storage.listing(DIGESTS, f"{name}-")]
    paths = [path for path, rows in files.items() for _ in rows]
    table = pa.Table.from_pylist([row for rows in files.values() for row in rows], schema)
    table = table.append_column(_PATH, pa.array(paths, pa.string()))
    storage.replace(new_digest(name), parquet_bytes(table.replace_schema_metadata({_version_key(name): str(version)})))
    storage.delete(old)


def delete_digests(storage: JobStorage, name: str) -> None:
    """Delete all digests of this kind of reviews. Raises `StorageError`."""
    storage.delete(stored.path for stored in storage.listing(DIGESTS, f"{name}-"))


def _version_key(name: str) -> bytes:
    return f"maskmill.{name}".encode()
