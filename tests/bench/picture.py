"""The bench as a picture: seconds of a frame, a bar for each implementation and setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tests.bench.runners import NAMES

_COLORS = {"ours": (46, 125, 50), "transformers": (120, 120, 120), "sam2": (180, 180, 180)}
_LINE, _LEFT, _WIDTH = 18, 260, 900


def draw(report: dict[str, Any], path: Path) -> None:
    """Writes the PNG."""
    bars = [
        (f"{row['dtype']}, {row['objects']} objects, {name}", row[name]["seconds"], _COLORS[name])
        for row in report["frames"]
        for name in NAMES
        if name in row
    ]
    picture = Image.new("RGB", (_WIDTH, _LINE * (len(bars) + 3)), "white")
    pen = ImageDraw.Draw(picture)
    machine = report["machine"]
    pen.text(
        (8, 4), f"Seconds of a frame with full memory; {machine['processor']}, {machine['threads']} threads", "black"
    )
    longest = max((seconds for _, seconds, _ in bars), default=1.0)
    for line, (label, seconds, color) in enumerate(bars):
        top = _LINE * (line + 2)
        length = int((_WIDTH - _LEFT - 70) * seconds / longest)
        pen.text((8, top), label, "black")
        pen.rectangle((_LEFT, top, _LEFT + max(length, 1), top + _LINE - 5), fill=color)
        pen.text((_LEFT + length + 6, top), f"{seconds:.2f}", "black")
    picture.save(path)
