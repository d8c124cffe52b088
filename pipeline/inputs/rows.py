"""Rows of an input table as the driver streams them, with their addresses."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class RowBatch:
    """Consecutive rows of one row group, from row `start` of it. `file` is the absolute URI of the shard."""

    file: str
    file_number: int
    row_group: int
    start: int
    rows: pa.RecordBatch
