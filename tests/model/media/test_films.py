from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from model.media.errors import MediaError
from model.media.film_pictures import RgbConverter
from model.media.films import FilmReader
from model.media.raw_frames import Display
from model.media.sources import Media
from model.media.watched_file import WatchedFile
from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.media_files import (
    encode,
    encode_audio,
    encode_image,
    gray_of,
    item,
    media_of,
    pictures,
    with_display_matrix,
)

UPRIGHT = (1, 0, 0, 1)
LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def decoded(data: bytes) -> list[np.ndarray]:
    with VideoFrames(media_of(data)) as frames:
        return [frame.pixels_HW3.numpy() for frame in frames.forward(0)]


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        (UPRIGHT, lambda pixels: pixels),
        ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),  # as a telephone held upright writes it
        ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
        ((0, -1, 1, 0), lambda pixels: np.rot90(pixels, 1)),
        ((-1, 0, 0, 1), lambda pixels: pixels[:, ::-1]),
        ((1, 0, 0, -1), lambda pixels: pixels[::-1]),
    ],
    ids=["upright", "clockwise", "upside-down", "counterclockwise", "mirrored", "flipped"],
)
def test_frames_are_turned_as_displayed(matrix: tuple[int, ...], turned: object) -> None:
    mp4 = encode(pictures(3), options=LOSSLESS)
    upright = decoded(with_display_matrix(mp4, UPRIGHT))
    rotated = with_display_matrix(mp4, matrix)
    for stored, displayed in zip(upright, decoded(rotated), strict=True):
        assert np.array_equal(displayed, turned(stored))  # type: ignore[operator]
    with VideoFrames(media_of(rotated)) as frames:
        assert frames.size_hw == decoded(rotated)[0].shape[:2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ffconcat", "ffconcat version 1.0\nfile {secret}\n"),
        ("ffconcat unsafe", "ffconcat version 1.0\noption safe 0\nfile 'file:{secret}'\n"),
        ("playlist", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n"),
        (
            "dash",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
            "<Representation><BaseURL>file://{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        ),
        ("sdp", "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
        ("text", "this is no video\n" * 100),
    ],
)
def test_text_never_opens_another_file(tmp_path: Path, name: str, text: str) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(encode(pictures(3)))
    trap = tmp_path / "trap.mp4"
    trap.write_text(text.format(secret=secret))
    with (
        open_media(item(trap)) as media,
        pytest.raises(MediaError, match=r"trap\.mp4: is (not a video|of a format that is not read)"),
    ):
        VideoFrames(media)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\0" * 5000, "is not a video or image"),
        (encode(pictures(8))[:400], "is not a video or image|no frame could be decoded"),
        (encode(pictures(8)).replace(b"avc1", b"zzzz"), "is of an unknown codec; convert it"),
        (encode_audio(), "has no video stream"),
        (encode_audio(cover=pictures(1)[0]), "has no video stream"),
    ],
    ids=["empty", "zeros", "cut off", "unknown codec", "audio only", "audio with a cover"],
)
def test_what_is_no_video_is_said_to_be_none(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        VideoFrames(media_of(data, "clips/a.mp4"))
    assert str(caught.value).startswith("clips/a.mp4: ")


def test_a_video_that_is_cut_off_gives_the_frames_that_are_whole() -> None:
    data = encode(pictures(20), options={"g": "5", "bf": "0"}, container="matroska")
    assert 5 <= len(decoded(data[: len(data) * 3 // 4])) < 20


def test_damaged_packets_cost_frames_but_not_the_video() -> None:
    data = bytearray(encode(pictures(30), options={"g": "5", "bf": "0"}, container="mpegts"))
    rng = np.random.default_rng(0)
    for place in rng.integers(len(data) // 3, len(data) // 2, 40):
        data[place] ^= 0xFF
    with VideoFrames(media_of(bytes(data))) as frames:
        forward = {frame.index: frame.pixels_HW3.numpy().tobytes() for frame in frames.forward(0)}
        assert 10 <= len(forward) <= 30
        assert frames.num_frames == len(forward)
        backward = [(frame.index, frame.pixels_HW3.numpy().tobytes()) for frame in frames.backward(len(forward))]
        assert backward == list(reversed(forward.items()))


def test_what_cannot_be_decoded_is_said_to_be_missing() -> None:
    data = encode(pictures(5), codec="png", pix_fmt="rgb24", container="mov")
    last = data.rindex(b"\x89PNG")
    with VideoFrames(media_of(data[:last] + b"\0" * 8 + data[last + 8 :])) as frames:
        assert len(list(frames.forward(0))) == 4
        assert frames.remarks() == ("4 of 5 frames could be read; the file is damaged, cut off, or claims too many",)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size_hw"),
    [
        ("libx264", "yuv420p10le", (48, 64)),
        ("ffv1", "gray", (48, 64)),
        ("libx264", "yuv444p", (47, 63)),
        ("ffv1", "bgra", (33, 21)),
        ("ffv1", "yuv444p", (1, 1)),
        ("libvpx-vp9", "yuva420p", (48, 64)),
    ],
)
def test_unusual_pixels_become_rgb_of_the_same_size(codec: str, pix_fmt: str, size_hw: tuple[int, int]) -> None:
    drawn = [np.full((*size_hw, 3), gray_of(index), np.uint8) for index in range(3)]
    frames = decoded(encode(drawn, codec=codec, pix_fmt=pix_fmt, container="matroska"))
    assert [frame.shape for frame in frames] == [(*size_hw, 3)] * 3
    for index, frame in enumerate(frames):
        assert float(frame.mean()) == pytest.approx(gray_of(index), abs=4)


@pytest.mark.slow
def test_an_8k_video_decodes() -> None:
    drawn = [np.full((4320, 7680, 3), gray_of(index), np.uint8) for index in range(2)]
    frames = decoded(encode(drawn, options={"preset": "ultrafast"}))
    assert [frame.shape for frame in frames] == [(4320, 7680, 3)] * 2


def test_frames_without_times_count_up_and_cannot_be_named_by_time() -> None:
    data = encode(pictures(6), container="h264", options={"bf": "0"})
    with VideoFrames(media_of(data), prompted=[FramePosition(None, 0.0), FramePosition(4, None)]) as frames:
        assert [frames.position(frame.index) for frame in frames.forward(0)] == [
            FramePosition(i, None) for i in range(6)
        ]
        assert frames.locate(FramePosition(None, 0.0)) is None
        assert frames.locate(FramePosition(4, None)) == 4


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("png", "rgb24"), ("mjpeg", "yuvj420p"), ("bmp", "bgr24"), ("tiff", "rgb24")]
)
def test_an_image_is_a_video_of_one_frame(codec: str, pix_fmt: str) -> None:
    pixels = pictures(2)[1]
    with VideoFrames(media_of(encode_image(pixels, codec, pix_fmt))) as frames:
        found = list(frames.forward(0))
        assert [frame.index for frame in found] == [0]
        assert float(np.abs(found[0].pixels_HW3.numpy().astype(int) - pixels).mean()) < 6
        assert frames.position(0) == FramePosition(0, None)
        assert [frame.index for frame in frames.backward(1)] == [0]
        assert frames.length_up_to(16) == 1


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_photograph_is_turned_as_its_camera_says(orientation: int, turns: int) -> None:
    pixels = pictures(1)[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", exif=exif, quality=95)
    (found,) = decoded(file.getvalue())
    assert float(np.abs(found.astype(int) - np.rot90(pixels, turns)).mean()) < 6


def test_an_animated_gif_is_a_video() -> None:
    frames = decoded(encode(pictures(5), codec="gif", container="gif", pix_fmt="rgb8"))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    assert len({frame.tobytes() for frame in frames}) == 5


def test_times_are_refused_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, pixels in enumerate(pictures(2)):
        (tmp_path / f"frames/{number}.png").write_bytes(encode_image(pixels))
    with open_media(item(tmp_path / "frames")) as media:
        with pytest.raises(MediaError, match="has no times; leave start_seconds"):
            VideoFrames(media, FrameSelection(start_seconds=1.0))
        with pytest.raises(MediaError, match=r"frames\.stride instead of frames\.fps"):
            VideoFrames(media, FrameSelection(fps=2.0))


def test_a_range_without_frames_is_an_error() -> None:
    told = r"has no frame between start_seconds and end_seconds; the video starts at 0 s and ends at 0\.\d+ s$"
    with pytest.raises(MediaError, match=told):
        VideoFrames(media_of(encode(pictures(5))), FrameSelection(start_seconds=60.0))


@pytest.mark.parametrize("far", [1e15, 1e300])
def test_a_range_may_begin_at_any_time(far: float) -> None:
    media = media_of(encode(pictures(5)))
    with pytest.raises(MediaError, match="has no frame between start_seconds and end_seconds"):
        VideoFrames(media, FrameSelection(start_seconds=far))
    with VideoFrames(media, FrameSelection(start_seconds=-far)) as frames:
        assert frames.length_up_to(16) == 5


def test_metadata_of_another_encoding_is_no_obstacle() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        output.metadata["title"] = "B?renjagd"
        stream = output.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")))
        output.mux(stream.encode())
    assert b"B?renjagd" in buffer.getvalue()
    assert len(decoded(buffer.getvalue().replace(b"B?renjagd", "Bärenjagd".encode("latin-1")))) == 1


def test_a_file_that_is_removed_is_the_videos_fault(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(pictures(5)))
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        path.unlink()
        assert len(list(frames.forward(0))) == 5  # they were decoded to know how many there are
        with pytest.raises(MediaError, match=r"clip\.mp4: was removed while it was read"):
            list(frames.forward(0))


def test_a_file_that_may_not_be_opened_is_the_videos_fault() -> None:
    def refuse() -> io.IOBase:
        raise PermissionError("denied")

    with pytest.raises(MediaError, match=r"clip: may not be read; check its permissions"):
        VideoFrames(Media("clip", (refuse,)))


def test_a_place_that_no_file_has_is_told_to_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video")
    for open_file in (lambda: io.BytesIO(b"video"), lambda: io.FileIO(path)):
        with closing(WatchedFile("clip", open_file)) as file:
            assert file.seek(-10) < 0
            file.raise_failure()
            assert file.seek(2) == 2


def test_pixels_that_cannot_be_converted_are_the_videos_fault() -> None:
    picture = av.VideoFrame(64, 48, "gray32le")
    with pytest.raises(MediaError, match=r"clip: its pixels \(gray32le, .*\) cannot be turned into RGB"):
        RgbConverter("clip").pixels(picture, (48, 64))


class FailingFile(io.BytesIO):
    """A file whose storage goes away after some bytes."""

    def __init__(self, data: bytes, num_good_bytes: int) -> None:
        super().__init__(data)
        self._left = num_good_bytes

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise TimeoutError("storage does not answer")
        return data


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
def test_a_storage_error_is_not_taken_for_the_end_of_the_video(container: str, share: float) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(40)]
    data = encode(noise, options={"bf": "0"}, container=container)
    media = Media("clip", (lambda: FailingFile(data, int(len(data) * share)),))
    with pytest.raises(TimeoutError, match="storage does not answer"), VideoFrames(media) as frames:
        list(frames.forward(0))


def test_a_size_that_changes_on_the_way_is_scaled_to_the_first() -> None:
    small = encode(pictures(3), container="h264", options={"bf": "0"})
    large = encode(pictures(3, (96, 128)), container="h264", options={"bf": "0"})
    assert [frame.shape for frame in decoded(small + large)] == [(48, 64, 3)] * 6


def test_info_tells_what_the_file_claims() -> None:
    info = FilmReader("clip", lambda: io.BytesIO(encode(pictures(5), rate=25))).info()
    assert (info.display, info.fps, info.codec) == (Display((48, 64), 0, 1.0), 25.0, "h264")
    assert info.duration_seconds == pytest.approx(0.2, abs=0.01)
    assert info.has_times


def threads() -> set[int]:
    """Ids of this process's threads. Those of tests before may end at any time, and another one has another id."""
    return {thread.id for thread in psutil.Process().threads()}


@pytest.mark.parametrize("num_threads", [1, 4])
def test_a_video_is_decoded_by_as_many_threads_as_are_asked_for(num_threads: int) -> None:
    data = encode(pictures(8), codec="mpeg2video", rate=25)
    before = threads()
    with closing(FilmReader("clip", lambda: io.BytesIO(data), num_threads).read()) as frames:
        next(frames)
        assert len(threads() - before) == num_threads - 1


@pytest.mark.parametrize("container", ["mp4", "avi"])
def test_threads_share_the_frames_of_a_film_that_has_one_slice_a_frame_and_a_time_for_each(
    container: str, request: pytest.FixtureRequest
) -> None:
    """Four threads have 3 frames more in hand than one has."""
    level_before = av.logging.get_level()
    av.logging.set_level(None)  # torchvision 0.24 sets a level when it is imported
    request.addfinalizer(lambda: av.logging.set_level(level_before))
    noise = [np.random.default_rng(index).integers(0, 255, (144, 176, 3), np.uint8) for index in range(24)]
    data = encode(noise, container=container, options={"preset": "ultrafast", "qp": "2", "bf": "0", "g": "99"})
    places = []
    for num_threads in (1, 4):
        file = io.BytesIO(data)
        with closing(FilmReader("clip", lambda file=file: file, num_threads).read()) as frames:  # type: ignore[misc]
            for _ in range(14):
                next(frames)
            places.append(file.tell())
    assert (places[1] - places[0] > 2 * len(data) / 24) == (container == "mp4")


def test_threads_do_not_share_frames_where_decoders_call_python() -> None:
    """Somebody has set the level of PyAV's log: a decoder that is closed early could then wait for ever."""
    data = encode(pictures(30), options={"bf": "2", "g": "5"})
    av.logging.set_level(av.logging.ERROR)
    try:
        for _ in range(20):
            with closing(FilmReader("clip", lambda: io.BytesIO(data), 4).read()) as frames:
                next(frames)
    finally:
        av.logging.set_level(None)


def test_the_identity_of_a_film_is_that_of_earlier_programs_because_saved_sessions_hold_it() -> None:
    info = FilmReader("clip", lambda: io.BytesIO(encode(pictures(5), rate=25))).info()
    assert info.identity() == (
        "VideoInfo(size_hw=(48, 64), rotation_degrees=0, fps=25.0, duration_seconds=0.2, num_frames_claimed=5, "
        "has_times=True, format='mov,mp4,m4a,3gp,3g2,mj2', codec='h264')"
    )
