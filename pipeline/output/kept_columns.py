"""Columns of the input tables that travel to the output: `kept` holds them as JSON, readers get columns again."""

from __future__ import annotations

import json

import pyarrow as pa


def with_kept_columns(rows: pa.Table, columns: pa.Schema | None = None) -> pa.Table:
    """Columns of the JSON texts in `kept`, after those of the table. Values of several kinds in one become texts.

    `columns` are their names and types where these rows are some of a table; None takes them as these rows have them.
    """
    if columns is not None:
        kept = _kept(rows)
        for field in columns:
            values = [one.get(field.name) for one in kept]
            texts = pa.types.is_string(field.type)
            rows = rows.append_column(field, pa.array(map(_text, values) if texts else values, field.type))
        return rows
    if rows["kept"].null_count == rows.num_rows:
        return rows
    kept = _kept(rows)
    for name in dict.fromkeys(name for one in kept for name in one if name not in rows.column_names):
        values = [one.get(name) for one in kept]
        try:
            column = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            column = pa.array(list(map(_text, values)))
        rows = rows.append_column(name, column)
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


def _text(value: object) -> str | None:
    return value if isinstance(value, str | None) else json.dumps(value)
