"""A queue as `python -m pipeline.queue … to=` has written it, read again by other commands."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data_engine.queue import QUEUE
from pipeline.errors import ConfigError
from pipeline.redact import redact_uri
from pipeline.storage.destinations import load_file
from pipeline.storage.uris import StorageOptions
from pipeline.text import one_line


def read_queue(place: str, storage_options: StorageOptions | None, *columns: str) -> list[dict[str, Any]]:
    """The tracks of a queue in its order, with these columns.

    Raises `ConfigError` for a file that is no queue, and `StorageError` if the store does not answer.
    """
    name = redact_uri(place)
    try:
        file = pq.ParquetFile(io.BytesIO(load_file(place, storage_options)))
        if missing := [column for column in columns if column not in file.schema_arrow.names]:
            raise ValueError(f"it has no column {' or '.join(missing)}")
        rows = file.read(columns=list(columns))
    except FileNotFoundError as error:
        raise ConfigError(f"queue={name}: there is no such file; python -m pipeline.queue … to= writes one") from error
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ConfigError(
            f"queue={name} is no queue as python -m pipeline.queue … to= writes it: {one_line(str(error))}"
        ) from error
    if any(rows.schema.field(column).type != QUEUE.field(column).type for column in columns):
        raise ConfigError(f"queue={name} is no queue as python -m pipeline.queue … to= writes it: other types")
    found: list[dict[str, Any]] = rows.to_pylist()
    return found
