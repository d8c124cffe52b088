"""A picture that a notebook shows by itself."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.arrays import UInt8Array
from pipeline.storage.atomic_files import replace_file

_SHOWN_PIXELS = 1280


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file, with the folders above it; it is whole or not there. Raises `OSError` that names it."""
    final = Path(path).expanduser().absolute()
    try:
        replace_file(final, data, final.parent)
    except OSError as error:
        why = f"{error.strerror}; check that the folder may be written and that its disk has room"
        raise OSError(error.errno, why, str(final)) from error


@dataclass(frozen=True)
class Picture:
    """Pixels, uint8 RGB `[H, W, 3]`, and what they show in words. Jupyter shows it by itself.

    What is shown is a JPEG of at most 1280 pixels a side, so that a notebook stays small. `save` writes every pixel.
    """

    pixels_HW3: UInt8Array
    title: str

    def image(self) -> Image.Image:
        """As a Pillow image."""
        return Image.fromarray(self.pixels_HW3)

    def save(self, path: str | Path) -> None:
        """Write a file, which is whole or not there. Raises `ValueError` for a name that ends as no picture does."""
        buffer = io.BytesIO()
        form = Image.registered_extensions().get(Path(path).suffix.lower())
        if form not in Image.SAVE:
            raise ValueError(f"{path}: give a name that ends in .png, .jpg, .webp or as another picture")
        self.image().save(buffer, form)
        write_whole(path, buffer.getvalue())

    def jpeg(self, most_pixels: int = _SHOWN_PIXELS) -> bytes:
        """A JPEG file, made smaller to `most_pixels` on its longer side."""
        image, buffer = self.image(), io.BytesIO()
        image.thumbnail((most_pixels, most_pixels), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=88, subsampling=0)
        return buffer.getvalue()

    def _repr_jpeg_(self) -> bytes:
        return self.jpeg()

    def __repr__(self) -> str:
        height, width = self.pixels_HW3.shape[:2]
        return f"<{self.title}, {width} x {height} pixels>"
