"""Folders of images: each file keeps its place, what cannot be read is named, and every door numbers alike."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import MediaError, load_video
from pipeline.arrays import UInt8Array
from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.drawn_pictures import encoded, gray, scene
from tests.support.media_files import gray_of, item, pictures


def png(pixels: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_folder(folder: Path, numbers: tuple[int, ...] = (1, 2, 9, 10, 11), broken: tuple[int, ...] = (9,)) -> Path:
    """PNG files with these numbers as names, each with the gray of its place, and things that are no frames."""
    folder.mkdir()
    for number, pixels in zip(numbers, pictures(len(numbers)), strict=True):
        (folder / f"{number}.png").write_bytes(b"broken" if number in broken else png(pixels))
    (folder / "notes.txt").write_text("no frame")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_a_folder_is_a_video_in_the_order_of_its_names(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "frames", broken=())
    with open_media(item(folder)) as media, VideoFrames(media) as frames:
        found = {frame.index: frame.pixels_HW3.numpy() for frame in frames.forward(0)}
        for index, pixels in enumerate(pictures(5)):
            assert np.array_equal(found[index], pixels)
        assert (frames.num_frames, frames.remarks()) == (5, ())
        assert frames.position(3) == FramePosition(3, None)
        assert [frame.index for frame in frames.backward(4)] == [3, 2, 1, 0]
        assert [np.array_equal(frame.pixels_HW3.numpy(), found[2]) for frame in frames.at([2])] == [True]
    loaded, _ = load_video(folder)
    assert np.array_equal(loaded, np.stack(pictures(5)))


def test_a_file_that_cannot_be_read_keeps_its_place_and_has_no_label(tmp_path: Path) -> None:
    with open_media(item(image_folder(tmp_path / "frames"))) as media, VideoFrames(media) as frames:
        rows = {frames.position(f.index).frame_index: int(f.pixels_HW3[-1, -1, 0]) for f in frames.forward(0)}
        assert rows == {place: gray_of(place) for place in (0, 1, 3, 4)}
        assert [frames.position(f.index).frame_index for f in frames.backward(4)] == [4, 3, 1, 0]
        (remark,) = frames.remarks()
        assert remark.startswith("no row for 1 image that cannot be read (frame 2: 9.png ")


def test_a_prompt_on_a_file_that_cannot_be_read_is_told_why(tmp_path: Path) -> None:
    prompted = [FramePosition(2, None), FramePosition(3, None), FramePosition(5, None)]
    with open_media(item(image_folder(tmp_path / "frames"))) as media, VideoFrames(media, prompted=prompted) as frames:
        broken, whole, beyond = prompted
        assert frames.locate(broken) is None
        assert frames.absence(broken).startswith("the frame cannot be read (9.png ")
        assert frames.locate(whole) == 2
        assert next(frames.at([2])).pixels_HW3[-1, -1, 0] == gray_of(3)
        assert frames.locate(beyond) is None
        assert frames.absence(beyond).startswith("the video ends before it (4 labeled frames)")


def test_a_stride_counts_files_that_cannot_be_read(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "frames", tuple(range(9)), broken=(2, 5))
    with open_media(item(folder)) as media, VideoFrames(media, FrameSelection(stride=2)) as frames:
        assert [frames.position(f.index).frame_index for f in frames.forward(0)] == [0, 4, 6, 8]


def test_a_selection_in_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "frames", (0, 1, 2), broken=(0, 2))
    with open_media(item(folder)) as media, pytest.raises(MediaError, match=r"no frame of the selection can be read"):
        VideoFrames(media, FrameSelection(stride=2))
    folder = image_folder(tmp_path / "broken", (0, 1), broken=(0, 1))
    with open_media(item(folder)) as media, pytest.raises(MediaError, match=r"none of the 2 images .*/0\.png"):
        VideoFrames(media)


def test_loading_a_folder_names_the_file_that_would_shift_all_later_frames(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"9\.png"):
        load_video(image_folder(tmp_path / "frames"))


def test_images_of_another_size_are_told(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "frames", broken=())
    for number in (9, 10):
        (folder / f"{number}.png").write_bytes(png(pictures(1, (96, 128))[0]))
    with open_media(item(folder)) as media, VideoFrames(media) as frames:
        assert {tuple(frame.pixels_HW3.shape) for frame in frames.forward(0)} == {(48, 64, 3)}
        (remark,) = frames.remarks()
        assert remark.startswith("2 images of another size than 64 × 48 scaled to it (frame 2: 9.png is 128 × 96)")


def test_masks_beside_images_are_told(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "frames", broken=())
    Image.fromarray(pictures(1)[0]).save(folder / "9.jpg")
    with open_media(item(folder)) as media, VideoFrames(media) as frames:
        assert frames.length_up_to(16) == 6
        (remark,) = frames.remarks()
        assert "as 9.jpg and 9.png" in remark


def test_a_stack_in_a_folder_is_no_frame_because_it_has_one_place_only(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "frames", broken=())
    (folder / "9.tif").write_bytes(encoded([scene(0), scene(1)], "TIFF"))
    with open_media(item(folder)) as media, VideoFrames(media) as frames:
        assert [frames.position(f.index).frame_index for f in frames.forward(0)] == [0, 1, 2, 4, 5]
        assert "9.tif holds several pictures, and a file of a folder is one frame" in "; ".join(frames.remarks())


def test_deep_images_of_a_folder_have_one_brightness(tmp_path: Path) -> None:
    """The pictures get darker, and each keeps its share of the brightest one."""
    (tmp_path / "frames").mkdir()
    for place, share in enumerate((1.0, 0.5, 0.2)):
        Image.fromarray((gray() * (16 * share)).astype(np.uint16)).save(tmp_path / f"frames/{place}.png")
    loaded, _ = load_video(tmp_path / "frames")
    for frame, share in zip(loaded, (1.0, 0.5, 0.2), strict=True):
        assert np.abs(frame[..., 0] - gray() * share).max() <= 1.5


def test_pictures_without_times_have_no_rate(tmp_path: Path) -> None:
    (tmp_path / "stack.tif").write_bytes(encoded([scene(0), scene(1)], "TIFF"))
    (tmp_path / "photo.png").write_bytes(encoded(scene(), "PNG"))
    rate = FrameSelection(fps=2.0)
    with open_media(item(tmp_path / "stack.tif")) as media, pytest.raises(MediaError, match=r"give frames\.stride"):
        VideoFrames(media, rate)
    with open_media(item(tmp_path / "photo.png")) as media, VideoFrames(media, rate) as frames:
        assert frames.length_up_to(5) == 1
