"""Small line charts as SVG, in the page's own colors, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from pipeline.arrays import Float64Array, Int64Array

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 420, 120, 46, 20, 18
_MOST_POINTS = 800


@dataclass(frozen=True)
class Line:
    """Values over frames, `[T]`; nan where there is none, which leaves a gap. `color` is one of CSS."""

    name: str
    frame_indexes: Int64Array
    values: Float64Array
    color: str = "currentColor"


@dataclass(frozen=True)
class Chart:
    """Charts side by side, each an SVG."""

    svgs: Sequence[str]

    def _repr_html_(self) -> str:
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px;color:inherit">{"".join(self.svgs)}</div>'

    def __repr__(self) -> str:
        return f"<{len(self.svgs)} charts, which Jupyter shows>"


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """An SVG of lines over frames, from 0 or the lowest value to the highest. Raises `ValueError` for no lines."""
    if not lines:
        raise ValueError("a chart needs at least one line")
    every = np.concatenate([line.values for line in lines])
    finite = every[np.isfinite(every)]
    low, high = (min(0.0, finite.min()), finite.max()) if len(finite) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    frames = np.concatenate([line.frame_indexes for line in lines])
    first, last = (int(frames.min()), int(frames.max())) if len(frames) else (0, 1)

    def place(frame: float, value: float) -> str:
        x = _LEFT + (frame - first) / max(1, last - first) * (_WIDTH - _LEFT - 4)
        y = _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    parts = [
        _words(0, 12, title, bold=True),
        _words(0, _TOP + 6, _number(high)),
        _words(0, _HEIGHT - _BOTTOM, _number(low)),
        _words(_LEFT, _HEIGHT - 3, f"frame {first}"),
        _words(_WIDTH - 4, _HEIGHT - 3, str(last), anchor="end"),
        f'<path d="M{_LEFT},{_TOP} V{_HEIGHT - _BOTTOM} H{_WIDTH - 4}" '
        'fill="none" stroke="currentColor" opacity=".3"/>',
    ]
    for line in lines:
        for piece in _pieces(line):
            points = " ".join(place(frame, value) for frame, value in (piece if len(piece) > 1 else piece * 2))
            width = 1.5 if len(piece) > 1 else 4
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{escape(line.color)}" stroke-width="{width}" '
                f'stroke-linecap="round"><title>{escape(line.name)}</title></polyline>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" style="max-width:100%;color:inherit" '
        f'font-size="11" font-family="sans-serif">{"".join(parts)}</svg>'
    )


def _pieces(line: Line) -> list[list[tuple[float, float]]]:
    """Stretches without gaps; one of a single frame is drawn as a dot. Of a long line every n-th frame is drawn."""
    step = -(-len(line.values) // _MOST_POINTS) or 1
    frames, values = line.frame_indexes[::step].astype(float), line.values[::step]
    gaps = np.flatnonzero(~np.isfinite(values))
    found = []
    for piece in np.split(np.arange(len(values)), gaps):
        points = [(float(frames[place]), float(values[place])) for place in piece if np.isfinite(values[place])]
        if points:
            found.append(points)
    return found


def _words(x: float, y: float, text: str, *, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" fill="currentColor" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
