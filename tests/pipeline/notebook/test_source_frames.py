"""Frames read again by the times of the tables are those that were labeled, in films of many kinds."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import fsspec
import numpy as np
import pytest
from botocore.exceptions import NoCredentialsError
from fsspec import AbstractFileSystem
from PIL import Image

from pipeline.errors import OtherFile, StorageError
from pipeline.notebook.source_frames import SourceFile
from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.films import Film, drawn
from tests.support.media_files import item

TIMES = (0, 1, 2, 5, 6, 7, 20, 21, 22, 23, 24, 25, 26, 40, 41, 42)
GAPS_AND_B_FRAMES = (("preset", "ultrafast"), ("qp", "12"), ("bf", "2"), ("g", "5"))
FILMS = [
    Film(options=GAPS_AND_B_FRAMES, times=tuple(range(40))),
    Film(container="matroska", options=GAPS_AND_B_FRAMES, times=TIMES),
    Film(start=5.0, rate=Fraction(30000, 1001)),
    Film(container="mpegts", codec="mpeg2video", options=(("g", "6"),), start=3.0),
    Film(container="mpeg", codec="mpeg2video", rate=Fraction(25), options=(("g", "6"),)),
    Film(container="avi", codec="mpeg4", options=(("g", "8"),)),
    Film(container="gif", codec="gif", pix_fmt="rgb8", options=()),
    Film(container="h264"),
    # It counts milliseconds, so that two frames have one time.
    Film(container="matroska", codec="ffv1", rate=Fraction(2000), options=()),
    Film(rate=Fraction(2000), options=GAPS_AND_B_FRAMES),
]


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("film", FILMS, ids=str)
def test_frames_come_again_as_they_were_labeled(film: Film, tmp_path: Path) -> None:
    path = tmp_path / f"film.{film.container}"
    path.write_bytes(drawn(film))
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        labeled = [(frames.position(frame.index), frame.pixels_HW3.numpy()) for frame in frames.forward(0)]
        height, width = frames.size_hw
        expected = frames.info.num_frames_claimed
    row = {"video_id": "a", "uri": str(path), "source_bytes": path.stat().st_size, "height": height, "width": width}
    source = SourceFile({**row, "num_frames_expected": expected})
    pixels = dict(labeled)
    for chosen in (list(pixels), list(pixels)[3::5], list(pixels)[-1:]):
        found = list(source.frames(chosen))
        assert [position for position, _ in found] == chosen
        for position, shown in found:
            np.testing.assert_array_equal(shown, pixels[position])
    ends = [next(iter(pixels)), list(pixels)[-1]]
    for (position, shown), wanted in zip(source.frames_apart(ends), ends, strict=True):
        assert position == wanted
        np.testing.assert_array_equal(shown, pixels[wanted])


def test_of_frames_far_apart_those_between_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(drawn(Film(options=(("preset", "ultrafast"), ("g", "5")), times=tuple(range(200)))))
    row = {"video_id": "a", "uri": str(path), "source_bytes": None, "height": None, "width": None}
    source = SourceFile({**row, "num_frames_expected": None})
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        times = [frames.position(frame.index) for frame in frames.forward(0)]
    decoded = []
    original = VideoFrames.close

    def close(self: VideoFrames) -> None:
        decoded.append(self.num_decoded)
        original(self)

    monkeypatch.setattr(VideoFrames, "close", close)
    assert len(list(source.frames_apart([times[0], times[-1]]))) == 2
    assert sum(decoded) < 50


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("is_fast", [False, True])
def test_numbers_of_a_range_that_begins_later_are_not_those_of_the_file(tmp_path: Path, is_fast: bool) -> None:
    path = tmp_path / "film.mkv"
    rate = Fraction(2000) if is_fast else Fraction(10)
    path.write_bytes(drawn(Film(container="matroska", codec="ffv1", rate=rate, options=())))
    with open_media(item(path)) as media, VideoFrames(media, FrameSelection(start_seconds=float(4 / rate))) as frames:
        pixels = {frames.position(frame.index): frame.pixels_HW3.numpy() for frame in frames.forward(0)}
        height, width = frames.size_hw
    assert next(iter(pixels)).frame_index == 0
    row = {"video_id": "a", "uri": str(path), "source_bytes": path.stat().st_size, "height": height, "width": width}
    source = SourceFile({**row, "num_frames_expected": None})
    for read in (source.frames, source.frames_apart, source.walk):
        for position, shown in read(list(pixels)[2::3]):
            np.testing.assert_array_equal(shown, pixels[position])


def test_images_of_a_folder_come_by_their_number_below_a_new_root_too(tmp_path: Path) -> None:
    folder = tmp_path / "moved" / "shots"
    folder.mkdir(parents=True)
    for number in range(12):
        Image.fromarray(np.full((8, 10, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    row = {"video_id": "a", "uri": "/elsewhere/shots", "source_bytes": None, "height": 8, "width": 10}
    source = SourceFile({**row, "num_frames_expected": 12}, str(tmp_path / "moved"))
    found = [
        (position.frame_index, int(shown[0, 0, 0]))
        for position, shown in source.frames([FramePosition(2, None), FramePosition(10, None), FramePosition(11, None)])
    ]
    assert found == [(2, 40), (10, 200), (11, 220)]
    with pytest.raises(OtherFile, match="it has no frame 12; label the video again"):
        list(source.frames([FramePosition(12, None)]))


@pytest.mark.parametrize("end", ["first", "last"])
def test_a_folder_in_which_an_image_was_replaced_is_another_one(tmp_path: Path, end: str) -> None:
    """Its size in bytes is not known, and numbers of images and sizes of pictures are as before."""
    images = [np.full((8, 10, 3), 20 * number, np.uint8) for number in range(4)]
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    noted = dict.fromkeys(("source_bytes", "first_pts_seconds", "last_pts_seconds"))
    for one, index in (("first", 1), ("last", 3)):
        noted |= {f"{one}_frame_index": index, f"{one}_frame_sha256": hashlib.sha256(images[index]).hexdigest()}
    row = {"video_id": "a", "uri": str(tmp_path), "height": 8, "width": 10, "num_frames_expected": 4} | noted
    wanted, every = {"first": 1, "last": 3}[end], [FramePosition(number, None) for number in range(4)]
    assert len(list(SourceFile(row).frames(every))) == 4
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    Image.fromarray(images[2] + 1).save(tmp_path / f"{wanted}.png")
    assert len(list(SourceFile(row).frames([FramePosition(0, None), FramePosition(2, None)]))) == 2
    for read in (SourceFile(row).frames, SourceFile(row).frames_apart, SourceFile(row).walk):
        with pytest.raises(OtherFile, match=f"its frame {wanted} has other pixels; label the video again"):
            list(read(every))


@pytest.mark.parametrize("num_bytes", [True, False])
def test_a_film_is_told_by_its_pixels_where_its_size_in_bytes_is_not_known(tmp_path: Path, num_bytes: bool) -> None:
    """Where it is known and the same, other pixels come of another decoder."""
    path = tmp_path / "film.mp4"
    path.write_bytes(drawn(Film(options=GAPS_AND_B_FRAMES, times=tuple(range(12)))))
    row = dict.fromkeys(("height", "width", "num_frames_expected", "last_frame_index", "last_pts_seconds"))
    row |= {"video_id": "a", "uri": str(path), "source_bytes": path.stat().st_size if num_bytes else None}
    row |= {"first_frame_index": 0, "first_frame_sha256": "0" * 64, "last_frame_sha256": None}
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        times = [frames.position(frame.index).pts_seconds for frame in frames.forward(0)]
    row |= {"first_pts_seconds": times[2]}
    source, at = SourceFile(row), [FramePosition(None, time) for time in times]
    assert len(list(source.frames(at[3:]))) == len(times) - 3
    for read in (source.frames, source.frames_apart, source.walk):
        if num_bytes:
            assert len(list(read(at[2:4]))) == 2
        else:
            with pytest.raises(OtherFile, match="has other pixels"):
                list(read(at[2:4]))


class Refusing(AbstractFileSystem):  # type: ignore[misc]
    """A store whose client finds no credentials."""

    protocol = "refusing"

    def info(self, path: str, **options: object) -> dict[str, object]:
        raise NoCredentialsError

    ls = open = cat_file = info


def test_a_store_without_credentials_is_told_as_a_store_that_fails() -> None:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    source = SourceFile({"video_id": "a", "uri": "refusing://bucket/film.mp4"})
    with pytest.raises(StorageError, match="NoCredentialsError"):
        list(source.frames([FramePosition(0, None)]))


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("film", FILMS, ids=str)
def test_a_walk_from_any_frame_meets_the_frames_that_were_labeled(film: Film, tmp_path: Path) -> None:
    path = tmp_path / f"film.{film.container}"
    path.write_bytes(drawn(film))
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        pixels = {frames.position(frame.index): frame.pixels_HW3.numpy() for frame in frames.forward(0)}
        height, width = frames.size_hw
        expected = frames.info.num_frames_claimed
    row = {"video_id": "a", "uri": str(path), "source_bytes": path.stat().st_size, "height": height, "width": width}
    source = SourceFile({**row, "num_frames_expected": expected})
    for first, step in ((0, 1), (7, 1), (len(pixels) - 1, 1), (3, 4)):
        chosen = list(pixels)[first::step]
        walk = source.walk(chosen)
        for wanted, (position, shown) in zip(chosen[:9], walk, strict=False):
            assert position == wanted
            np.testing.assert_array_equal(shown, pixels[position])
        walk.close()
    missing = [*list(pixels)[5:8], FramePosition(None, 1e6)] if film.container != "h264" else []
    if missing:
        with pytest.raises(OtherFile, match="it has no frame at"):
            list(source.walk(missing))
