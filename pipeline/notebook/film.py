"""A video that a notebook plays by itself: its bytes lie in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

from pipeline.arrays import UInt8Array
from pipeline.masks.shrink import shrunk
from pipeline.notebook.pictures import write_whole
from pipeline.text import bytes_in_words
from pipeline.video.encode import Mp4Writer

_RATE_OF_PICTURES = 10  # frames a second, where a file has no times
_QUALITY = 26
_INDEX_BYTES = 4096


@dataclass(frozen=True)
class Film:
    """An MP4 file (H.264), what it shows in words, and what was left out of it. Jupyter plays it by itself."""

    mp4: bytes
    title: str
    note: str = ""

    def save(self, path: str | Path) -> None:
        """Write the file, which is whole or not there."""
        write_whole(path, self.mp4)

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.mp4).decode()
        note = f"{self.title}, {bytes_in_words(len(self.mp4))}{f'; {self.note}' if self.note else ''}"
        return (
            '<figure style="margin:0;color:inherit"><video controls loop muted playsinline style="max-width:100%" '
            f'aria-label="{escape(self.title)}" src="data:video/mp4;base64,{data}"></video>'
            f'<figcaption style="font-size:85%;opacity:.8">{escape(note)}</figcaption></figure>'
        )

    def __repr__(self) -> str:
        return f"<{self.title}, MP4 of {bytes_in_words(len(self.mp4))}{f'; {self.note}' if self.note else ''}>"


@dataclass(frozen=True)
class Pace:
    """Frames a second of a video that has no times, and the aspect of its pixels (width / height)."""

    frames_per_second: Fraction
    pixel_aspect: Fraction

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Pace:
        """What the row of a video in `videos` says; 10 frames a second and square pixels where it says nothing."""
        rate = Fraction(row["fps"] or _RATE_OF_PICTURES).limit_denominator(1001)
        return cls(rate, Fraction(row["pixel_aspect"] or 1).limit_denominator(255))


def film(
    frames: Iterable[tuple[UInt8Array, float | None]], pace: Pace, *, most_pixels: int, most_bytes: int
) -> tuple[bytes, int]:
    """An MP4 file of frames with their times in seconds, and how many are in it: those that fit, one at least.

    Frames are made smaller to `most_pixels` on their longer side.
    """
    buffer, first = io.BytesIO(), None
    writer = Mp4Writer(buffer, pace.frames_per_second, pixel_aspect=pace.pixel_aspect, quality=_QUALITY)
    with closing(writer):
        for pixels_HW3, seconds in frames:
            first = seconds if first is None else first
            writer.add(shrunk(pixels_HW3, most_pixels), None if seconds is None else seconds - (first or 0.0))
            # The encoder has written some of the frames only.
            if writer.num_bytes * writer.num_frames > (most_bytes * 0.95 - _INDEX_BYTES) * max(1, writer.num_written):
                break
    return buffer.getvalue(), writer.num_frames
