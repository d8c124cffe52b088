"""Writes the tables of a comparison: each file is whole, or stays what it was."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.inputs.write import parquet_bytes, write_file
from pipeline.redact import redact_uri
from pipeline.storage.atomic_files import replace_file
from pipeline.storage.uris import StorageOptions, is_local, local_path


def write_tables(folder: str, tables: Mapping[str, pa.Table], options: StorageOptions | None = None) -> None:
    """Write `NAME.parquet` for each table into a folder or below a URI. Raises `ConfigError` if `folder` is a file."""
    if is_local(folder) and Path(local_path(folder)).is_file():
        raise ConfigError(f"to={redact_uri(folder)} is a file: name the folder for the results")
    for name, table in tables.items():
        uri = posixpath.join(folder, f"{name}.parquet")
        if is_local(uri):
            path = Path(local_path(uri)).absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, parquet_bytes(table), path.parent)
        else:
            write_file(uri, parquet_bytes(table), options)
