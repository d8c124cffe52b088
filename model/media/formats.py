"""What differs between file formats. A new format that FFmpeg reads is added here, one of pictures in `signatures` too.

A format goes by the name of FFmpeg's demuxer for it, as in `mpegts` or `png_pipe`.
"""

from __future__ import annotations

# What FFmpeg may read. Pictures are read by Pillow; `png_pipe` and `jpeg_pipe` are pictures that follow each other.
VIDEO_FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,ivf,obu,h264,hevc,m4v,mjpeg,yuv4mpegpipe,dv,nut,"
    "gif,apng,png_pipe,jpeg_pipe"
)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    *(".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
"""Names of files that count as frames in a folder of images, in lower case."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".flv", ".f4v", ".ogv", ".ogg"),
    *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".mod", ".wmv", ".asf", ".mxf"),
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".ivf", ".obu", ".mjpeg", ".mjpg", ".y4m", ".gif", ".apng"),
    *(".dv", ".nut"),
)
"""Names of files that count as videos in a folder of videos, in lower case."""

# The frames of MPEG-PS get other times when decoding does not begin at the start.
_DECODED_FROM_START = {"mpeg"}
_JOINED_WITHOUT_INDEX = {"mpegts", "ogg", "flv"}


def has_times(format_name: str) -> bool:
    """Whether the frames of a format can have times. Still images have none."""
    return not format_name.endswith("_pipe")


def clock_may_restart(format_name: str) -> bool:
    """Whether files may be pieces that were joined, with clocks of their own and without an index of the whole.

    A seek to a time leads to one or another of the pieces then.
    """
    return format_name in _JOINED_WITHOUT_INDEX


def can_seek(format_name: str) -> bool:
    """Whether decoding may begin at a key frame in the middle and still gives each frame the same time."""
    return format_name not in _DECODED_FROM_START
