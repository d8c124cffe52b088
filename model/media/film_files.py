"""Opening a film with FFmpeg: the formats that are let in, the stream that is read, and the limits of its decoder.

FFmpeg is given files that were opened elsewhere, never names, and only formats of `VIDEO_FORMATS`. A text file that
says `ffconcat`, or a playlist, would make FFmpeg open other files of this machine.
"""

from __future__ import annotations

import errno
from typing import Any, cast

import av
from av.container import InputContainer
from av.container.core import Flags
from av.stream import Disposition
from av.video.stream import VideoStream

from model.media.errors import MediaError
from model.media.formats import VIDEO_FORMATS
from model.media.watched_file import WatchedFile

MAX_PIXELS = 1 << 27
"""Of a frame. A larger frame is refused before memory is taken for it."""

_GEN_PTS = cast(int, Flags.gen_pts.value)
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails
_FORMATS_WITH_TIMES = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
_SHARED_CODECS = {"h264", "hevc"}
_DEFAULT_BONUS_PIXELS = 5_000_000
# PyAV 18 raises for titles that are no UTF-8, unless it is told what to do with them. PyAV 19, which pip installs from
# Python 3.12 on, keeps their bytes and takes no such argument.
_ANY_TITLES: dict[str, Any] = {"metadata_errors": "replace"} if av.__version__.startswith("18.") else {}


def open_container(name: str, file: WatchedFile) -> InputContainer:
    """A file as FFmpeg's demuxer sees it. Raises `MediaError` for what is no video; errors of storage pass through."""
    try:
        container: InputContainer = av.open(file, "r", options={"format_whitelist": VIDEO_FORMATS}, **_ANY_TITLES)
    except av.FFmpegError as error:
        file.raise_failure()
        raise MediaError(f"{name}: {_refusal(error)}") from error
    # PyAV asks for presentation times to be made up where a file has none. They would be those of the wrong frames.
    container.flags &= ~_GEN_PTS
    return container


def _refusal(error: av.FFmpegError) -> str:
    if error.errno == errno.EINVAL:  # FFmpeg knows the format, and it is none of `VIDEO_FORMATS`
        return "is of a format that is not read; convert it to a usual one, for instance MP4 or PNG"
    return (
        f"is not a video or image that can be read ({error.strerror}); check that the file is whole and of a usual "
        "format"
    )


def choose_stream(name: str, container: InputContainer) -> VideoStream:
    """The stream that the `ffmpeg` command takes of a file with several.

    It is the largest one, or one that is marked as the default and not much smaller. Covers and thumbnails are no
    films. Raises `MediaError` for a file without a film.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & _NO_FILM]
    if not films:
        raise MediaError(f"{name}: has no video stream; give a file with pictures")
    stream = max(films, key=_preference)
    if stream.codec_context is None:
        raise MediaError(f"{name}: its video is of an unknown codec; convert it, for instance to H.264")
    return stream


def refuse_large_frames(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raise `MediaError` for a size above the limit, as far as the file says it before a frame is decoded."""
    if width * height > max_pixels:
        raise MediaError(
            f"{name}: its frames of {width} × {height} pixels are larger than the limit of {max_pixels} pixels "
            "(max_pixels); scale or crop it"
        )


def can_share_frames(container: InputContainer, stream: VideoStream) -> bool:
    """Whether each of several threads may decode a frame of its own, and still gives whole frames as one thread does.

    A frame of such a decoder does not say which packet it is from, so it must have a time of its own. When a decoder
    is closed early, its threads may write to the log: if Python is called for that, they wait for the thread that
    closes it, for ever. PyAV calls Python once somebody has set its level.
    """
    is_known = container.format.name in _FORMATS_WITH_TIMES and stream.codec_context.name in _SHARED_CODECS
    return is_known and av.logging.get_level() is None


def set_up_decoder(stream: VideoStream, num_threads: int, max_pixels: int, *, shares_frames: bool = False) -> None:
    """Threads, and the limit of pixels, which the decoder holds where the container does not say a size.

    The threads share the slices of each frame, or with `shares_frames` the frames.
    """
    stream.thread_type = "FRAME" if shares_frames else "SLICE"
    stream.codec_context.thread_count = num_threads
    options = {"max_pixels": str(max_pixels)}
    if stream.codec_context.name == "libdav1d":  # the library of AV1 has threads of its own
        options["max_frame_delay"] = "1"
    stream.codec_context.options = options


def num_frames_listed(container: InputContainer, stream: VideoStream) -> int:
    """How many frames the index of a file lists to be shown, or else how many its header claims; 0 = no claim.

    An edited MP4 keeps frames that are not shown, and cameras write empty chunks into an AVI for frames that they drop.
    """
    entries = list(stream.index_entries)
    if not stream.frames or not entries or not _is_complete(entries[-1].timestamp, container, stream):
        return stream.frames
    return min(stream.frames, sum(entry.size > 0 and not entry.is_discard for entry in entries))


def _is_complete(last_timestamp: int, container: InputContainer, stream: VideoStream) -> bool:
    """Whether an index was written when the file was finished, and not built while what is left of it was read."""
    if container.format.name.startswith("mov"):
        return True
    return stream.duration is not None and last_timestamp + 1 >= stream.duration


def _preference(stream: VideoStream) -> int:
    is_default = bool(stream.disposition & Disposition.default)
    # Of a stream whose codec is unknown PyAV says no size. Another one must not be taken in its place without a word.
    if stream.codec_context is None:
        return MAX_PIXELS
    return stream.width * stream.height + _DEFAULT_BONUS_PIXELS * is_default
