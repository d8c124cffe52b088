"""Pictures that FFmpeg has decoded, to RGB pixels as displayed. Legend: H, W pixels; pixels are uint8 `[H, W, 3]`."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from model.media.errors import MediaError
from model.pixels.orientation import Orientation, UInt8Array


class RgbConverter:
    """Converts the pictures of one reading. Not shared by threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reformatter = VideoReformatter()

    def pixels(self, picture: av.VideoFrame, size_hw: tuple[int, int]) -> UInt8Array:
        """The pixels, upright and of this size. A picture of another size is scaled.

        Raises `MediaError` for a pixel format or color space that FFmpeg cannot convert.
        """
        orientation = Orientation.of(picture)
        height, width = size_hw[::-1] if orientation.swap else size_hw
        try:
            rgb = self._reformatter.reformat(picture, width=width, height=height, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(
                f"{self._name}: its pixels ({picture.format.name}, color space {picture.colorspace}) cannot be turned "
                "into RGB; check that the file is whole, or convert it to a usual pixel format such as yuv420p"
            ) from error
        return orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


@dataclass(frozen=True)
class FilmPicture:
    """A `Picture` of a film: what the decoder gave, and the converter of the reading that it comes from."""

    decoded: av.VideoFrame
    converter: RgbConverter

    @property
    def size_hw(self) -> tuple[int, int]:
        return Orientation.of(self.decoded).size_hw(self.decoded)

    @property
    def num_bytes(self) -> int:
        return sum(plane.buffer_size for plane in self.decoded.planes)

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        return self.converter.pixels(self.decoded, size_hw)
