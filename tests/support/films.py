"""Films of many kinds, drawn with PyAV: 64 x 48 pixels, a disk that moves, and frames told apart by their gray."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from pipeline.arrays import UInt8Array
from tests.support.scheduling import scheduling_kept

SIZE_HW = (48, 64)
X264 = (("preset", "ultrafast"), ("qp", "12"))


@dataclass(frozen=True)
class Film:
    """How a film is made. `start` is the time of its first frame in seconds, `options` are the encoder's.

    `times` are the times of its frames in steps of the rate, for a rate that varies.
    """

    container: str = "mp4"
    codec: str = "libx264"
    rate: Fraction = Fraction(10)
    start: float = 0.0
    pix_fmt: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = X264
    look: Look = field(default_factory=lambda: Look())
    times: tuple[int, ...] = tuple(range(16))

    def __str__(self) -> str:
        parts = [self.container, self.codec, f"{float(self.rate):.5g}fps", self.pix_fmt]
        parts += [f"from{self.start:g}s"] if self.start else []
        parts += [f"{name}={value}" for name, value in self.options if name in ("bf", "g", "x264-params")]
        return "-".join([*parts, *filter(None, [str(self.look)])])


@dataclass(frozen=True)
class Look:
    """How a player is told to show a film."""

    rotation: int = 0
    color_range: ColorRange | None = None
    colorspace: int | None = None
    aspect: Fraction | None = None

    def __str__(self) -> str:
        parts = [f"turned{self.rotation}"] if self.rotation else []
        parts += [self.color_range.name.lower()] if self.color_range else []
        parts += [f"matrix{self.colorspace}"] if self.colorspace is not None else []
        parts += [f"aspect{self.aspect}".replace("/", ":")] if self.aspect else []
        return "-".join(parts)


def picture(index: int, size_hw: tuple[int, int] = SIZE_HW) -> UInt8Array:
    """Frame `index`: a gray of its own, three patches of color, and a disk that moves."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width] / height
    pixels = np.full((height, width, 3), 40 + index * 37 % 160, np.uint8)
    for place, color in enumerate(((200, 40, 40), (40, 180, 60), (50, 60, 210))):
        pixels[: height // 4, place * width // 4 : (place + 1) * width // 4] = color
    pixels[(x - 0.3 - 0.04 * index) ** 2 + (y - 0.6) ** 2 < 0.05] = (230, 140, 30)
    return pixels


@cache
def drawn(film: Film) -> bytes:
    """The bytes of a film."""
    return drawn_of(film, [picture(index) for index in range(len(film.times))])


def drawn_of(film: Film, pictures: Sequence[UInt8Array]) -> bytes:
    """The bytes of a film of these pictures."""
    buffer = io.BytesIO()
    with scheduling_kept(), av.open(buffer, "w", format=film.container) as output:
        stream: Any = output.add_stream(film.codec, rate=film.rate)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], film.pix_fmt
        stream.options = dict(film.options)
        stream.codec_context.thread_count = 1
        if film.look.color_range is not None:
            stream.color_range = film.look.color_range
        if film.look.colorspace is not None:
            stream.colorspace = film.look.colorspace
        if film.look.aspect is not None:
            stream.sample_aspect_ratio = film.look.aspect
        if film.look.rotation:
            stream.set_display_rotation(film.look.rotation)
        for time, pixels in zip(film.times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=film.pix_fmt, threads=1)
            frame.pts, frame.time_base = time + round(film.start * film.rate), 1 / film.rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()
