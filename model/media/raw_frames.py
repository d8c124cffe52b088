"""The contract of readers: a video as decoded pictures with times, and what its file says of itself.

Legend: H, W pixels as displayed; pixels are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from model.media.errors import MediaError
from model.pixels.orientation import UInt8Array


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself. Counts and rates are the container's claims and may be wrong; `None` = no claim.

    `size_hw` is in pixels of the video as displayed. `format` and `codec` are FFmpeg's names.
    """

    size_hw: tuple[int, int]
    rotation_degrees: int
    fps: float | None
    duration_seconds: float | None
    num_frames_claimed: int | None
    has_times: bool
    format: str
    codec: str


class Picture(Protocol):
    """One decoded picture. Its pixels are converted when they are asked for, because many passes only count."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the picture itself, as displayed."""

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        """The pixels, upright, in the size of the video: a picture of another size is scaled.

        Raises `MediaError` for pixels that cannot be turned into RGB.
        """


@dataclass(frozen=True)
class Unreadable:
    """The `Picture` of a frame that has a place in the video and cannot be read. `message` says which and why."""

    message: str
    size_hw: tuple[int, int] = (0, 0)

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        raise MediaError(self.message)


@dataclass(frozen=True)
class RawFrame:
    """One frame with its time in seconds. `is_key`: decoding can begin at this frame.

    Frames of a file without times count up from 0 by 1 / fps (0.04 s without a rate), images of a folder by 1. A frame
    with a `fault`, which names its file and the reason, keeps its number and is not labeled.
    """

    pts_seconds: float
    is_key: bool
    picture: Picture
    fault: str = ""


class Reader(Protocol):
    """Reads one video as often as it is asked to. Several readings may run at once, in different threads."""

    def remarks(self) -> tuple[str, ...]:
        """What the readings so far have met that the user should know of, each in a few words: damage, other sizes."""

    def info(self) -> VideoInfo:
        """What the file says of itself. Raises `MediaError` if no frame of it can be decoded."""

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """Frames in presentation order, from the start or from near a time in the file.

        With `seek_seconds` the first frame is the nearest key frame at or before that time that the file allows to seek
        to. Closing the iterator closes the file. Raises `MediaError` for a file that is no video. Errors of storage
        pass through.
        """
