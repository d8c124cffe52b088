"""Small videos and images of many kinds, made with PyAV. Frame `i` is told from the others by its gray."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from model import Media
from pipeline.arrays import UInt8Array
from pipeline.records import RowSpan, VideoSource, WorkItem
from pipeline.storage.addresses import AddressRules
from pipeline.video.media import open_media
from tests.support.scheduling import scheduling_kept


def gray_of(index: int) -> int:
    """The brightness of frame `index`, up to 50 of them distinct after lossy coding."""
    return 20 + (index * 37 % 50) * 4


def pictures(num_frames: int, size_hw: tuple[int, int] = (48, 64)) -> list[UInt8Array]:
    """Frames with a brightness of their own, a gradient, and a block that moves, so that predicted frames differ."""
    height, width = size_hw
    frames = []
    for index in range(num_frames):
        pixels = np.full((height, width, 3), gray_of(index), np.uint8)
        x = index * 3 % max(1, width - 8)
        pixels[: height // 4, x : x + 8] = (250, 30, 30)
        frames.append(pixels)
    return frames


def textured_pictures(num_frames: int) -> list[UInt8Array]:
    """Noise that moves, and a block that moves over it, 96 x 128 pixels: a frame that is predicted wrongly is seen."""
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    frames = [np.roll(noise, 2 * index, axis=1) for index in range(num_frames)]
    for index, pixels in enumerate(frames):
        pixels[10:30, 5 + index : 25 + index] = (250, 30, 30)
    return frames


def encode(
    frames: Sequence[UInt8Array],
    *,
    codec: str = "libx264",
    container: str = "mp4",
    rate: int = 10,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
) -> bytes:
    """A video file. `times` are presentation times in units of 1 / rate, for a variable rate."""
    buffer = io.BytesIO()
    with scheduling_kept(), av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = options or {}
        stream.codec_context.thread_count = 1
        for index, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = times[index], Fraction(1, rate)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return buffer.getvalue()


def encode_audio(cover: UInt8Array | None = None) -> bytes:
    """A file with sound and no video, perhaps with the picture of its cover."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream: Any = output.add_stream("aac", rate=8000)
        if cover is not None:
            picture: Any = output.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = *cover.shape[:2], "yuvj420p"
            picture.disposition = Disposition.attached_pic
            output.mux(picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
            output.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def encode_image(pixels: UInt8Array, codec: str = "png", pix_fmt: str = "rgb24") -> bytes:
    """One picture as an image file."""
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = *pixels.shape[:2], pix_fmt, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def with_display_matrix(mp4: bytes, matrix: Sequence[int]) -> bytes:
    """The same file with another display matrix `a b c d` (whole numbers) in its track header."""
    place = mp4.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    values = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], dtype=">i4")
    return mp4[:place] + values.tobytes() + mp4[place + 36 :]


def with_edit_list(mp4: bytes, start_seconds: float, num_seconds: float) -> bytes:
    """The same file with an edit list that shows `num_seconds` of it from `start_seconds` on."""
    data = bytearray(mp4)
    edit = data.index(b"elst")
    (timescale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    (first,) = struct.unpack_from(">i", data, edit + 16)
    values = round(1000 * num_seconds), first + round(timescale * start_seconds)
    struct.pack_into(">Ii", data, edit + 12, *values)
    return bytes(data)


def without_frames() -> bytes:
    """A video file that announces a stream and has no frame."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream: Any = output.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        output.start_encoding()
    return buffer.getvalue()


def media_of(data: bytes, name: str = "clip") -> Media:
    """A file in memory as the pipeline opens it."""
    return Media(name, (lambda: io.BytesIO(data),))


ON_LOOPBACK = AddressRules(hosts=("127.0.0.1", "*"))


def item(uri: str | Path | None, bytes_at: RowSpan | None = None) -> WorkItem:
    """A work item for a video by URI, or in a row."""
    return WorkItem("clip", VideoSource(None if uri is None else str(uri), bytes_at), (), "")


def read_all(uri: str | Path) -> bytes:
    """The bytes of a file through `open_media`. Tests serve videos on loopback, which no table may name by default."""
    with open_media(item(uri), rules=ON_LOOPBACK) as media, media.files[0]() as file:
        data: bytes = file.read()
        return data
