"""Small pieces of HTML for Jupyter. Every text of tables is escaped, because ids and messages come from anywhere."""

from __future__ import annotations

import base64
from html import escape

import pyarrow as pa

from pipeline.notebook.pictures import Picture


def card(heading: str, rows: pa.Table, picture: Picture | None = None, note: str = "") -> str:
    """A heading, a picture, a note and a table."""
    parts = [f"<b>{escape(heading)}</b>"]
    if picture is not None:
        data = base64.b64encode(picture._repr_png_()).decode()
        parts.append(f'<img style="max-width:100%" alt="{escape(picture.title)}" src="data:image/png;base64,{data}">')
    if note:
        parts.append(f"<i>{escape(note)}</i>")
    parts.append(table(rows))
    return "".join(f"<div style='margin:4px 0'>{part}</div>" for part in parts)


def table(rows: pa.Table) -> str:
    """The rows as an HTML table; columns that are empty in all rows are left out."""
    filled = [name for name in rows.column_names if any(value not in (None, "") for value in rows[name].to_pylist())]
    head = "".join(f"<th>{escape(name)}</th>" for name in filled)
    lines = (
        "<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name in filled) + "</tr>"
        for row in rows.select(filled).to_pylist()
    )
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
