"""The reader of films, with PyAV: a video file, a GIF, or another animation that FFmpeg reads.

Pixels come as they are stored. Pixels that are not square stay so.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from model.media.errors import MediaError
from model.media.film_files import (
    MAX_PIXELS,
    can_share_frames,
    choose_stream,
    num_frames_listed,
    open_container,
    refuse_large_frames,
    set_up_decoder,
)
from model.media.film_listing import listed_frames
from model.media.film_pictures import FilmPicture, RgbConverter
from model.media.film_remarks import Claims, Reading
from model.media.film_times import PresentationClock
from model.media.formats import has_times
from model.media.rationals import exact
from model.media.raw_frames import Display, RawFrame, VideoInfo
from model.media.sources import OpenFile
from model.media.watched_file import WatchedFile
from model.pixels.orientation import Orientation

_MAX_DEMUX_ERRORS = 16  # after so many errors in a row the rest of a file is given up
_MAX_SEEK_SECONDS = 4e9  # later than any clock says, and small enough for 64 bits in any time base
_UNKNOWN_STEP_SECONDS = Fraction(1, 25)  # between frames of a file that says neither times nor a rate
_EVEN_SHARE = Fraction(1, 100)  # a rate of 30 and one of 29.97 are both told of films that come evenly
_MAX_FRAMES_WITHOUT_TIME = 64  # a file whose first 64 frames say no time has none


class FilmReader:
    """A video file or an animation.

    Every picture that the decoder gives is a frame, also one of damaged data, because FFmpeg's tools and OpenCV number
    frames this way. A video that is whole gives the same frames for any number of threads. Threads change what a
    decoder makes of a damaged frame whose slices or rows they share.
    """

    def __init__(self, name: str, open_file: OpenFile, num_threads: int = 1, *, max_pixels: int = MAX_PIXELS) -> None:
        """`max_pixels`: of a frame. A larger frame is refused before memory is taken for it."""
        self._name = name
        self._open_file = open_file
        self._num_threads = num_threads
        self._max_pixels = max_pixels
        self._missing = ""
        self._may_share_frames = num_threads > 1

    def remarks(self) -> tuple[str, ...]:
        """See `Reader`: what is missing, once the film was read from its start to its end."""
        return (self._missing,) if self._missing else ()

    def info(self) -> VideoInfo:
        """See `Reader`."""
        with closing(self._open()) as file, closing(open_container(self._name, file)) as container:
            stream = self._stream(container)
            pictures = self._timed(file, container, stream, Reading())
            first, start = next(pictures, (None, None))
            if first is None:
                raise MediaError(
                    f"{self._name}: no frame could be decoded; check that the file is whole, and that a frame has no "
                    f"more than {self._max_pixels} pixels"
                )
            if start is None and has_times(container.format.name):
                others = (time for _, time in islice(pictures, _MAX_FRAMES_WITHOUT_TIME - 1) if time is not None)
                start = next(others, None)
            return VideoInfo(
                display=_display(first, stream),
                fps=float(rate) if (rate := exact(stream.average_rate)) else None,
                duration_seconds=_duration_seconds(container, stream),
                num_frames_claimed=stream.frames or None,
                start_seconds=start,
                format=container.format.name,
                codec=stream.codec_context.name,
                claims=_claims(container, stream),
            )

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`."""
        num_given = 0
        if self._may_share_frames:
            # What a decoder makes of damage depends on its threads. From the first damaged frame on, it has those that
            # share slices.
            with closing(self._read(seek_seconds, may_share_frames=True)) as raws:
                for raw in raws:
                    if raw is None:
                        break
                    yield raw
                    num_given += 1
                else:
                    return
        with closing(self._read(seek_seconds)) as raws:
            for number, raw in enumerate(raws):
                if number >= num_given and raw is not None:
                    yield raw

    def _read(
        self, seek_seconds: float | None, *, may_share_frames: bool = False
    ) -> Generator[RawFrame | None, None, None]:
        """Frames. Where threads share them, `None` in place of the first one that may be damaged, and no more."""
        with closing(self._open()) as file, closing(open_container(self._name, file)) as container:
            stream = self._stream(container)
            shares_frames = may_share_frames and can_share_frames(container, stream)
            if shares_frames:
                set_up_decoder(stream, self._num_threads, self._max_pixels, shares_frames=True)
            if seek_seconds is not None:
                self._seek(file, container, stream, seek_seconds)
            converter = RgbConverter(self._name)
            reading = Reading()
            for picture, time in self._timed(file, container, stream, reading):
                if shares_frames and (picture.is_corrupt or reading.num_lost):
                    yield None
                    return
                is_key = time is not None and _starts_decoding(picture)
                yield RawFrame(time, is_key, FilmPicture(picture, converter), is_damaged=picture.is_corrupt)
            if shares_frames and (reading.num_lost or reading.num_frames < reading.num_packets):
                self._may_share_frames = False  # or each reading of a film that has fewer frames would be made twice
                yield None
                return
            if seek_seconds is None:
                self._missing = reading.what_is_missing(_claims(container, stream))

    def listed(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`."""
        with closing(self._open()) as file, closing(open_container(self._name, file)) as container:
            stream = self._stream(container)
            if seek_seconds is not None:
                self._seek(file, container, stream, seek_seconds)
            yield from listed_frames(container, stream, file.raise_failure)

    def _open(self) -> WatchedFile:
        return WatchedFile(self._name, self._open_file)

    def _stream(self, container: InputContainer) -> VideoStream:
        stream = choose_stream(self._name, container)
        refuse_large_frames(self._name, stream.width, stream.height, self._max_pixels)
        set_up_decoder(stream, self._num_threads, self._max_pixels)
        return stream

    def _seek(self, file: WatchedFile, container: InputContainer, stream: VideoStream, seconds: float) -> None:
        """Move before `seconds`. A container that cannot seek stays at its start, which is before `seconds` too."""
        time_base = exact(stream.time_base)
        if time_base is None:
            return
        seconds = min(max(seconds, -_MAX_SEEK_SECONDS), _MAX_SEEK_SECONDS)
        try:
            container.seek(round(seconds / time_base), stream=stream, backward=True)
        except av.FFmpegError:
            file.raise_failure()

    def _timed(
        self, file: WatchedFile, container: InputContainer, stream: VideoStream, reading: Reading
    ) -> Iterator[tuple[av.VideoFrame, float | None]]:
        """Pictures in presentation order, and their times in seconds."""
        # The stream's time base, because frames that the decoder hands out at the end of a file lack their own.
        time_base = exact(stream.time_base)
        clock = PresentationClock(0 if time_base is None else round(_step_seconds(stream) / time_base))
        for picture in self._decode(file, container, stream, reading):
            units = clock.time_of(picture.pts, picture.dts, picture.duration)
            is_timed = has_times(container.format.name)
            time = float(units * time_base) if is_timed and units is not None and time_base is not None else None
            reading.note(time)
            yield picture, time

    def _decode(
        self, file: WatchedFile, container: InputContainer, stream: VideoStream, reading: Reading
    ) -> Iterator[av.VideoFrame]:
        """Pictures in presentation order. Packets that give none because of damage are counted."""
        for packet in self._packets(file, container, stream):
            reading.num_packets += packet is not None
            try:
                pictures = stream.decode(packet)
            except av.FFmpegError:
                file.raise_failure()
                reading.num_lost += 1
                continue
            yield from pictures
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


def _display(first: av.VideoFrame, stream: VideoStream) -> Display:
    orientation = Orientation.of(first)
    aspect = float(exact(stream.sample_aspect_ratio) or 1)
    return Display(orientation.size_hw(first), first.rotation, 1 / aspect if orientation.swap else aspect)


def _step_seconds(stream: VideoStream) -> Fraction:
    rate = exact(stream.average_rate) or exact(stream.guessed_rate)
    return 1 / rate if rate else _UNKNOWN_STEP_SECONDS


def _has_even_rate(stream: VideoStream) -> bool:
    """Whether the frames of a second are about as many as the shortest of them allow. Where nothing tells, they are."""
    average, base = exact(stream.average_rate), exact(stream.base_rate)
    return not average or not base or abs(average / base - 1) <= _EVEN_SHARE


def _claims(container: InputContainer, stream: VideoStream) -> Claims:
    num_frames = num_frames_listed(container, stream) or None
    return Claims(
        num_frames, _duration_seconds(container, stream), float(_step_seconds(stream)), _has_even_rate(stream)
    )


def _duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    time_base = exact(stream.time_base)
    if stream.duration is not None and time_base is not None:
        return float(stream.duration * time_base)
    return container.duration / av.time_base if container.duration else None


def _starts_decoding(picture: av.VideoFrame) -> bool:
    """Whether decoding can begin at a frame: a key frame that is coded without others.

    Streams with gradual refresh mark predicted frames as keys, too; what is decoded from those on is not exact.
    """
    return bool(picture.key_frame) and picture.pict_type == PictureType.I
