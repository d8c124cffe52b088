"""Columns of the input tables that travel to the output: `kept` holds them as JSON, readers get columns again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

import pyarrow as pa


def with_kept_columns(rows: pa.Table, columns: pa.Schema | None = None) -> pa.Table:
    """Columns of the JSON texts in `kept`, after those of the table.

    Values of several kinds in one become texts, and so do whole numbers beyond 64 bits with a sign, as hashes are.
    `columns` are their names and types where these rows are some of a table; None takes them as these rows have them.
    """
    if columns is not None:
        kept = _kept(rows)
        for field in columns:
            rows = rows.append_column(field, _column_of([one.get(field.name) for one in kept], field.type))
        return rows
    if rows["kept"].null_count == rows.num_rows:
        return rows
    kept = _kept(rows)
    for name in dict.fromkeys(name for one in kept for name in one if name not in rows.column_names):
        rows = rows.append_column(name, _column([one.get(name) for one in kept]))
    return rows


def kept_schema(rows: pa.Table, schema: pa.Schema) -> pa.Schema:
    """The columns that `with_kept_columns` gave rows of a table with this schema."""
    return pa.schema([field for field in rows.schema if field.name not in schema.names])


def merged_schemas(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    """The kept columns of two parts of a table, as they are where both parts are read at once."""
    for field in other:
        place = one.get_field_index(field.name)
        if place < 0:
            one = one.append(field)
            continue
        try:
            merged = pa.unify_schemas(
                [pa.schema([one.field(place)]), pa.schema([field])], promote_options="permissive"
            ).field(0)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            merged = pa.field(field.name, pa.string())
        one = one.set(place, merged)
    return one


def _kept(rows: pa.Table) -> list[dict[str, object]]:
    return [json.loads(text) if text else {} for text in rows["kept"].to_pylist()]


def _column(values: Sequence[object]) -> pa.Array:
    # Arrow takes true for 1.0 behind a number, and refuses the same in the other order.
    if len({_kind(value) for value in values if value is not None}) < 2:
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return _column_of(values, pa.float64()) if any(isinstance(v, float) for v in values) else pa.array(values)
    return pa.array(list(map(_text, values)))


def _kind(value: object) -> type:
    """What a value is to JSON, which does not tell 1 from 1.0; whole numbers that need more than 64 bits are others."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return float
    return type(value)


def _column_of(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array(map(_text, values), kind)
    if pa.types.is_floating(kind):  # of a whole number of 17 digits Arrow asks that it is kept to the last one
        return pa.array([float(value) if isinstance(value, int) else value for value in values], kind)
    return pa.array(values, kind)


def _text(value: object) -> str | None:
    return value if isinstance(value, str | None) else json.dumps(value)
