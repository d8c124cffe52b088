"""A queue as `python -m pipeline.queue … to=` has written it, read again by other commands."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data_engine.queue import QUEUE
from pipeline.errors import ConfigError
from pipeline.inputs.columns import is_text
from pipeline.redact import redact_uri
from pipeline.storage.destinations import load_file
from pipeline.storage.uris import StorageOptions
from pipeline.text import counted, one_line


def read_queue(place: str, storage_options: StorageOptions | None, *columns: str) -> list[dict[str, Any]]:
    """The tracks of a queue in its order, with these columns.

    Somebody may have split or sorted it, and written it again: pandas gives texts and numbers other types then.

    Raises `ConfigError` for a file that is no queue, and `StorageError` if the store does not answer.
    """
    name = redact_uri(place)
    try:
        file = pq.ParquetFile(io.BytesIO(load_file(place, storage_options)))
        if missing := [column for column in columns if column not in file.schema_arrow.names]:
            raise ValueError(f"it has no column {' or '.join(missing)}")
        read = file.read(columns=list(columns))
        rows = pa.table({column: _as_written(column, read[column]) for column in columns})
    except FileNotFoundError as error:
        raise ConfigError(f"queue={name}: there is no such file; python -m pipeline.queue … to= writes one") from error
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"queue={name} is no queue as python -m pipeline.queue … to= writes it: {one_line(str(error))}"
        ) from error
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


def _as_written(column: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """These values in the type that a queue has. Raises `ValueError` if it holds something else, or a hole."""
    field = QUEUE.field(column)
    if values.null_count and not field.nullable:
        raise ValueError(f"column {column} has no value in {counted(values.null_count, 'row')}")
    try:
        if pa.types.is_string(field.type) and not is_text(values.type):
            raise ValueError  # a number makes a text, and may be another one than the id was
        return values.cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"column {column} is {values.type}, and of a queue it is {field.type}") from error
