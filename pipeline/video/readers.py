"""Decoded frames of one video in presentation order, from PyAV: a video file, an image, a GIF, or a folder of images.

FFmpeg is given files that were opened elsewhere, never names, and only formats of `VIDEO_FORMATS`: a text file that
says `ffconcat`, or a playlist, would make it open other files of this machine.

Pixels are those that are stored, turned upright: pixels that are not square stay so.

Legend: H, W pixels as displayed; pixels are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from model import VIDEO_FORMATS, Orientation
from pipeline.arrays import UInt8Array
from pipeline.errors import MediaError
from pipeline.video.media import Media, OpenFile

MAX_PIXELS = 1 << 27  # of a frame; more is refused before memory is taken for it
_MAX_DEMUX_ERRORS = 16  # in a row, before the rest of a file is given up
_MAX_SEEK_SECONDS = 4e9  # later than any clock says, and in 64 bits in any time base


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself. Counts and rates are the container's claims and may be wrong; `None` = no claim."""

    size_hw: tuple[int, int]
    rotation_degrees: int
    fps: float | None
    duration_seconds: float | None
    num_frames_claimed: int | None
    has_times: bool
    format: str
    codec: str


@dataclass(frozen=True)
class RawFrame:
    """One decoded picture, and its time in seconds; frames without times count up by 1 / fps from 0."""

    pts_seconds: float
    is_key: bool
    picture: av.VideoFrame


class Reader(Protocol):
    """Opens a video as often as asked. Several readings can be under way at once, in different threads."""

    @property
    def num_damaged(self) -> int:
        """Frames or packets dropped by the worst reading so far."""

    def info(self) -> VideoInfo:
        """What the file says of itself. Raises `MediaError` if it cannot be decoded."""

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """Frames from the start, or from a key frame at or before a time, as near to it as the file allows.

        Closing the iterator closes the file. Raises `MediaError` for a file that is no video; errors of storage pass.
        """


def open_reader(media: Media) -> Reader:
    """The reader that a kind of media needs."""
    return FolderReader(media) if media.is_folder else FileReader(media.name, media.files[0])


class FileReader:
    """A video file, an image or a GIF."""

    def __init__(self, name: str, open_file: OpenFile) -> None:
        self._name = name
        self._open_file = open_file
        self.num_damaged = 0

    def info(self) -> VideoInfo:
        with closing(self._open()) as file, closing(self._container(file)) as container:
            stream = self._video_stream(container)
            first = next(self._decode(file, container, stream, 1), None)
            if first is None:
                raise MediaError(f"{self._name}: no frame could be decoded; check that the file is whole")
            orientation = Orientation.of(first)
            return VideoInfo(
                size_hw=orientation.size_hw(first),
                rotation_degrees=first.rotation,
                fps=float(stream.average_rate) if stream.average_rate else None,
                duration_seconds=_duration_seconds(container, stream),
                num_frames_claimed=stream.frames or None,
                has_times=first.pts is not None and not container.format.name.endswith("_pipe"),
                format=container.format.name,
                codec=stream.codec_context.name,
            )

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`."""
        with closing(self._open()) as file, closing(self._container(file)) as container:
            stream = self._video_stream(container)
            if seek_seconds is not None:
                self._seek(file, container, stream, seek_seconds)
            rate = stream.average_rate or stream.guessed_rate
            step = 1 / float(rate) if rate else 0.04
            # Not the frame's time base: frames that the decoder hands out at the end of a file lack it.
            time_base = stream.time_base
            pts_seconds = -step
            for picture in self._decode(file, container, stream):
                if picture.pts is None or time_base is None:
                    pts_seconds += step
                    yield RawFrame(pts_seconds, False, picture)
                else:
                    pts_seconds = float(picture.pts * time_base)
                    yield RawFrame(pts_seconds, _starts_decoding(picture), picture)

    def _open(self) -> WatchedFile:
        return WatchedFile(self._name, self._open_file)

    def _container(self, file: WatchedFile) -> InputContainer:
        try:
            options = {"format_whitelist": VIDEO_FORMATS, "max_pixels": str(MAX_PIXELS)}
            return av.open(file, "r", options=options, metadata_errors="replace")
        except av.FFmpegError as error:
            file.raise_failure()
            raise MediaError(
                f"{self._name}: is not a video or image that can be read ({error.strerror}); "
                "check that the file is whole and of a usual format"
            ) from error

    def _video_stream(self, container: InputContainer) -> VideoStream:
        for stream in container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                if stream.codec_context is None:
                    raise MediaError(
                        f"{self._name}: its video is of an unknown codec; convert it, for instance to H.264"
                    )
                # Slices only: frame threads hold frames back, and can hang when decoding stops early beside torch.
                stream.thread_type = "SLICE"
                stream.codec_context.thread_count = 1
                return stream
        raise MediaError(f"{self._name}: has no video stream; give a file with pictures")

    def _seek(self, file: WatchedFile, container: InputContainer, stream: VideoStream, seconds: float) -> None:
        """Where the container cannot seek, reading goes on from the start, which is also before `seconds`."""
        if stream.time_base is None:
            return
        seconds = min(max(seconds, -_MAX_SEEK_SECONDS), _MAX_SEEK_SECONDS)
        try:
            container.seek(round(seconds / stream.time_base), stream=stream, backward=True)
        except av.FFmpegError:
            file.raise_failure()

    def _decode(
        self, file: WatchedFile, container: InputContainer, stream: VideoStream, limit: int | None = None
    ) -> Iterator[av.VideoFrame]:
        """Whole frames in presentation order; damaged ones are left out."""
        num_damaged = num_frames = 0
        for packet in self._packets(file, container, stream):
            try:
                pictures = stream.decode(packet)
            except av.FFmpegError:
                file.raise_failure()
                num_damaged += 1
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    num_damaged += 1
                    continue
                yield picture
                num_frames += 1
                if num_frames == limit:
                    return
            self.num_damaged = max(self.num_damaged, num_damaged)
        file.raise_failure()

    def _packets(self, file: WatchedFile, container: InputContainer, stream: VideoStream) -> Iterator[Any]:
        """Packets to the end of what can be demuxed, then `None`, which asks the decoder for what it still holds."""
        errors = 0
        packets = container.demux(stream)
        while errors < _MAX_DEMUX_ERRORS:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError:
                file.raise_failure()
                errors += 1
                packets = container.demux(stream)
                continue
            errors = 0
            if packet.size:
                yield packet
        yield None


class FolderReader:
    """A folder of images, one frame each, in order of their names. Gaps in the numbering do not count."""

    def __init__(self, media: Media) -> None:
        self._images = [FileReader(media.name, file) for file in media.files]
        self._name = media.name
        self.num_damaged = 0

    def info(self) -> VideoInfo:
        """Of the first image that can be decoded."""
        for image in self._images:
            try:
                info = image.info()
            except MediaError:
                continue
            return replace(info, fps=None, duration_seconds=None, num_frames_claimed=len(self._images), has_times=False)
        raise MediaError(f"{self._name}: none of the {len(self._images)} images of the folder could be decoded")

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`. An image's place in the folder stands for its time."""
        start = max(0, int(seek_seconds or 0))
        num_damaged = 0
        for place in range(start, len(self._images)):
            picture = self._picture(place)
            if picture is not None:
                yield RawFrame(float(place), True, picture)
            else:
                num_damaged += 1
                self.num_damaged = max(self.num_damaged, num_damaged)

    def _picture(self, place: int) -> av.VideoFrame | None:
        with closing(self._images[place].read()) as frames:
            try:
                return next(frames).picture
            except (MediaError, StopIteration):
                return None


class WatchedFile:
    """The file that FFmpeg reads, and the error that reading it raised, which FFmpeg may take for the file's end."""

    def __init__(self, name: str, open_file: OpenFile) -> None:
        self._name = name
        self._failure: Exception | None = None
        try:
            self._file: Any = open_file()
        except (FileNotFoundError, PermissionError) as error:
            raise self._fault(error) from error

    def read(self, num_bytes: int = -1) -> bytes:
        """Up to `num_bytes` bytes."""
        try:
            data: bytes = self._file.read(num_bytes)
        except (FileNotFoundError, PermissionError) as error:
            self._failure = self._fault(error)
            raise self._failure from error
        except Exception as error:
            self._failure = error
            raise
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file, but FFmpeg's own code for a place that no file has, where a damaged one may lead it."""
        try:
            return int(self._file.seek(offset, whence))
        except ValueError:
            return -errno.EINVAL
        except OSError as error:
            if error.errno == errno.EINVAL:
                return -errno.EINVAL
            self._failure = error
            raise

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()

    def _fault(self, error: OSError) -> MediaError:
        what = (
            "may not be read; check its permissions or storage_options"
            if isinstance(error, PermissionError)
            else "was removed while it was read; put it back"
        )
        return MediaError(f"{self._name}: {what} and run again with retry=failed")

    def raise_failure(self) -> None:
        """Raise what reading has raised, if it has."""
        if self._failure is not None:
            raise self._failure


class RgbConverter:
    """Pictures to RGB pixels of one size, that of the video as displayed. One per reading, not shared by threads."""

    def __init__(self, name: str, size_hw: tuple[int, int]) -> None:
        self._name = name
        self._size_hw = size_hw
        self._reformatter = VideoReformatter()

    def pixels(self, picture: av.VideoFrame) -> UInt8Array:
        """uint8 RGB `[H, W, 3]`; a picture of another size (some files change it on the way) is scaled.

        Raises `MediaError` for pixels or colours that FFmpeg cannot convert.
        """
        orientation = Orientation.of(picture)
        height, width = self._size_hw[::-1] if orientation.swap else self._size_hw
        try:
            rgb = self._reformatter.reformat(picture, width=width, height=height, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(
                f"{self._name}: its pixels ({picture.format.name}, colour space {picture.colorspace}) cannot be turned "
                "into RGB; check that the file is whole, or convert it to a usual pixel format"
            ) from error
        return orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


def _duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _starts_decoding(picture: av.VideoFrame) -> bool:
    """A key frame by itself: streams of gradual refresh call predicted frames keys, whose neighbours are not exact."""
    return bool(picture.key_frame) and picture.pict_type == PictureType.I
