"""The contract of readers: a video as decoded pictures with times, and what its file says of itself.

Legend: H, W pixels as displayed; pixels are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from model.media.errors import MediaError
from model.media.film_remarks import Claims
from model.pixels.orientation import UInt8Array


@dataclass(frozen=True)
class Display:
    """How a video is shown: its size in pixels, upright, how far a player turns it, and the shape of a pixel.

    `pixel_aspect` is the width of a pixel divided by its height, upright. It is 1 where the file says nothing.
    """

    size_hw: tuple[int, int]
    rotation_degrees: int = 0
    pixel_aspect: float = 1.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself. Counts and rates are the container's claims and may be wrong; `None` = no claim.

    `num_frames_claimed` is what the header says, `claims` are what a whole film must have.
    `start_seconds` is the first time that a frame has; `None` = frames have no times. `format` and `codec` are FFmpeg's
    names.
    """

    display: Display
    fps: float | None
    duration_seconds: float | None
    num_frames_claimed: int | None
    start_seconds: float | None
    format: str
    codec: str
    claims: Claims | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels as displayed."""
        return self.display.size_hw

    @property
    def has_times(self) -> bool:
        """Whether frames have times in the file."""
        return self.start_seconds is not None

    @property
    def has_even_rate(self) -> bool:
        """Without it `fps` is that of the whole file, and frames come faster in one part than in another."""
        return self.claims is None or self.claims.has_even_rate

    def identity(self) -> str:
        """Text that another file in this one's place mostly has not. Saved sessions hold it, so it stays as it is."""
        return (
            f"VideoInfo(size_hw={self.size_hw}, rotation_degrees={self.display.rotation_degrees}, fps={self.fps}, "
            f"duration_seconds={self.duration_seconds}, num_frames_claimed={self.num_frames_claimed}, "
            f"has_times={self.has_times}, format={self.format!r}, codec={self.codec!r})"
        )


class Picture(Protocol):
    """One decoded picture. Its pixels are converted when they are asked for, because many passes only count."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of this picture, upright. In some files it is not that of the video."""

    @property
    def num_bytes(self) -> int:
        """Bytes of memory that it takes until its pixels are asked for."""

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        """The pixels, upright, in the size of the video: a picture of another size is scaled.

        Raises `MediaError` for pixels that cannot be turned into RGB.
        """


@dataclass(frozen=True)
class Unreadable:
    """The `Picture` of a frame that has a place in the video and cannot be read. `message` says which and why."""

    message: str
    size_hw: tuple[int, int] = (0, 0)
    num_bytes: int = 0

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        raise MediaError(self.message)


@dataclass(frozen=True)
class RawFrame:
    """One frame of a video. Its number is its place among all that a reading from the start yields.

    `pts_seconds`: its time in the file, `None` if the file does not say it. The images of a folder count 0, 1, 2, so
    that a reading can begin at one. `is_key`: decoding can begin at this frame. A frame with a `fault`, which names its
    file and the reason, keeps its number and is not labeled. `is_damaged`: the decoder made the picture of damaged
    data; it is labeled.
    """

    pts_seconds: float | None
    is_key: bool
    picture: Picture
    fault: str = ""
    is_damaged: bool = False


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

    def listed(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """The frames that `read` will give, as far as that is certain without decoding; maybe none.

        Their pictures cannot be read. Some of their keys may not be marked.
        """
