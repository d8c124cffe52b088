"""The reader of films, with PyAV: a video file, a GIF, for now an image too.

FFmpeg is given files that were opened elsewhere, never names, and only formats of `VIDEO_FORMATS`. A text file that
says `ffconcat`, or a playlist, would make FFmpeg open other files of this machine.

Pixels come as they are stored. Pixels that are not square stay so.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import PictureType
from av.video.stream import VideoStream

from model.media.errors import MediaError
from model.media.film_pictures import FilmPicture, RgbConverter
from model.media.formats import VIDEO_FORMATS, has_times
from model.media.raw_frames import RawFrame, VideoInfo
from model.media.sources import OpenFile
from model.media.watched_file import WatchedFile
from model.pixels.orientation import Orientation

MAX_PIXELS = 1 << 27  # of a frame; a larger frame is refused before memory is taken for it
_MAX_DEMUX_ERRORS = 16  # after so many errors in a row the rest of a file is given up
_MAX_SEEK_SECONDS = 4e9  # later than any clock says, and small enough for 64 bits in any time base
_UNKNOWN_STEP_SECONDS = 0.04  # between frames of a file that says neither times nor a rate


class FilmReader:
    """A video file, an image or a GIF.

    A video that is whole gives the same frames for any number of threads. Threads change what a decoder makes of a
    damaged frame whose slices or rows they share.
    """

    def __init__(self, name: str, open_file: OpenFile, num_threads: int = 1) -> None:
        self._name = name
        self._open_file = open_file
        self._num_threads = num_threads
        self.num_damaged = 0

    def remarks(self) -> tuple[str, ...]:
        """See `Reader`."""
        plural = "" if self.num_damaged == 1 else "s"
        return (f"left out: {self.num_damaged} damaged frame{plural}",) if self.num_damaged else ()

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
                has_times=first.pts is not None and has_times(container.format.name),
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
            step = 1 / float(rate) if rate else _UNKNOWN_STEP_SECONDS
            # The stream's time base, because frames that the decoder hands out at the end of a file lack their own.
            time_base = stream.time_base
            pts_seconds = -step
            converter = RgbConverter(self._name)
            for picture in self._decode(file, container, stream):
                if picture.pts is None or time_base is None:
                    pts_seconds += step
                    yield RawFrame(pts_seconds, False, FilmPicture(picture, converter))
                else:
                    pts_seconds = float(picture.pts * time_base)
                    yield RawFrame(pts_seconds, _starts_decoding(picture), FilmPicture(picture, converter))

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
                # Threads for slices only: threads for frames hold frames back, and can hang when decoding stops early
                # in a process with torch.
                stream.thread_type = "SLICE"
                stream.codec_context.thread_count = self._num_threads
                if stream.codec_context.name == "libdav1d":  # the library of AV1 has threads of its own
                    stream.codec_context.options = {"max_frame_delay": "1"}
                return stream
        raise MediaError(f"{self._name}: has no video stream; give a file with pictures")

    def _seek(self, file: WatchedFile, container: InputContainer, stream: VideoStream, seconds: float) -> None:
        """Move before `seconds`. A container that cannot seek stays at its start, which is before `seconds` too."""
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
        """Up to `limit` whole frames in presentation order. Damaged ones are left out and counted."""
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
        """Packets until the end or 16 errors in a row, then `None`, which makes the decoder hand out what it holds."""
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


def _duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _starts_decoding(picture: av.VideoFrame) -> bool:
    """Whether decoding can begin at a frame: a key frame that is coded without others.

    Streams with gradual refresh mark predicted frames as keys, too; what is decoded from those on is not exact.
    """
    return bool(picture.key_frame) and picture.pict_type == PictureType.I
