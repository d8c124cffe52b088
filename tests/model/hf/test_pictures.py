"""Videos as users have them: `load_video` from paths and URIs, turned upright, the same pixels as the pipeline's."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from model.hf.pictures import load_video, to_frames, to_rgb
from pipeline.video.encode import encode_mp4
from pipeline.video.frames import VideoFrames
from tests.support.drawn_pictures import encoded, gray, scene
from tests.support.media_files import encode, media_of, with_display_matrix
from tests.support.sessions import clip

FRAMES = clip(5).frames_THW3
MP4 = encode_mp4(FRAMES, 12)


def pipeline_frames(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with VideoFrames(media_of(data)) as frames:
        return np.stack([frame.pixels_HW3.numpy() for frame in frames.forward(0)])


def without_pictures(mp4: bytes) -> bytes:
    """The same file with zeros where its coded pictures were."""
    start = mp4.index(b"mdat") + 4
    end = start - 8 + int.from_bytes(mp4[start - 8 : start - 4], "big")
    return mp4[:start] + bytes(end - start) + mp4[end:]


def test_all_frames_and_what_the_file_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(MP4)
    frames, metadata = load_video(tmp_path / "clip.mp4")
    assert (frames.shape, frames.dtype) == (FRAMES.shape, np.uint8)
    assert float(np.abs(frames.astype(int) - FRAMES).mean()) < 4
    assert (metadata.total_num_frames, metadata.height, metadata.width, metadata.fps) == (5, 48, 64, 12.0)


@pytest.mark.parametrize("uri", ["{0}", "file://{0}", "memory://videos/clip.mp4"])
def test_a_video_may_lie_anywhere(uri: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(MP4)
    fsspec.filesystem("memory").pipe_file("/videos/clip.mp4", MP4)
    frames, _ = load_video(uri.format(tmp_path / "clip.mp4"))
    assert np.array_equal(frames, pipeline_frames(MP4))


TURNED = ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))
MIRRORED = ((-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0))


@pytest.mark.parametrize("matrix", TURNED + MIRRORED)
def test_a_phones_video_is_turned_upright_and_unmirrored(matrix: tuple[int, ...], tmp_path: Path) -> None:
    data = with_display_matrix(MP4, matrix)
    (tmp_path / "clip.mp4").write_bytes(data)
    frames, metadata = load_video(tmp_path / "clip.mp4")
    assert np.array_equal(frames, pipeline_frames(data))
    assert (metadata.height, metadata.width) == frames.shape[1:3]


def test_uncompressed_video_is_read_as_by_the_pipeline(tmp_path: Path) -> None:
    y4m = encode(list(FRAMES), codec="rawvideo", container="yuv4mpegpipe")
    (tmp_path / "clip.y4m").write_bytes(y4m)
    frames, metadata = load_video(tmp_path / "clip.y4m")
    assert np.array_equal(frames, pipeline_frames(y4m))
    assert (metadata.total_num_frames, metadata.fps) == (5, 10.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no video", "is not a video or image that can be read"),
        (b"", "is empty"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "is of a format that is not read"),
        (MP4[: len(MP4) // 8], "is not a video or image that can be read"),
        (without_pictures(MP4), "no frame could be decoded"),
    ],
    ids=["text", "empty", "playlist", "truncated", "damaged"],
)
def test_what_is_no_video_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(data)
    with pytest.raises(ValueError, match=f"clip.mp4: .*({message})"):
        load_video(tmp_path / "clip.mp4")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_video(tmp_path / "none.mp4")


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
def test_a_still_image_is_a_video_of_one_frame(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / f"frame.{suffix}", quality=95)
    frames, metadata = load_video(tmp_path / f"frame.{suffix}")
    assert (frames.shape, metadata.total_num_frames) == ((1, 48, 64, 3), 1)
    assert float(np.abs(frames[0].astype(int) - FRAMES[0]).mean()) < (4 if suffix == "jpg" else 1e-9)


def test_pil_images_are_turned_as_exif_says(tmp_path: Path) -> None:
    """Pillow is the judge. The same picture gives the same frame as an image, and as a file."""
    exif = Image.Exif()
    exif[274] = 7
    (tmp_path / "photo.png").write_bytes(encoded(scene(), "PNG", exif=exif))
    with Image.open(tmp_path / "photo.png") as image:
        pixels = to_rgb(image, "image").numpy()
        assert np.array_equal(pixels, np.asarray(ImageOps.exif_transpose(image)))
    assert np.array_equal(pixels, load_video(tmp_path / "photo.png")[0][0])
    with Image.open(tmp_path / "photo.png") as image:
        assert to_frames(image, 64).size_hw == (80, 60)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_deep_pil_images_of_a_list_have_one_brightness(dtype: str) -> None:
    """Values of 12 bits; `convert("RGB")` of Pillow makes all of them white."""
    deep = [Image.fromarray((gray().astype(dtype) * share * 16).astype(dtype)) for share in (1, 0.5)]
    bright, dark = (frame.pixels_HW3.numpy() for frame in to_frames(deep, 64).forward(0))
    single = next(to_frames(deep[0], 64).forward(0)).pixels_HW3.numpy()
    assert np.array_equal(bright, single)
    assert 0.45 < float(dark.mean()) / float(bright.mean()) < 0.55
    assert np.abs(to_rgb(deep[0], "image").numpy()[..., 1].astype(int) - gray()).max() <= 1


def test_deep_pil_images_from_an_iterator_go_by_the_first_one() -> None:
    deep = [Image.fromarray((gray() * (16.0 * share)).astype(np.uint16)) for share in (1, 0.2)]
    listed = [frame.pixels_HW3.numpy() for frame in to_frames(deep, 64).forward(0)]
    streamed = [frame.pixels_HW3.numpy() for frame in to_frames(iter(deep), 64).forward(0)]
    assert np.array_equal(listed, streamed)


def test_a_pil_image_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(encoded(scene(), "PNG")[:200])
    with Image.open(tmp_path / "half.png") as image, pytest.raises(ValueError, match="frame 0: cannot be read"):
        to_frames([image], 64)
