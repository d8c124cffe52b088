"""The check as a picture: rates beside their estimates, ours beside the references, and what must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tests.bench.gpu.goals import ESTIMATED_RATES, musts

_WIDTH, _MARGIN, _LABELS, _LINE = 1300, 36, 330, 30
_INK, _PALE, _GRID = (34, 40, 49), (110, 118, 129), (226, 229, 233)
_OURS, _OTHER, _GOOD, _BAD = (31, 119, 92), (150, 158, 168), (30, 132, 73), (192, 57, 43)
_BARS = _WIDTH - _LABELS - 2 * _MARGIN - 120


class _Page:
    def __init__(self, num_lines: int) -> None:
        self.image = Image.new("RGB", (_WIDTH, 2 * _MARGIN + _LINE * num_lines), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.top = _MARGIN

    def text(self, x: float, words: str, size: int = 16, color: tuple[int, int, int] = _INK) -> None:
        self.pen.text((x, self.top + _LINE / 2), words, fill=color, font=ImageFont.load_default(size), anchor="lm")

    def bar(self, label: str, value: float, largest: float, color: tuple[int, int, int], note: str) -> None:
        """One line: what, its bar from the left, its value."""
        self.text(_MARGIN, label)
        width = max(1.0, _BARS * value / largest)
        self.pen.rectangle((_LABELS, self.top + 5, _LABELS + width, self.top + _LINE - 6), fill=color)
        self.text(_LABELS + width + 8, note, 15, _PALE)
        self.top += _LINE

    def range(self, low: float, high: float, largest: float) -> None:
        """A line over the last bar for what was expected."""
        x0, x1 = (_LABELS + _BARS * value / largest for value in (low, high))
        y = self.top - _LINE / 2
        self.pen.line((x0, y, x1, y), fill=_INK, width=2)
        for x in (x0, x1):
            self.pen.line((x, y - 6, x, y + 6), fill=_INK, width=2)

    def heading(self, words: str, note: str = "") -> None:
        self.top += _LINE // 3
        self.text(_MARGIN, words, 21)
        self.text(_LABELS + 60, note, 15, _PALE)
        self.top += _LINE + 4


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Write the PNG: all parts that the document has."""
    parts = document["parts"]
    rated, compared = _rows(parts, "rates"), list(_compared(parts))
    checks = list(musts(parts))
    page = _Page(6 + len(rated) + len(compared) + len(checks))
    machine = document["machine"]
    page.text(_MARGIN, f"maskmill on {_card(parts) or machine['processor']}, torch {machine['torch']}", 24)
    page.top += _LINE + 6
    if rated:
        page.heading("Frames a second", "full memory, random weights; the line is what was expected of an H200")
        _draw_rates(page, rated)
    if compared:
        page.heading("Against the references", "frames a second, same frames and weights")
        largest = max(rate for _, _, rate in compared)
        for label, name, rate in compared:
            page.bar(label, rate, largest, _OURS if name == "ours" else _OTHER, f"{rate:.3g}")
    if checks:
        page.heading("What must hold")
        for check in checks:
            page.text(_MARGIN, "holds" if check.holds else "FAILS", 15, _GOOD if check.holds else _BAD)
            page.text(_MARGIN + 70, f"{check.name}   {check.detail}"[:130], 15)
            page.top += _LINE
    page.image.crop((0, 0, _WIDTH, page.top + _MARGIN)).save(path)


def _draw_rates(page: _Page, rows: list[Mapping[str, Any]]) -> None:
    highest = [ESTIMATED_RATES[_key(row)][2] for row in rows if _key(row) in ESTIMATED_RATES]
    largest = max([*highest, *(row["frames_per_second"] for row in rows)])
    for row in rows:
        label = f"{row['size']}, {row['objects']} objects, {row['in_flight']} in flight"
        page.bar(label, row["frames_per_second"], largest, _OURS, f"{row['frames_per_second']:.3g}")
        if estimate := ESTIMATED_RATES.get(_key(row)):
            page.range(estimate[1], estimate[2], largest)


def _key(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["size"], row["objects"], row["in_flight"]


def _compared(parts: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    for row in _rows(parts, "references", "size"):
        for name, rate in row["frames_per_second"].items():
            yield f"{row['size']}, {row['objects']} objects: {name}", name, rate


def _card(parts: Mapping[str, Any]) -> str | None:
    card: str | None = parts.get("environment", {}).get("found", {}).get("card")
    return card


def _rows(parts: Mapping[str, Any], name: str, key: str = "frames_per_second") -> list[Mapping[str, Any]]:
    return [row for row in parts.get(name, {}).get("found", []) if key in row]
