"""Writing H.264 videos with PyAV. Legend: H, W pixels; frames are uint8 RGB, `[H, W, 3]`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from pipeline.arrays import UInt8Array

_MOST_PIXELS = 16_384
_TICKS = 90_000  # a second has so many, in MPEG's own clock


class Mp4Writer:
    """Writes an MP4 file (H.264, 4:2:0) that every player and browser shows, a frame at a time.

    Args:
        target: a path on local disk, or a file that is open for writing in any order.
        frames_per_second: the rate, for frames that are added without times.
        pixel_aspect: width of a pixel / its height; players stretch frames whose pixels are not square.
        quality: x264's constant rate factor: 0 is lossless, 18 looks lossless, 28 is small.
        comment: a text that the file keeps, see `mp4_comment`.

    One thread encodes. The same frames give pictures that look the same, and not always the same bytes: x264 looks
    ahead with what lies in its memory. Whoever must know whether a file has these frames says so in `comment`.
    4:2:0 cannot hold odd sizes, so those are padded by one row or column. Close it; a file that got no frame is not
    one. `num_frames` were added, `num_written` of them are written, in `num_bytes`: the encoder looks ahead.
    """

    def __init__(
        self,
        target: str | BinaryIO,
        frames_per_second: Fraction,
        *,
        pixel_aspect: Fraction = Fraction(1),
        quality: int = 18,
        comment: str = "",
    ) -> None:
        # FFmpeg opens the file once more, by its name, to put the index first, so that players start at once.
        options = {"movflags": "faststart"} if isinstance(target, str) else {}
        self._container = av.open(target, "w", format="mp4", options=options)
        self._container.metadata["comment"] = comment
        self._rate = frames_per_second
        self._pixel_aspect = pixel_aspect
        self._quality = quality
        self._stream: av.VideoStream | None = None
        self._shape: tuple[int, ...] = ()
        self._last_pts = -1
        self.num_frames = 0
        self.num_written = 0
        self.num_bytes = 0

    def add(self, pixels_HW3: UInt8Array, seconds: float | None = None) -> None:
        """One frame, shown from `seconds` on. Either each frame has a time or none has, and times grow.

        Raises `ValueError` for a frame that is not uint8 RGB `[H, W, 3]` like the first, or has more than 16,384 pixels
        on a side.
        """
        if self._stream is None:
            self._stream = self._begin(pixels_HW3, seconds is not None)
        if pixels_HW3.shape != self._shape or pixels_HW3.ndim != 3 or pixels_HW3.dtype != np.uint8:
            raise ValueError(
                f"frame {self.num_frames}: expected uint8 RGB [H, W, 3] like frame 0 ({list(self._shape)}), "
                f"got {pixels_HW3.dtype} of shape {list(pixels_HW3.shape)}"
            )
        picture = av.VideoFrame.from_ndarray(_even(pixels_HW3), format="rgb24").reformat(format="yuv420p", threads=1)
        if seconds is not None:
            self._last_pts = max(self._last_pts + 1, round(seconds * _TICKS))
            picture.pts, picture.time_base = self._last_pts, Fraction(1, _TICKS)
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
            self.num_written += 1
            self.num_bytes += packet.size
        self.num_frames += 1

    def close(self) -> None:
        """Write what is left."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()

    def _begin(self, pixels_HW3: UInt8Array, has_times: bool) -> av.VideoStream:
        self._shape = shape = pixels_HW3.shape
        if max(shape[:2]) > _MOST_PIXELS:
            raise ValueError(
                f"frames of {shape[1]} x {shape[0]} pixels: H.264 takes up to {_MOST_PIXELS:,} on a side; make them "
                "smaller"
            )
        stream = self._container.add_stream("h264", rate=self._rate)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(self._quality), "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
        if self._pixel_aspect != 1:
            stream.codec_context.sample_aspect_ratio = self._pixel_aspect
        if has_times:
            stream.codec_context.time_base = Fraction(1, _TICKS)
        return stream


def mp4_comment(file: BinaryIO) -> str:
    """The text that an MP4 file keeps; empty for a file that has none, or is no MP4."""
    try:
        with av.open(file) as container:
            return str(container.metadata.get("comment", ""))
    except av.FFmpegError:
        return ""


def encode_mp4(frames: Iterable[UInt8Array], frames_per_second: int, *, quality: int = 18, comment: str = "") -> bytes:
    """An MP4 file of these frames, as `Mp4Writer` writes it.

    Raises `ValueError` for no frames or frames of different shapes.
    """
    buffer = io.BytesIO()
    writer = Mp4Writer(buffer, Fraction(frames_per_second), quality=quality, comment=comment)
    with contextlib.closing(writer):
        for pixels_HW3 in frames:
            writer.add(pixels_HW3)
    if not writer.num_frames:
        raise ValueError("a video needs at least one frame, got none")
    return buffer.getvalue()


def _even(pixels_HW3: UInt8Array) -> UInt8Array:
    height, width, _ = pixels_HW3.shape
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(pixels_HW3)
    return np.pad(pixels_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
