"""Photos, animations and what is no picture: the frames are those of Pillow, which is the judge."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, ImageSequence

from model import Media, MediaError, open_reader
from model.media.film_files import MAX_PIXELS
from model.media.stills import open_image
from tests.support.drawn_pictures import encoded, gray, in_memory, read_by_both, refusal, scene
from tests.support.media_files import encode, pictures

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "BMP": {}, "PPM": {}, "TGA": {}, "JPEG2000": {}}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_photo_is_one_frame(tmp_path: Path, kind: str) -> None:
    (tmp_path / "photo").write_bytes(encoded(scene(), kind, **LOSSLESS[kind]))
    frames, message = read_by_both(tmp_path / "photo")
    assert np.array_equal(frames, scene()[None])
    assert message == ""


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK"])
def test_an_image_of_any_mode_is_rgb_as_pillow_converts_it(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(scene()).convert("RGBA" if mode in ("LA", "PA") else mode).convert(mode)
    path = tmp_path / ("image.tif" if mode in ("CMYK", "LA", "PA") else "image.png")
    image.save(path)
    frames, _ = read_by_both(path)
    assert np.array_equal(frames[0], np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.fast_core(8)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_and_mirrored_as_exif_says(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    (tmp_path / "photo").write_bytes(encoded(scene(), kind, exif=exif, **({"quality": 95} if kind != "PNG" else {})))
    frames, _ = read_by_both(tmp_path / "photo")
    assert np.array_equal(frames[0], np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo")).convert("RGB")))


def test_exif_that_is_damaged_says_nothing(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20
    (tmp_path / "photo.jpg").write_bytes(encoded(scene(), "JPEG", exif=exif))
    frames, _ = read_by_both(tmp_path / "photo.jpg")
    assert frames.shape == (1, 60, 80, 3)


@pytest.mark.parametrize("announced", [True, False])
def test_a_second_picture_behind_a_photo_is_no_frame(tmp_path: Path, announced: bool) -> None:
    """Gain maps of phones are announced by an MPF segment, or just appended."""
    photo = encoded(scene(), "JPEG", quality=95)
    if announced:
        data = encoded([scene(), scene(1)], "MPO")
        assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 2
    else:
        data = photo + encoded(gray()[::4, ::4].copy(), "JPEG")
    (tmp_path / "photo.jpg").write_bytes(data)
    frames, message = read_by_both(tmp_path / "photo.jpg")
    assert np.array_equal(frames, np.asarray(Image.open(tmp_path / "photo.jpg").convert("RGB"))[None])
    assert message == ""


def test_a_video_behind_a_photo_is_no_frame(tmp_path: Path) -> None:
    (tmp_path / "motion.jpg").write_bytes(encoded(scene(), "JPEG") + encode(pictures(3)) + b"\0" * 100)
    assert len(read_by_both(tmp_path / "motion.jpg")[0]) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pictures_of_one_size_that_follow_each_other_are_a_film(tmp_path: Path, kind: str) -> None:
    (tmp_path / "film").write_bytes(b"".join(encoded(scene(place), kind) for place in range(4)))
    frames, _ = read_by_both(tmp_path / "film")
    assert len(frames) == 4
    assert max(float(np.abs(frame.astype(int) - scene(place)).mean()) for place, frame in enumerate(frames)) < 8


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {"lossless": True}), ("AVIF", {"quality": 95, "speed": 10}), ("PNG", {}), ("GIF", {})],
)
def test_every_picture_of_an_animation_is_a_frame_with_its_time(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    durations = [100, 50, 40, 100, 130]
    data = encoded([scene(place) for place in range(5)], kind, duration=durations, **options)
    (tmp_path / "animation").write_bytes(data)
    frames, _ = read_by_both(tmp_path / "animation")
    judged = [np.asarray(image.convert("RGB")) for image in ImageSequence.Iterator(Image.open(io.BytesIO(data)))]
    assert len(frames) == len(judged) == 5
    assert max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(frames, judged, strict=True)) < 2
    reader = open_reader(in_memory(data))
    times = [raw.pts_seconds for raw in reader.read()]
    assert times == pytest.approx([0, 0.1, 0.15, 0.19, 0.29], abs=0.001)
    assert reader.info().has_times


@pytest.mark.parametrize(
    ("kind", "top"), [("PNG", 65535), ("PNG", 4095), ("PNG", 1023), ("TIFF", 4095), ("PPM", 65535)]
)
def test_the_bits_in_use_of_deep_gray_become_the_eight_of_a_frame(tmp_path: Path, kind: str, top: int) -> None:
    """The judge is the picture from which the values were made: 12 bits in 16 are not black."""
    deep = (gray().astype(np.uint32) * top // 255).astype(np.uint16)
    deep[0, 0] = top
    (tmp_path / "deep").write_bytes(encoded(deep, kind))
    frames, _ = read_by_both(tmp_path / "deep")
    assert np.abs(frames[0].astype(int) - gray()[..., None])[1:].max() <= 1
    assert (frames[0][..., 0] == frames[0][..., 2]).all()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, color_type: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    pixels = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("color_type", [2, 6])
def test_deep_colors_of_a_png_keep_the_bits_in_use(tmp_path: Path, color_type: int, shift: int) -> None:
    """Pillow gives the upper 8 of 16 bits, which are 4 of 12. The file is written by hand, the scene is the judge."""
    channels = scene() if color_type == 2 else np.dstack([scene(), np.full((60, 80), 255, np.uint8)])
    deep = (channels.astype(np.uint16) * 257 >> shift).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    (tmp_path / "deep.png").write_bytes(png(80, 60, 16, color_type, rows))
    frames, _ = read_by_both(tmp_path / "deep.png")
    assert np.array_equal(frames[0], scene())


def test_a_picture_of_too_many_pixels_is_refused_at_its_header(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(16000, 16000, 8, 0, b""))
    assert f"is 16000 × 16000, more than the {MAX_PIXELS} pixels" in refusal(tmp_path / "large.png")
    (tmp_path / "large.ppm").write_bytes(b"P6\n20000 7000\n255\n")
    assert f"is 20000 × 7000, more than the {MAX_PIXELS} pixels" in refusal(tmp_path / "large.ppm")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "AVIF", "GIF"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_lower_limit_of_pixels_holds_for_every_kind_of_picture(form: str, in_folder: bool) -> None:
    media = in_memory(encoded(scene(), form))
    if in_folder:
        media = Media("folder", media.files, is_folder=True, file_names=(f"one.{form.lower()}",))
    num_pixels = scene().shape[0] * scene().shape[1]
    enough = 2 * num_pixels if form == "GIF" else num_pixels  # FFmpeg counts the padding of a GIF
    assert open_reader(media, max_pixels=enough).info().size_hw == scene().shape[:2]
    with pytest.raises(MediaError, match=rf" (than the|limit of) {num_pixels - 1} pixels.*max_pixels"):
        open_reader(media, max_pixels=num_pixels - 1).info()


def test_a_large_picture_below_the_limit_has_no_warning_of_pillow(tmp_path: Path) -> None:
    """From 89 million pixels on `Image.open` warns on the standard error."""
    data = png(10000, 9500, 8, 0, b"")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = open_image(io.BytesIO(data), ("PNG",))
    assert (image.width, image.height, image.format) == (10000, 9500, "PNG")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.jpg", b"", "is empty"),
        ("half.jpg", encoded(scene(), "JPEG")[:600], "cannot be read as a picture .*check that the file is whole"),
        ("half.png", encoded(scene(), "PNG")[:200], "cannot be read as a picture .*check that the file is whole"),
        ("half.webp", encoded(scene(), "WEBP")[:200], "cannot be read as a picture"),
        ("header.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "its header is damaged; check|its header is damaged"),
        ("photo.psd", b"8BPS\0\1" + b"\0" * 40, "is a Photoshop document, which is not read; convert it to a PNG"),
        ("photo.jxl", b"\xff\x0a" + b"\x10" * 40, "is a JPEG XL picture, which is not read"),
        ("photo.exr", b"\x76\x2f\x31\x01" + b"\0" * 40, "is an OpenEXR picture, which is not read"),
        ("page.pdf", b"%PDF-1.7\n", "is a PDF document"),
        ("clips.zip", b"PK\x03\x04" + b"\0" * 40, "is a zip archive"),
        ("icons.ico", encoded(scene(0, (32, 32)), "ICO"), "is of a format that is not read; convert it|is not a video"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)
def test_what_cannot_be_read_is_told_truly(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError, match=said):
        open_reader(in_memory(data)).info()
    assert refusal(tmp_path / name)


def test_errors_of_storage_are_not_taken_for_damage() -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100_000:
                raise ConnectionError("the storage is gone")
            return super().read(size)

    data = encoded(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8), "PNG")
    media = in_memory(data)
    with pytest.raises(ConnectionError):
        open_reader(type(media)(media.name, (lambda: Gone(data),))).info()
