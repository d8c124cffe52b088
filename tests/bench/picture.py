"""The bench as a picture: seconds of a frame and their parts, clips, small figures, and what has to be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tests.bench.implementations import NAMES, PARTS
from tests.bench.report import goals

_WIDTH, _MARGIN, _LABELS = 1500, 36, 330
_LINE, _BAR = 30, 22
_INK, _PALE, _GRID = (34, 40, 49), (110, 118, 129), (226, 229, 233)
_GOOD, _BAD = (30, 132, 73), (192, 57, 43)
_NAME_COLORS = {"ours": (31, 119, 92), "transformers": (128, 136, 146), "sam2": (182, 188, 196)}
# Image encoder, memory attention, mask decoder, memory encoder, rest.
_PART_COLORS = [(52, 101, 164), (222, 132, 46), (92, 158, 92), (146, 97, 166), (176, 182, 190)]

Document = Mapping[str, Any]


class _Page:
    """A page that is drawn from top to bottom."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (_WIDTH, height), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.top = _MARGIN

    def text(
        self, x: float, y: float, words: str, size: int = 17, color: tuple[int, int, int] = _INK, anchor: str = "lm"
    ) -> float:
        """Writes at the middle of a line; returns where the words end."""
        font = ImageFont.load_default(size)
        self.pen.text((x, y), words, fill=color, font=font, anchor=anchor)
        return x + font.getlength(words)

    def heading(self, words: str, note: str = "") -> None:
        self.top += 14
        end = self.text(_MARGIN, self.top + 14, words, 22)
        self.text(end + 14, self.top + 16, note, 15, _PALE)
        self.top += 40

    def box(self, x: float, width: float, color: tuple[int, int, int]) -> None:
        """A piece of a bar on this line."""
        self.pen.rectangle((x, self.top, x + max(width, 1), self.top + _BAR - 1), fill=color)

    @property
    def middle(self) -> float:
        return self.top + _BAR / 2


def draw(document: Document, path: Path) -> None:
    """Writes the PNG: all parts that the report has."""
    page = _Page(6000)
    page.text(_MARGIN, page.top + 12, "maskmill against the references", 30)
    page.top += 40
    machine = document["machine"]
    facts = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; torch {machine['torch']}, "
        f"transformers {machine['transformers']}, sam2 {machine['sam2']}, Python {machine['python']}"
    )
    page.text(_MARGIN, page.top + 8, facts, 15, _PALE)
    page.top += 26
    sections: Sequence[Callable[[_Page, Document], None]] = (
        _seconds,
        _parts,
        _products,
        _rates,
        _mini,
        _small,
        _reached,
    )
    for section in sections:
        section(page, document)
    page.image.crop((0, 0, _WIDTH, page.top + _MARGIN)).save(path, optimize=True)


def _rows(document: Document) -> list[tuple[str, dict[str, Any]]]:
    """The rows of sampled frames with their titles: smaller objects first, by dtype."""
    found = []
    for key, row in document.get("frames", {}).items():
        size = key.split()[0]
        many = "1 object" if row["objects"] == 1 else f"{row['objects']} objects"
        found.append((f"{size}, {row['image_size']} px, {row['dtype']}, {many}", row))
    return sorted(found, key=lambda one: (one[1]["dtype"], one[1]["objects"]))


def _seconds(page: _Page, document: Document) -> None:
    rows = _rows(document)
    if not rows:
        return
    page.heading("Seconds of a frame with a full memory", "median wall time; each group has a scale of its own")
    for title, row in rows:
        names = [name for name in NAMES if name in row]
        longest = max(row[name]["seconds"] for name in names)
        for number, name in enumerate(names):
            found = row[name]
            if number == 0:
                page.text(_MARGIN, page.middle, title, 16)
            width = (_WIDTH - _LABELS - 470) * found["seconds"] / longest
            page.text(_LABELS + 95, page.middle, name, 15, _PALE, "rm")
            page.box(_LABELS + 105, width, _NAME_COLORS[name])
            end = page.text(_LABELS + 113 + width, page.middle, f"{found['seconds']:.2f} s", 15)
            note = f"CPU {found['cpu_seconds']:.2f} s, peak {found['peak_mib'] / 1024:.2f} GiB"
            if name == "ours" and row["ratio"]:
                note = f"{row['ratio']['seconds']:.2f} times as fast   {note}"
            page.text(end + 14, page.middle, note, 14, _GOOD if name == "ours" else _PALE)
            page.top += _LINE - 4
        page.top += 12


def _parts(page: _Page, document: Document) -> None:
    rows = [(title, row) for title, row in _rows(document) if row["objects"] in (1, 4)]
    if not rows:
        return
    page.heading("Parts of a frame", "full memory; seconds, one scale")
    x: float = _LABELS + 105
    for part, color in zip((*PARTS, "rest"), _PART_COLORS, strict=True):
        page.box(x, _BAR, color)
        x = page.text(x + 30, page.middle, part, 15) + 26
    page.top += _LINE + 4
    longest = max(row[name]["seconds"] for _, row in rows for name in NAMES if name in row)
    for title, row in rows:
        for number, name in enumerate([name for name in NAMES if name in row]):
            if number == 0:
                page.text(_MARGIN, page.middle, title, 16)
            page.text(_LABELS + 95, page.middle, name, 15, _PALE, "rm")
            x = _LABELS + 105
            for (_, seconds), color in zip(row[name]["parts"].items(), _PART_COLORS, strict=True):
                width = (_WIDTH - _LABELS - 220) * max(seconds, 0.0) / longest
                page.box(x, width, color)
                if width > 44:
                    page.text(x + width / 2, page.middle, f"{seconds:.2f}", 13, (255, 255, 255), "mm")
                x += width
            page.top += _LINE - 4
        page.top += 12


def _products(page: _Page, document: Document) -> None:
    rows = [(title, row) for title, row in _rows(document) if "ours" in row]
    if not rows:
        return
    page.heading(
        "What the machine leaves possible",
        "the matrix products of a frame at the best rate that this processor reaches, with nothing between them",
    )
    lines = []
    for title, row in rows:
        alone, ours = row["products"], row["ours"]["seconds"]
        others = [row[name]["seconds"] for name in NAMES if name in row and name != "ours"]
        most = f"{min(others) / alone['seconds']:.2f}" if others else ""
        rate = f"{alone['gflop_per_second']:.0f}"
        lines.append([title, f"{alone['gflop']:.0f}", rate, f"{alone['seconds']:.2f}", f"{ours:.2f}", most])
    _table(page, ["", "GFLOP", "GFLOP/s", "products alone, s", "ours, s", "at most, times"], lines)


def _rates(page: _Page, document: Document) -> None:
    rows = _rows(document)
    if not rows:
        return
    page.heading(
        "Clips of 20 and of 200 frames",
        "frames/s and peak GiB, computed from sampled frames; how many times as fast ours is",
    )
    _table(
        page,
        ["", *(f"{name}, {length}" for length in (20, 200) for name in NAMES), "times, 20", "times, 200"],
        (
            [
                title,
                *(_clip(row.get(name), length) for length in (20, 200) for name in NAMES),
                *(f"{row['ratio'][f'clip of {length}']:.2f}" if row["ratio"] else "" for length in (20, 200)),
            ]
            for title, row in rows
        ),
    )


def _clip(found: Document | None, length: int) -> str:
    if found is None:
        return ""
    clip = found["clips"][str(length)]
    return f"{clip['frames_per_second']:.3g}   {clip['peak_mib'] / 1024:.1f}"


def _mini(page: _Page, document: Document) -> None:
    rows = document.get("clips", {})
    if not rows:
        return
    page.heading("Whole clips of mini, float32", "every frame run; sam2 cannot run mini")
    _table(
        page,
        ["", "ours, frames/s", "transformers", "times", "ours, peak GiB", "transformers"],
        (
            [
                f"{row['objects']} object{'s' if row['objects'] > 1 else ''}, {row['frames']} frames",
                *(f"{row[name]['frames_per_second']:.2f}" for name in ("ours", "transformers")),
                f"{row['ratio']:.2f}",
                *(f"{row[name]['peak_mib'] / 1024:.2f}" for name in ("ours", "transformers")),
            ]
            for row in rows.values()
        ),
    )


def _small(page: _Page, document: Document) -> None:
    lines = list(_facts(document))
    if not lines:
        return
    page.heading("RLE, decoding, memory, pipeline")
    for title, words in lines:
        page.text(_MARGIN, page.middle, title, 16)
        page.text(_LABELS + 105, page.middle, words, 16)
        page.top += _LINE - 2


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    for row in document.get("rle", {}).values():
        yield (
            f"RLE, {row['objects']} masks of {row['height']} x {row['width']}",
            f"{row['ours_ms_per_mask']:.2f} ms a mask straight from the logits, {row['usual_ms_per_mask']:.2f} ms the "
            f"usual way: {row['ratio']:.1f} x, bytes equal",
        )
    for name, row in document.get("scores", {}).items():
        yield (
            f"J and F, masks of {name}",
            f"{row['ours_ms_per_mask']:.2f} ms a mask from run lengths, {row['theirs_ms_per_mask']:.1f} ms by "
            f"vos-benchmark: {row['ratio_cpu']:.0f} x, equal to {row['difference']:.0e}",
        )
    for name, row in document.get("decode", {}).items():
        ours, plain, resized = (row[key]["frames_per_second"] for key in ("ours", "plain PyAV", "ours, resized"))
        yield (
            f"Decode H.264, {name}",
            f"{ours:.0f} frames/s, plain PyAV {plain:.0f}; with resizing to the model's input {resized:.0f}",
        )
    memory = document.get("memory", {})
    if "length" in memory:
        row = memory["length"]
        yield (
            "Peak of a job with mini",
            f"{row['short_peak_mib']:.0f} MiB at {row['short_frames']} frames, {row['long_peak_mib']:.0f} MiB at "
            f"{row['long_frames']}: {100 * row['growth']:+.1f} %",
        )
    if "object" in memory:
        yield "Memory of an object", f"{memory['object']['held_mib_per_object']:.2f} MiB, bfloat16, full memory"
    for row in document.get("efficiency", {}).values():
        yield (
            "Job against the bare loop, mini",
            f"{row['job']['frames_per_second']:.1f} of {row['bare']['frames_per_second']:.1f} frames/s: "
            f"{100 * row['efficiency']:.1f} %",
        )


def _reached(page: _Page, document: Document) -> None:
    found = list(goals(document))
    if not found:
        return
    page.heading("What is to be reached")
    lines = []
    for goal in found:
        sign = "at most" if goal.is_limit else "at least"
        lines.append(
            [goal.name, f"{goal.value:.3g} {goal.unit}", f"{sign} {goal.must:g}", f"{goal.aim:g}", goal.verdict]
        )
    _table(page, ["", "measured", "must be", "aim", ""], lines, {"aim": _GOOD, "reached": _GOOD, "MISSED": _BAD})


def _table(
    page: _Page,
    header: Sequence[str],
    lines: Iterator[list[str]] | list[list[str]],
    colors: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """A table with a wide first column."""
    step = (_WIDTH - _LABELS - _MARGIN) / max(len(header) - 1, 1)
    step = min(step, 190)
    for number, line in enumerate([list(header), *lines]):
        for column, words in enumerate(line):
            x = _MARGIN if column == 0 else _LABELS + step * column
            color = _PALE if number == 0 else (colors or {}).get(words, _INK)
            page.text(x, page.middle, words, 15, color, "lm" if column == 0 else "rm")
        page.top += _LINE - 2
        page.pen.line((_MARGIN, page.top - 4, _WIDTH - _MARGIN, page.top - 4), fill=_GRID)
