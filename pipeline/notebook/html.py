"""Small pieces of HTML for Jupyter: they take the page's own colors, light or dark.

Every text of tables is escaped, because ids and messages come from anywhere. Styles stand in the elements, because
Jupyter and nbviewer take style sheets out of notebooks that they do not trust.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from html import escape

import pyarrow as pa

from model import MediaError
from pipeline.errors import NotInJob, StorageError
from pipeline.notebook.pictures import Picture

THUMBNAIL_PIXELS = 240
_LINE = "1px solid rgba(128,128,128,.35)"


def card(heading: str, figures: Sequence[str], note: str = "", rows: pa.Table | None = None) -> str:
    """A heading, figures side by side, a note and a table."""
    parts = [f"<b>{escape(heading)}</b>"]
    if figures:
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>')
    if note:
        parts.append(f"<i>{escape(note)}</i>")
    if rows is not None and rows.num_rows:
        parts.append(f'<div style="overflow-x:auto">{table(rows)}</div>')
    inside = "".join(f'<div style="margin:4px 0">{part}</div>' for part in parts)
    return f'<div style="color:inherit;max-width:100%">{inside}</div>'


def figure(picture: Picture, words: str, most_pixels: int) -> str:
    """A picture, made smaller to `most_pixels` on its longer side, with words below it."""
    data = base64.b64encode(picture.jpeg(most_pixels)).decode()
    image = (
        f'<img style="max-width:100%;display:block" alt="{escape(picture.title)}" src="data:image/jpeg;base64,{data}">'
    )
    below = f'<figcaption style="font-size:85%;opacity:.8">{escape(words)}</figcaption>' if words else ""
    return f'<figure style="margin:0">{image}{below}</figure>'


def pictures_or_why(
    make: Callable[[], Sequence[tuple[str, Picture]]], most_pixels: int = THUMBNAIL_PIXELS
) -> tuple[list[str], str]:
    """Figures of pictures with their words, or why there are none: a card is shown where the video is gone, too."""
    try:
        return [figure(picture, words, most_pixels) for words, picture in make()], ""
    except (MediaError, NotInJob, StorageError, ValueError) as error:
        return [], str(error)


def table(rows: pa.Table) -> str:
    """The rows as an HTML table; columns that are empty in all rows are left out."""
    filled = [name for name in rows.column_names if any(value not in (None, "") for value in rows[name].to_pylist())]
    cell = f"padding:2px 8px;text-align:left;border-bottom:{_LINE}"
    head = "".join(f'<th style="{cell}">{escape(name)}</th>' for name in filled)
    lines = (
        "<tr>" + "".join(f'<td style="{cell}">{_cell(row[name])}</td>' for name in filled) + "</tr>"
        for row in rows.select(filled).to_pylist()
    )
    return f'<table style="border-collapse:collapse;color:inherit"><tr>{head}</tr>{"".join(lines)}</table>'


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 1000:
        return escape(f"{value:,.0f}")
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
