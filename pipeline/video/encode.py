"""Writing H.264 videos with PyAV. Legend: H, W pixels; frames are uint8 RGB, `[H, W, 3]`."""

from __future__ import annotations

import io
from collections.abc import Iterable

import av
import numpy as np

from pipeline.arrays import UInt8Array


def encode_mp4(frames: Iterable[UInt8Array], frames_per_second: int, *, quality: int = 18) -> bytes:
    """An MP4 file (H.264, 4:2:0) that every player and browser shows.

    The same frames give the same bytes, because one thread encodes. `quality` is x264's constant rate factor: 0 is
    lossless, 18 looks lossless, 28 is small. 4:2:0 cannot hold odd sizes, so those are padded by one row or column.
    Raises `ValueError` for no frames or frames of different shapes.
    """
    buffer = io.BytesIO()
    shape: tuple[int, ...] | None = None
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=frames_per_second)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(quality), "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        for index, pixels_HW3 in enumerate(frames):
            if shape is None:
                shape = pixels_HW3.shape
                stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
            if pixels_HW3.shape != shape or pixels_HW3.ndim != 3 or pixels_HW3.dtype != np.uint8:
                raise ValueError(
                    f"frame {index}: expected uint8 RGB [H, W, 3] like frame 0 ({list(shape)}), "
                    f"got {pixels_HW3.dtype} of shape {list(pixels_HW3.shape)}"
                )
            picture = av.VideoFrame.from_ndarray(_even(pixels_HW3), format="rgb24")
            for packet in stream.encode(picture.reformat(format="yuv420p", threads=1)):
                container.mux(packet)
        if shape is None:
            raise ValueError("a video needs at least one frame, got none")
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def _even(pixels_HW3: UInt8Array) -> UInt8Array:
    height, width, _ = pixels_HW3.shape
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(pixels_HW3)
    return np.pad(pixels_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
