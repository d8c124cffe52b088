"""Films of every kind, held against the `ffmpeg` command and OpenCV: how many frames, when, and in which colors.

A film is drawn for each row: container, codec, rate, first time, order of coding, rotation, range and matrix of colors,
depth and layout of pixels. The command comes with a package, so no row is ever skipped.
"""

from __future__ import annotations

import io
import os
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from model import load_video
from model.media.films import FilmReader
from pipeline.arrays import UInt8Array
from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.films import Film, Look, drawn
from tests.support.judges import judge, opencv_count
from tests.support.media_files import item

pytestmark = pytest.mark.slow

NTSC, FILM_RATE = Fraction(30000, 1001), Fraction(24000, 1001)
VARIABLE = (0, 1, 2, 5, 6, 7, 8, 14, 15, 16, 17, 30, 31, 32, 33, 34)
OPEN = (("bf", "3"), ("g", "6"), ("x264-params", "open-gop=1:scenecut=0:b-pyramid=0"))
NONE: tuple[tuple[str, str], ...] = ()
BFRAMES = (("bf", "2"), ("g", "5"))

FILMS = [
    # Containers, rates and times. Matroska, WebM and FLV round times to milliseconds.
    Film(),
    Film(rate=NTSC, start=2.0, options=BFRAMES),
    Film(rate=FILM_RATE, options=OPEN),
    Film(times=VARIABLE, options=BFRAMES),
    Film("mov", rate=Fraction(50)),
    Film("matroska", rate=Fraction(30), options=BFRAMES),
    Film("matroska", rate=Fraction(24)),
    Film("matroska", rate=NTSC, start=1000.0, options=OPEN),
    Film("matroska", rate=Fraction(30), times=VARIABLE),
    Film("webm", "libvpx", rate=Fraction(30), options=NONE),
    Film("webm", "libvpx-vp9", rate=FILM_RATE, options=(("deadline", "realtime"),)),
    Film("webm", "libsvtav1", options=(("preset", "12"),)),
    Film("flv", rate=Fraction(30), options=BFRAMES),
    Film("mpegts", rate=FILM_RATE, start=1.6, options=BFRAMES),
    Film("mpegts", start=95000.0, options=OPEN),
    Film("mpegts", "mpeg2video", rate=Fraction(25), options=BFRAMES),
    Film("mpeg", "mpeg2video", rate=NTSC, options=BFRAMES),
    Film("avi"),
    Film("avi", options=BFRAMES),
    Film("avi", options=(("bf", "3"), ("g", "99"))),
    Film("avi", "mpeg4", rate=NTSC, options=BFRAMES),
    Film("avi", "mjpeg", pix_fmt="yuvj420p", options=NONE),
    Film("asf", "wmv2", options=NONE),
    Film("ivf", "libvpx", options=NONE),
    Film("mxf", "mpeg2video", rate=Fraction(25), options=NONE),
    Film("h264", options=BFRAMES),
    Film("hevc", "libx265", options=(("x265-params", "log-level=none:pools=none"),)),
    Film("mpeg2video", "mpeg2video", rate=Fraction(25), options=BFRAMES),
    Film("yuv4mpegpipe", "rawvideo", options=NONE),
    Film("gif", "gif", pix_fmt="rgb8", options=NONE),
    Film("apng", "apng", pix_fmt="rgb24", options=NONE),
    # Looks.
    *(Film(look=Look(rotation=turn)) for turn in (90, 180, 270)),
    Film("matroska", look=Look(rotation=90)),
    Film("mov", "mpeg4", look=Look(rotation=-90, aspect=Fraction(4, 3)), options=NONE),
    Film(look=Look(aspect=Fraction(4, 3))),
    Film(look=Look(color_range=ColorRange.JPEG)),
    Film(look=Look(color_range=ColorRange.MPEG, colorspace=Colorspace.ITU709)),
    Film("matroska", "libx265", look=Look(colorspace=9), options=(("x265-params", "log-level=none:pools=none"),)),
    # Depths and layouts of pixels.
    Film("matroska", "ffv1", pix_fmt="gray", options=NONE),
    Film("matroska", "ffv1", pix_fmt="gray10le", options=NONE),
    Film("matroska", "ffv1", pix_fmt="bgra", options=NONE),
    Film("matroska", "ffv1", pix_fmt="yuv444p16le", options=NONE),
    Film("matroska", "ffv1", pix_fmt="gbrp12le", options=NONE),
    Film("mov", "prores_ks", pix_fmt="yuv422p10le", options=NONE),
    Film("mov", "png", pix_fmt="rgb48be", options=NONE),
    Film(pix_fmt="yuv420p10le"),
    Film(pix_fmt="yuv444p"),
    Film(codec="libx265", pix_fmt="yuv420p10le", options=(("x265-params", "log-level=none:pools=none"),)),
    Film("webm", "libvpx-vp9", pix_fmt="yuva420p", options=(("deadline", "realtime"),)),
]
WITHOUT_TIMES = {"h264", "hevc"}
# The films whose frames are counted without decoding: H.264 in MP4 and Matroska.
LISTED = [film for film in FILMS if film.codec == "libx264" and film.container in ("mp4", "mov", "matroska")]
NOT_FOR_OPENCV = {"libsvtav1"}  # its decoder needs hardware


@pytest.fixture(params=FILMS, ids=str)
def film(request: pytest.FixtureRequest) -> Film:
    chosen: Film = request.param
    return chosen


@pytest.fixture
def path(film: Film, tmp_path: Path) -> Path:
    file = tmp_path / f"film.{film.container}"
    file.write_bytes(drawn(film))
    return file


def read(path: Path) -> tuple[list[float | None], UInt8Array]:
    """Times and pixels of the frames of a job."""
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        pixels = np.stack([frame.pixels_HW3.numpy() for frame in frames.forward(0)])
        return [frames.position(index).pts_seconds for index in range(len(pixels))], pixels


def blocks(frames_THW3: UInt8Array) -> UInt8Array:
    """Blocks of 8 x 8 pixels: `[N, 64, 3]`."""
    num_frames, height, width, _ = frames_THW3.shape
    parts = frames_THW3.reshape(num_frames, height // 8, 8, width // 8, 8, 3).swapaxes(2, 3)
    return parts.reshape(-1, 64, 3)


def color_difference(frames_THW3: UInt8Array, expected_THW3: UInt8Array) -> float:
    """The largest difference of colors in blocks of one color. At edges chroma is spread in one way or another."""
    if np.array_equal(frames_THW3, expected_THW3):
        return 0.0
    plain = np.ptp(blocks(expected_THW3), axis=1).max(axis=-1) <= 6
    assert plain.mean() > 0.2
    colors, expected = (np.median(blocks(frames)[plain], axis=1) for frames in (frames_THW3, expected_THW3))
    return float(np.abs(colors - expected).max())


def taken(path: Path, selection: FrameSelection) -> list[float]:
    """Times of the labeled frames."""
    with open_media(item(path)) as media, VideoFrames(media, selection) as frames:
        return [frames.position(index).pts_seconds or 0.0 for index in range(frames.length_up_to(99))]


def test_a_job_has_the_frames_that_ffmpeg_shows(film: Film, path: Path) -> None:
    judged = judge(path)
    times, pixels = read(path)
    assert len(times) == len(judged) == len(film.times)
    assert pixels.shape == judged.frames_THW3.shape
    assert color_difference(pixels, judged.frames_THW3) <= 3
    listed = [frame.pts_seconds for frame in FilmReader("film", partial(io.FileIO, path)).listed()]
    assert listed == (times if film in LISTED else [])
    if film.container in WITHOUT_TIMES:
        assert times == [None] * len(judged)
    else:
        # Of a raw stream ffprobe says that it starts at one frame's time, and the command begins it at 0.
        shift = judged.times[0] - (times[0] or 0.0) if film.container == "mpeg2video" else 0.0
        assert [(time or 0.0) + shift for time in times] == pytest.approx(judged.times, abs=1e-9)
    if film.codec not in NOT_FOR_OPENCV:
        assert opencv_count(path) == len(times)


def test_the_documented_call_has_the_frames_of_the_job(path: Path) -> None:
    loaded, metadata = load_video(path)
    _, pixels = read(path)
    assert np.array_equal(loaded, pixels)
    assert (metadata.total_num_frames, metadata.height, metadata.width) == pixels.shape[:3]


def rounded(seconds: float) -> list[float]:
    """A time as tables hold it."""
    return [
        seconds,
        float(np.float32(seconds)),
        round(seconds, 3),
        np.nextafter(seconds, 1e9),
        np.nextafter(seconds, -1),
    ]


def test_times_of_a_table_mean_the_frames_of_the_file(film: Film, path: Path) -> None:
    """Two episodes that meet at a frame have each frame once; a prompt by time is on its frame; the rate takes all."""
    if film.container in WITHOUT_TIMES:
        return
    times = [time or 0.0 for time in read(path)[0]]
    for bound in rounded(times[7]):
        assert taken(path, FrameSelection(end_seconds=bound)) == pytest.approx(times[:7], abs=1e-9)
        assert taken(path, FrameSelection(start_seconds=bound)) == pytest.approx(times[7:], abs=1e-9)
    prompted = [FramePosition(None, bound) for time in times for bound in rounded(time)]
    with open_media(item(path)) as media, VideoFrames(media, prompted=prompted) as frames:
        assert [frames.locate(position) for position in prompted] == [n for n in range(len(times)) for _ in range(5)]
    if film.times != VARIABLE:
        assert taken(path, FrameSelection(fps=float(film.rate))) == pytest.approx(times, abs=1e-9)
        assert len(taken(path, FrameSelection(fps=float(film.rate) / 2))) == len(times) // 2


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux tells how a process is scheduled")
def test_whoever_draws_films_is_scheduled_as_before() -> None:
    before = os.sched_getscheduler(0)
    drawn.__wrapped__(Film("webm", "libsvtav1", options=(("preset", "12"),)))
    assert os.sched_getscheduler(0) == before
