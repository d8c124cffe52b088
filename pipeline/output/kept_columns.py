"""Columns of the input tables that travel to the output: `kept` holds them as JSON, readers get columns again."""

from __future__ import annotations

import json

import pyarrow as pa


def with_kept_columns(rows: pa.Table) -> pa.Table:
    """Columns of the JSON texts in `kept`, after those of the table. Values of several kinds in one become texts."""
    if rows["kept"].null_count == rows.num_rows:
        return rows
    kept = [json.loads(text) if text else {} for text in rows["kept"].to_pylist()]
    for name in dict.fromkeys(name for one in kept for name in one if name not in rows.column_names):
        values = [one.get(name) for one in kept]
        try:
            column = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            column = pa.array([value if isinstance(value, str | None) else json.dumps(value) for value in values])
        rows = rows.append_column(name, column)
    return rows
