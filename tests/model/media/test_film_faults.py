"""Files as cameras, cutters and broken downloads leave them, held against the `ffmpeg` command."""

from __future__ import annotations

import io
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from model import MediaError, Sam2VideoProcessor, load_video
from model.media.film_files import MAX_PIXELS
from model.media.films import FilmReader
from model.media.raw_frames import VideoInfo
from pipeline.arrays import UInt8Array
from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.films import Film, Look, drawn, drawn_of, picture
from tests.support.judges import ffmpeg, judge, opencv_count
from tests.support.media_files import item, media_of, with_edit_list

pytestmark = pytest.mark.slow

CLOSED = Film(options=(("bf", "0"), ("g", "8"), ("qp", "12")))
NONE: tuple[tuple[str, str], ...] = ()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def job_frames(path: Path) -> tuple[list[float | None], UInt8Array, tuple[str, ...]]:
    """Times, pixels and remarks of a job."""
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        pixels = np.stack([frame.pixels_HW3.numpy() for frame in frames.forward(0)])
        return [frames.position(index).pts_seconds for index in range(len(pixels))], pixels, frames.remarks()


def assert_as_ffmpeg(path: Path, damaged: range = range(0)) -> tuple[str, ...]:
    """The job and the documented call have the frames that `ffmpeg` shows. Returns the job's remarks.

    What stands for damaged pixels depends on the number of threads.
    """
    judged = judge(path)
    times, pixels, remarks = job_frames(path)
    assert times == pytest.approx(judged.times, abs=1e-9)
    whole = [number for number in range(len(times)) if number not in damaged]
    assert np.array_equal(pixels[whole], judged.frames_THW3[whole])
    assert np.array_equal(load_video(path)[0], pixels)
    return remarks


# Damage


def with_damage(data: bytes, packet: int, share: float = 0.5, num_bytes: int = 12) -> bytes:
    """The file with bytes of a packet overwritten."""
    with av.open(io.BytesIO(data)) as container:
        packets = [one for one in container.demux(video=0) if one.size]
    start = (packets[packet].pos or 0) + int(packets[packet].size * share)
    return data[:start] + b"\x5a" * num_bytes + data[start + num_bytes :]


def test_a_damaged_frame_keeps_its_number_and_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "one.mp4", with_damage(drawn(CLOSED), 5, share=0.4))
    assert assert_as_ffmpeg(path, range(5, 8)) == ("1 damaged frame, labeled all the same: frame 5",)
    assert opencv_count(path) == 16
    with open_media(item(path)) as media, VideoFrames(media, prompted=[FramePosition(9, None)]) as frames:
        (found,) = frames.at([9])
        assert float(np.abs(found.pixels_HW3.numpy().astype(int) - picture(9)).mean()) < 6


def test_the_documented_call_tells_which_frame_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "one.mp4", with_damage(drawn(CLOSED), 5, share=0.4))
    with caplog.at_level(logging.WARNING):
        load_video(path)
    assert [record.getMessage() for record in caplog.records] == [f"video {path}: frame 5 is damaged"]


def test_a_bad_macroblock_costs_no_frame(tmp_path: Path) -> None:
    film = Film("avi", "mpeg4", options=(("g", "8"), ("bf", "0")))
    path = written(tmp_path / "one.avi", with_damage(drawn(film), 5))
    assert assert_as_ffmpeg(path, range(5, 8)) == ("1 damaged frame, labeled all the same: frame 5",)


def test_frames_that_the_decoder_gives_up_are_said_to_be_missing(tmp_path: Path) -> None:
    film = Film(codec="libx265", options=(("x265-params", "keyint=8:log-level=none:pools=none"),))
    data = drawn(film)
    path = written(tmp_path / "lost.mp4", with_damage(data, 6, share=0.0, num_bytes=4))
    (remark,) = assert_as_ffmpeg(path)
    assert remark.startswith(f"{len(judge(path))} of 16 frames could be read; the file is damaged, cut off")


def half_downloaded(folder: Path) -> Path:
    """A film of 40 frames, made for the web, of which the last part is lacking."""
    whole = written(folder / "whole.mp4", drawn(Film(options=CLOSED.options, times=tuple(range(40)))))
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "faststart", folder / "fast.mp4")
    data = (folder / "fast.mp4").read_bytes()
    return written(folder / "half.mp4", data[: len(data) * 3 // 4])


def test_half_a_download_says_how_many_frames_it_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = half_downloaded(tmp_path)
    with caplog.at_level(logging.WARNING):
        (remark,) = assert_as_ffmpeg(path)
    num_read = len(judge(path))
    assert 20 < num_read < 40
    assert remark.startswith(f"{num_read} of 40 frames could be read")
    assert f"half.mp4: {remark}" in caplog.text


def test_half_a_download_says_so_also_where_no_pass_has_read_all_of_it(tmp_path: Path) -> None:
    path = half_downloaded(tmp_path)
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        num_later = len(list(frames.forward(20)))
        assert frames.remarks() == (
            f"{20 + num_later} of 40 frames could be read; the file is damaged, cut off, or claims too many",
        )


@pytest.mark.parametrize("container", ["matroska", "flv"])
def test_half_a_file_without_a_count_says_that_it_is_shorter_than_it_claims(tmp_path: Path, container: str) -> None:
    data = drawn(Film(container, options=CLOSED.options, times=tuple(range(40))))
    path = written(tmp_path / f"half.{container}", data[: len(data) // 2])
    (remark,) = assert_as_ffmpeg(path)
    assert "s, the file claims 4" in remark


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "mpegts", "flv", "h264"])
def test_a_whole_file_has_no_remark(tmp_path: Path, container: str) -> None:
    path = written(tmp_path / f"whole.{container}", drawn(Film(container, options=(("bf", "2"), ("g", "6")))))
    assert job_frames(path)[2] == ()


def test_frames_that_an_edit_does_not_show_are_not_missing() -> None:
    data = with_edit_list(drawn(Film(times=tuple(range(20)), options=(("bf", "2"), ("g", "99")))), 0.75, 1.0)
    with VideoFrames(media_of(data)) as frames:
        assert frames.length_up_to(99) == 10
        assert frames.remarks() == ()


def test_empty_chunks_of_an_avi_are_no_missing_frames(tmp_path: Path) -> None:
    film = Film("avi", "mpeg4", times=(0, 1, 2, 3, 6, 7, 8, 12, 13, 14), options=(("g", "4"), ("bf", "0")))
    path = written(tmp_path / "trail.avi", drawn(film))
    assert assert_as_ffmpeg(path) == ()


def test_half_an_avi_says_how_many_frames_it_holds(tmp_path: Path) -> None:
    data = drawn(Film("avi", "mpeg4", options=(("g", "4"), ("bf", "0"))))
    path = written(tmp_path / "half.avi", data[: (len(data) + data.index(b"movi")) // 2])
    (remark,) = assert_as_ffmpeg(path)
    assert remark.startswith(f"{len(judge(path))} of 16 frames could be read")


# Times


def test_times_are_those_of_presentation_where_the_file_has_none(tmp_path: Path) -> None:
    path = written(tmp_path / "b.avi", drawn(Film("avi", options=(("bf", "3"), ("g", "99")))))
    judged = judge(path)
    assert judged.times == sorted(judged.times)
    assert_as_ffmpeg(path)


def cut_without_key(folder: Path) -> Path:
    """A Matroska file whose first frames are of times before 0, which it cannot say."""
    source = written(folder / "source.mkv", drawn(Film("matroska", times=tuple(range(24)), options=(("g", "12"),))))
    ffmpeg("-ss", "0.75", "-i", source, "-c", "copy", "-avoid_negative_ts", "disabled", folder / "cut.mkv")
    return folder / "cut.mkv"


def test_first_frames_without_times_leave_the_others_theirs(tmp_path: Path) -> None:
    path = cut_without_key(tmp_path)
    judged = judge(path)
    times, pixels, _ = job_frames(path)
    assert len(times) == len(judged) == 24
    assert np.array_equal(pixels, judged.frames_THW3)
    known = [number for number, time in enumerate(times) if time is not None]
    assert 0 < known[0] < 12
    assert known == list(range(known[0], 24))
    assert [times[number] for number in known] == pytest.approx([0.05 + step / 10 for step in range(len(known))])


def test_first_frames_without_times_are_taken_by_a_rate_and_left_out_by_a_range(tmp_path: Path) -> None:
    path = cut_without_key(tmp_path)
    num_unknown = job_frames(path)[0].count(None)
    with open_media(item(path)) as media, VideoFrames(media, FrameSelection(fps=10)) as frames:
        assert frames.length_up_to(99) == 24
    with open_media(item(path)) as media, VideoFrames(media, FrameSelection(start_seconds=0.0)) as frames:
        assert frames.length_up_to(99) == 24 - num_unknown
    prompted = [FramePosition(None, 0.26), FramePosition(None, -3.0)]
    with open_media(item(path)) as media, VideoFrames(media, prompted=prompted) as frames:
        assert [frames.locate(position) for position in prompted] == [num_unknown + 2, None]


# Streams


def with_preview(first: UInt8Array, disposition: Disposition) -> bytes:
    """A film whose first stream is a small preview of one picture after another."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        preview: Any = output.add_stream("mjpeg", rate=10)
        preview.height, preview.width, preview.pix_fmt = *first.shape[:2], "yuvj420p"
        preview.disposition = disposition
        film: Any = output.add_stream("libx264", rate=10)
        film.height, film.width, film.pix_fmt = 48, 64, "yuv420p"
        film.disposition = Disposition.default
        for index in range(8):
            output.mux(preview.encode(av.VideoFrame.from_ndarray(first, format="rgb24")))
            output.mux(film.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        output.mux(preview.encode())
        output.mux(film.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("disposition", [Disposition(0), Disposition.timed_thumbnails | Disposition.attached_pic])
@pytest.mark.parametrize("size_hw", [(24, 32), (96, 128)], ids=["smaller", "larger"])
def test_of_several_streams_the_one_is_read_that_ffmpeg_takes(
    tmp_path: Path, size_hw: tuple[int, int], disposition: Disposition
) -> None:
    path = written(tmp_path / "preview.mp4", with_preview(picture(0, size_hw), disposition))
    assert_as_ffmpeg(path)
    assert job_frames(path)[1].shape == (8, 48, 64, 3)


def test_pixels_that_are_not_square_stay_and_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "wide.mp4", drawn(Film(look=Look(aspect=Fraction(4, 3)))))
    (remark,) = assert_as_ffmpeg(path)
    assert "not square (1.33 times as wide as high)" in remark
    assert "the stored 64 × 48 pixels, which players show as 85 × 48" in remark
    turned = drawn(Film("mov", look=Look(rotation=90, aspect=Fraction(4, 3))))
    assert FilmReader("clip", lambda: io.BytesIO(turned)).info().display.pixel_aspect == pytest.approx(3 / 4)


def test_a_change_of_size_is_told_and_scaled_away(tmp_path: Path) -> None:
    small = Film("mpegts", times=tuple(range(8)), options=(("bf", "0"),))
    large = drawn_of(small, [picture(index, (96, 128)) for index in range(8)])
    path = written(tmp_path / "sizes.ts", drawn(small) + large)
    times, pixels, remarks = job_frames(path)
    judged = judge(path)
    assert times == pytest.approx(judged.times)
    assert pixels.shape == judged.frames_THW3.shape == (16, 48, 64, 3)
    assert "the size changes from 64 × 48 to 128 × 96 at frame 8" in remarks[0]
    assert "steps back" in remarks[1]
    assert np.array_equal(load_video(path)[0], pixels)


# Limits


def png_of(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "png")
    return buffer.getvalue()


def test_a_frame_of_too_many_pixels_is_refused_before_memory_is_taken() -> None:
    side = int(MAX_PIXELS**0.5)
    with pytest.raises(MediaError, match=r"pixels"):
        VideoFrames(media_of(png_of(side + 1, side + 1), "mosaic.png"))


@pytest.mark.parametrize(
    "film",
    [CLOSED, Film("mpegts"), Film("ivf", "libvpx", options=NONE), Film("matroska", "ffv1", options=NONE)],
    ids=str,
)
def test_a_film_of_too_many_pixels_is_refused(film: Film) -> None:
    def info(max_pixels: int) -> VideoInfo:
        return FilmReader("clip", lambda: io.BytesIO(drawn(film)), max_pixels=max_pixels).info()

    assert info(64 * 48).size_hw == (48, 64)
    with pytest.raises(MediaError, match=r"clip: its frames of 64 × 48 pixels are larger than the limit of 3071"):
        info(64 * 48 - 1)


# Two doors, one reader


def latin1_title(folder: Path) -> Path:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as output:
        output.metadata["title"] = "B?renjagd"
        stream: Any = output.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        output.mux(stream.encode())
    assert b"B?renjagd" in buffer.getvalue()
    return written(folder / "title.avi", buffer.getvalue().replace(b"B?renjagd", "Bärenjagd".encode("latin-1")))


def photo(folder: Path) -> Path:
    Image.fromarray(picture(0)).save(folder / "photo.jpg", quality=95)
    return folder / "photo.jpg"


def gif(folder: Path) -> Path:
    return written(folder / "film.gif", drawn(Film("gif", "gif", pix_fmt="rgb8", options=NONE)))


def folder_of_images(folder: Path) -> Path:
    (folder / "images").mkdir()
    for number in range(3):
        Image.fromarray(picture(number)).save(folder / f"images/{number}.png")
    return folder / "images"


@pytest.mark.parametrize("make", [latin1_title, photo, gif, folder_of_images])
def test_what_a_job_reads_the_documented_calls_read_alike(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    _, pixels, _ = job_frames(path)
    assert np.array_equal(load_video(path)[0], pixels)
    session = Sam2VideoProcessor.from_pretrained("mini").init_video_session(video=path)
    assert session.num_frames == len(pixels)


def test_an_unknown_matrix_of_colors_is_named_by_both(tmp_path: Path) -> None:
    path = written(tmp_path / "ictcp.mkv", drawn(Film("matroska", "ffv1", look=Look(colorspace=14), options=NONE)))
    for read in (job_frames, load_video):
        with pytest.raises(MediaError, match=r"ictcp\.mkv: its pixels \(yuv420p, color space 14\) cannot be turned"):
            read(path)


# Kinds of damage in kinds of files


def cut_off(data: bytes) -> bytes:
    return data[: len(data) * 3 // 4]


def cut_on(data: bytes) -> bytes:
    """The file without its first third, as a recording of a broadcast begins."""
    return data[len(data) // 3 :]


def overwritten(data: bytes) -> bytes:
    return with_damage(data, 5)


def with_a_hole(data: bytes) -> bytes:
    """A packet lost: its bytes are zeros."""
    return with_damage(data, 6, share=0.0, num_bytes=4)


DAMAGED = [
    (Film("mpegts", options=CLOSED.options), (cut_off, cut_on, overwritten)),
    (Film("mpegts", options=(("bf", "2"), ("g", "6"))), (cut_off, cut_on, overwritten)),
    (
        Film("mpegts", "mpeg2video", rate=Fraction(25), options=(("g", "6"), ("bf", "2"))),
        (cut_off, cut_on, overwritten),
    ),
    (Film("mpeg", "mpeg2video", rate=Fraction(25), options=(("g", "6"),)), (cut_off, cut_on, overwritten)),
    (Film("matroska", options=(("bf", "2"), ("g", "6"))), (cut_off, overwritten, with_a_hole)),
    (Film("webm", "libvpx-vp9", options=(("deadline", "realtime"), ("g", "6"))), (cut_off, overwritten, with_a_hole)),
    (Film("avi", "mpeg4", options=(("g", "6"),)), (cut_off, overwritten, with_a_hole)),
    (Film("avi", "mjpeg", pix_fmt="yuvj420p", options=NONE), (cut_off, overwritten, with_a_hole)),
    (Film("flv", options=CLOSED.options), (cut_off, overwritten, with_a_hole)),
    (Film("h264", options=CLOSED.options), (cut_off, cut_on)),
    (Film("mp4", options=(("bf", "2"), ("g", "6"))), (overwritten, with_a_hole)),
    (Film("mov", "png", pix_fmt="rgb24", options=NONE), (overwritten, with_a_hole)),
]


@pytest.mark.parametrize(
    ("film", "harm"),
    [pytest.param(film, harm, id=f"{film}-{harm.__name__}") for film, harms in DAMAGED for harm in harms],
)
def test_a_damaged_film_has_the_frames_that_ffmpeg_shows_and_half_a_film_says_so(
    tmp_path: Path, film: Film, harm: Any
) -> None:
    path = written(tmp_path / "film", harm(drawn(film)))
    judged = judge(path)
    times, _, remarks = job_frames(path)
    assert len(times) == len(judged) == len(load_video(path)[0])
    listed = [frame.pts_seconds for frame in FilmReader("film", lambda: path.open("rb", buffering=0)).listed()]
    assert listed == times[: len(listed)]
    if None not in times:
        # A program stream without its beginning is a raw stream, whose first time ffprobe and the command do not share.
        shift = judged.times[0] - (times[0] or 0.0) if film.container == "mpeg" else 0.0
        assert [(time or 0.0) + shift for time in times] == pytest.approx(judged.times, abs=1e-9)
    claims_nothing = film.container in {"mpegts", "mpeg", "h264"}
    assert remarks or harm is not cut_off or claims_nothing
