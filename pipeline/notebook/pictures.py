"""A picture that a notebook shows by itself."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.arrays import UInt8Array


@dataclass(frozen=True)
class Picture:
    """Pixels, uint8 RGB `[H, W, 3]`, and what they show in words. Jupyter shows it by itself."""

    pixels_HW3: UInt8Array
    title: str

    def image(self) -> Image.Image:
        """As a Pillow image."""
        return Image.fromarray(self.pixels_HW3)

    def save(self, path: str | Path) -> None:
        """Write a file. Raises `ValueError` for a name whose ending is no format of pictures."""
        self.image().save(path)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.image().save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        height, width = self.pixels_HW3.shape[:2]
        return f"<{self.title}, {width} x {height} pixels>"
