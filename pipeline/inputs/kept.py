"""Further columns of the input tables, which `keep_columns=` carries into the tables of the output.

They travel as one JSON text in column `kept`, so that the schema of the output is the same whatever is kept, in every
run of a job. `tables.open` makes columns of it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import InputError, TableChanged
from pipeline.inputs.naming import NamedColumns, kept_column
from pipeline.inputs.shards import ParquetShards
from pipeline.output.schema import TRACKS, VIDEOS
from pipeline.records import WorkItem
from pipeline.storage.parquet import RowReader
from pipeline.storage.uris import StorageOptions

_ALREADY_THERE = ("category",)


def kept_rows(names: NamedColumns) -> RowReader:
    """A reader of rows of videos tables, for what is kept of them."""
    return RowReader(names, batch_rows=4096, max_cursors=4, block_bytes=256 << 10)


def check_kept(keep: Sequence[str], tables: Mapping[str, ParquetShards]) -> None:
    """Raises `InputError` for a column to keep that no table has, or whose name a table of the output has already."""
    taken = {*TRACKS.names, *VIDEOS.names}.difference(_ALREADY_THERE)
    for name in keep:
        if name in taken:
            raise InputError(
                f"keep_columns={name}: the output has a column of this name already; give that of your table another"
            )
        if not any(name in table.table_columns for table in tables.values()):
            there = "; ".join(f"{key}= has {', '.join(sorted(t.table_columns))}" for key, t in tables.items())
            raise InputError(f"keep_columns={name}: no table has a column {name}: {there}")


def kept_text(rows: Iterable[Mapping[str, Any]], keep: Sequence[str]) -> str | None:
    """The columns to keep as JSON: of each, the first value of these rows that is not null. `None` if all are null."""
    found: dict[str, Any] = {}
    for row in rows:
        for name in keep:
            value = _without_strange_numbers(row.get(kept_column(name)))
            if name not in found and value is not None:
                found[name] = value
    ordered = {name: found[name] for name in keep if name in found}
    return json.dumps(ordered, default=_text, ensure_ascii=False) if ordered else None


def read_kept(
    item: WorkItem, storage_options: StorageOptions | None, rows: RowReader, keep: Sequence[str]
) -> str | None:
    """What is kept of a video's row in the videos table.

    Raises `TableChanged` if the row is gone or another's, `StorageError` if storage does not answer.
    """
    if item.source.row_at is None:
        return None
    found = rows.read(item.source.row_at, storage_options).to_pylist()
    if [row.get("video_id") for row in found] != [item.video_id]:
        raise TableChanged(item.source.row_at.file, f"the row of {item.video_id!r} is another's")
    return kept_text(found, keep)


def _without_strange_numbers(value: Any) -> Any:
    """A value whose numbers JSON knows: it has no NaN, which pandas writes for null, and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_strange_numbers(one) for name, one in value.items()}
    return [_without_strange_numbers(one) for one in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    """What JSON has no form for: times as ISO 8601, bytes as hexadecimal digits, the rest as Python prints it."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return value.hex() if isinstance(value, bytes) else str(value)
