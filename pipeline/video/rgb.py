"""Decoded pictures to RGB pixels of the video as displayed. Legend: H, W pixels; pixels are uint8 RGB `[H, W, 3]`."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from model import Orientation
from pipeline.arrays import UInt8Array
from pipeline.errors import MediaError


class RgbConverter:
    """Converts the pictures of one reading to one size, that of the video as displayed. Not shared by threads."""

    def __init__(self, name: str, size_hw: tuple[int, int]) -> None:
        self._name = name
        self._size_hw = size_hw
        self._reformatter = VideoReformatter()

    def pixels(self, picture: av.VideoFrame) -> UInt8Array:
        """The pixels, upright. A picture of another size is scaled, because some files change size on the way.

        Raises `MediaError` for a pixel format or color space that FFmpeg cannot convert.
        """
        orientation = Orientation.of(picture)
        height, width = self._size_hw[::-1] if orientation.swap else self._size_hw
        try:
            rgb = self._reformatter.reformat(picture, width=width, height=height, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(
                f"{self._name}: its pixels ({picture.format.name}, color space {picture.colorspace}) cannot be turned "
                "into RGB; check that the file is whole, or convert it to a usual pixel format such as yuv420p"
            ) from error
        return orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))
