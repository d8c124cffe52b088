"""TIFF in the forms that people have. Pillow and tifffile are the judges, or the drawn scene itself."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from model import MediaError, load_video, open_reader
from tests.support.drawn_pictures import encoded, gray, in_memory, read_by_both, refusal, scene

STACK = np.stack([scene(place) for place in range(5)])
GRAY_STACK = np.stack([gray(place) for place in range(5)])


def written(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "tile": (32, 32)},
        {"photometric": "rgb", "compression": "zlib", "predictor": True},
        {"photometric": "rgb", "compression": "lzw"},
        {"photometric": "rgb", "compression": "zstd"},
        {"photometric": "rgb", "compression": "packbits"},
        {"photometric": "rgb", "compression": "lzma"},
        {"photometric": "rgb", "bigtiff": True},
        {"photometric": "rgb", "byteorder": ">"},
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "rgb", "rowsperstrip": 7},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_each_way_to_store_a_picture_gives_the_same_frame(tmp_path: Path, options: dict[str, Any]) -> None:
    values = np.moveaxis(scene(), -1, 0) if options.get("planarconfig") == "separate" else scene()
    (tmp_path / "photo.tif").write_bytes(written(values, **options))
    frames, message = read_by_both(tmp_path / "photo.tif")
    assert np.array_equal(frames, scene()[None])
    assert message == ""


def test_a_page_compressed_as_jpeg_is_what_pillow_reads(tmp_path: Path) -> None:
    (tmp_path / "photo.tif").write_bytes(written(scene(), photometric="rgb", compression="jpeg", tile=(32, 32)))
    frames, _ = read_by_both(tmp_path / "photo.tif")
    judged = np.asarray(Image.open(tmp_path / "photo.tif").convert("RGB"))
    assert np.abs(frames[0].astype(int) - judged).mean() < 1


@pytest.mark.parametrize(
    "data",
    [
        encoded(list(STACK), "TIFF"),
        encoded(list(STACK), "TIFF", compression="tiff_lzw"),
        written(STACK, photometric="rgb"),
        written(STACK, photometric="rgb", compression="zlib", metadata=None),
        written(STACK, photometric="rgb", ome=True, metadata={"axes": "TYXS"}),
        written(STACK, photometric="rgb", imagej=True, metadata={"axes": "TYXS"}),
        written(STACK, photometric="rgb", bigtiff=True),
    ],
    ids=["pillow", "pillow-lzw", "tifffile", "plain", "ome", "imagej", "bigtiff"],
)
def test_every_picture_of_a_stack_is_a_frame(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "stack.tif").write_bytes(data)
    frames, message = read_by_both(tmp_path / "stack.tif")
    assert np.array_equal(frames, STACK)
    assert message == ""


def test_a_large_stack_of_imagej_with_one_page_only_is_read_whole(tmp_path: Path) -> None:
    """Beyond 4 GB ImageJ writes one page and the pixels of all pictures behind it in one piece."""
    whole = written(GRAY_STACK, imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(io.BytesIO(whole)) as tiff:
        page, second = tiff.pages[0], tiff.pages[1]
        # The offset of the next page stands behind the twelve bytes of each tag of the first.
        next_at = page.offset + 2 + 12 * len(page.tags)
        order: Any = {"<": "little", ">": "big"}[tiff.byteorder]
        assert int.from_bytes(whole[next_at : next_at + 4], order) == second.offset
    cut = whole[:next_at] + b"\0\0\0\0" + whole[next_at + 4 :]
    assert len(tifffile.TiffFile(io.BytesIO(cut)).pages) == 1
    (tmp_path / "large.tif").write_bytes(cut)
    frames, _ = read_by_both(tmp_path / "large.tif")
    assert np.array_equal(frames[..., 0], GRAY_STACK)


@pytest.mark.parametrize("top", [1023, 4095, 65535])
def test_all_pictures_of_a_deep_stack_have_one_brightness(tmp_path: Path, top: int) -> None:
    """The pictures get darker; each keeps its share of the brightest one."""
    shares = (1.0, 0.5, 0.2)
    deep = np.stack([gray() * (share * top / 255) for share in shares]).astype(np.uint16)
    deep[0, 0, 0] = top
    (tmp_path / "deep.tif").write_bytes(written(deep, photometric="minisblack"))
    frames, _ = read_by_both(tmp_path / "deep.tif")
    for frame, share in zip(frames, shares, strict=True):
        assert np.abs(frame[1:, :, 0] - gray()[1:] * share).max() <= 1.5


@pytest.mark.parametrize(("scale", "top"), [(1 / 255, 1.0), (1.0, 255.0), (16.0, 4080.0)])
def test_floating_point_values_are_fractions_or_whole_numbers(tmp_path: Path, scale: float, top: float) -> None:
    values = gray().astype(np.float32) * np.float32(scale)
    values[0, 0] = top
    (tmp_path / "float.tif").write_bytes(written(values, photometric="minisblack"))
    frames, _ = read_by_both(tmp_path / "float.tif")
    assert np.abs(frames[0][1:, :, 1].astype(int) - gray()[1:]).max() <= 1


@pytest.mark.parametrize("bad", [-5.0, float("nan"), float("inf")])
def test_values_of_which_nobody_knows_what_is_black_are_refused(tmp_path: Path, bad: float) -> None:
    values = gray().astype(np.float32)
    values[3, 3] = bad
    (tmp_path / "float.tif").write_bytes(written(values, photometric="minisblack"))
    assert "nothing says which of them is black; convert it" in refusal(tmp_path / "float.tif")


def test_deep_colors_keep_the_bits_in_use(tmp_path: Path) -> None:
    (tmp_path / "deep.tif").write_bytes(written(scene().astype(np.uint16) << 4 | 15, photometric="rgb"))
    frames, _ = read_by_both(tmp_path / "deep.tif")
    assert np.array_equal(frames[0], scene())


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pages_are_turned_as_their_tag_says(tmp_path: Path, orientation: int, dtype: str) -> None:
    values = scene().astype(dtype) << (8 if dtype == "uint16" else 0)
    tag = (274, "H", 1, orientation, True)
    (tmp_path / "turned.tif").write_bytes(written(values, photometric="rgb", extratags=[tag]))
    frames, _ = read_by_both(tmp_path / "turned.tif")
    with Image.open(tmp_path / "turned.tif") as image:
        image.load()  # Pillow turns TIFF when it loads it
        assert np.array_equal(frames[0], np.asarray(image.convert("RGB")))


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "LA", "RGBA", "L"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_pixels_of_any_kind_are_rgb_as_pillow_converts_them(tmp_path: Path, mode: str, compression: str | None) -> None:
    image = Image.fromarray(scene()).convert("RGBA" if mode == "LA" else mode).convert(mode)
    image.save(tmp_path / "photo.tif", compression=compression)
    frames, _ = read_by_both(tmp_path / "photo.tif")
    assert np.array_equal(frames[0], np.asarray(Image.open(tmp_path / "photo.tif").convert("RGB")))


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_may_be_zero(tmp_path: Path, bits: int) -> None:
    values: Any = {1: gray() > 99, 8: gray(), 16: gray().astype(np.uint16) * 257}[bits]
    stored = ~values
    (tmp_path / "white.tif").write_bytes(written(stored, photometric="miniswhite"))
    frames, _ = read_by_both(tmp_path / "white.tif")
    expected = np.where(values, 255, 0) if bits == 1 else gray()
    assert np.array_equal(frames[0][..., 0], expected)


def test_four_bits_are_gray_of_full_range(tmp_path: Path) -> None:
    nibbles = gray() >> 4
    data = bytearray(written(nibbles[:, ::2] << 4 | nibbles[:, 1::2], photometric="minisblack", metadata=None))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        for name, value in (("ImageWidth", 80), ("BitsPerSample", 4)):
            place = tiff.pages[0].tags[name].valueoffset
            data[place : place + 2] = value.to_bytes(2, "little")
    (tmp_path / "four.tif").write_bytes(bytes(data))
    frames, _ = read_by_both(tmp_path / "four.tif")
    assert np.array_equal(frames[0][..., 0], (gray() >> 4) * 17)


def test_smaller_copies_and_masks_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(scene(), photometric="rgb", metadata=None)
        writer.write(scene()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(gray() > 99, photometric="minisblack", subfiletype=4, metadata=None)
    frames, _ = read_by_both(path)
    assert np.array_equal(frames, scene()[None])


def test_pages_of_another_size_are_scaled_and_told(tmp_path: Path) -> None:
    path = tmp_path / "scans.tif"
    with tifffile.TiffWriter(path) as writer:
        for place in range(3):
            writer.write(scene(0, (60, 80) if place != 1 else (30, 40)), photometric="rgb", metadata=None)
    frames, message = read_by_both(path)
    assert frames.shape == (3, 60, 80, 3)
    assert "80 × 60 to 40 × 30 at frame 1" in message


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.zeros((3, 2, 30, 40), np.uint8), {"ome": True, "metadata": {"axes": "TCYX"}}, "3 T x 2 C x 30 Y x 40 X"),
        (np.zeros((3, 4, 30, 40), np.uint8), {"imagej": True, "metadata": {"axes": "TZYX"}}, "3 T x 4 Z"),
        (np.zeros((2, 30, 40), np.uint8), {"ome": True, "metadata": {"axes": "CYX"}}, "2 C"),
        (np.zeros((30, 40, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "5 x 8 bit"),
        (np.zeros((30, 40), np.complex64), {"photometric": "minisblack"}, "cannot be read"),
    ],
    ids=["channels", "depths", "stains", "bands", "complex"],
)
def test_what_is_no_sequence_of_pictures_is_refused(
    tmp_path: Path, values: np.ndarray[Any, Any], options: dict[str, Any], said: str
) -> None:
    (tmp_path / "stack.tif").write_bytes(written(values, **options))
    assert said in refusal(tmp_path / "stack.tif")


def test_a_raw_photo_is_told_from_a_picture(tmp_path: Path) -> None:
    dng = written(gray(), photometric="minisblack", extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
    (tmp_path / "photo.dng").write_bytes(dng)
    assert "is a raw photo, which is not read; convert it to a JPEG or TIFF file" in refusal(tmp_path / "photo.dng")


def test_a_raw_photo_of_canon_is_not_read_for_its_preview(tmp_path: Path) -> None:
    """Its header is that of TIFF and eight bytes more; the first page is a small JPEG or RGB picture."""
    height, width = 3, 4
    size, layout = ((256, width), (257, height), (258, 8), (259, 1)), ((273, 200), (277, 1), (278, height), (279, 12))
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*size, (262, 1), *layout)]
    header = b"II*\0" + struct.pack("<I", 16) + b"CR\x02\0" + bytes(4)
    photo = (header + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)).ljust(200, b"\0") + bytes(12)
    (tmp_path / "photo.cr2").write_bytes(photo)
    assert "is a raw photo, which is not read; convert it to a JPEG or TIFF file" in refusal(tmp_path / "photo.cr2")


def test_a_page_of_too_many_pixels_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    data = bytearray(written(scene(), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tag = tiff.pages[0].tags[name]
            data[tag.valueoffset : tag.valueoffset + 2] = (60000).to_bytes(2, "little")
    (tmp_path / "large.tif").write_bytes(bytes(data))
    assert "is 60000 × 60000, more than the" in refusal(tmp_path / "large.tif")


def test_a_page_that_is_damaged_keeps_its_place(tmp_path: Path) -> None:
    data = bytearray(written(STACK, photometric="rgb", compression="zlib", metadata=None))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        start = tiff.pages[2].dataoffsets[0]
    data[start : start + 20] = b"\xff" * 20
    reader = open_reader(in_memory(bytes(data)))
    assert [bool(raw.fault) for raw in reader.read()] == [False, False, True, False, False]
    assert reader.remarks()[0].startswith("no row for 1 image that cannot be read (frame 2: ")
    (tmp_path / "stack.tif").write_bytes(bytes(data))
    with pytest.raises(MediaError):
        load_video(tmp_path / "stack.tif")


def test_a_set_of_several_files_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OME names the other files of a set, and so would open any file of that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private.tif").write_bytes(written(gray(), ome=True, metadata={"axes": "YX"}))
    data = written(np.stack([gray(), gray()]), ome=True, metadata={"axes": "TYX"}, photometric="minisblack")
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        description = tiff.pages[0].tags["ImageDescription"]
        xml = description.value
    single = '<TiffData IFD="0" PlaneCount="2"'
    assert single in xml, xml
    other = (
        '<TiffData IFD="0" PlaneCount="1" FirstT="0"/><TiffData FirstT="1" PlaneCount="1" IFD="0">'
        '<UUID FileName="private.tif">urn:uuid:1</UUID></TiffData>'
    )
    start = xml.index(single)
    changed = xml[:start] + other + xml[xml.index("/>", start) + 2 :]
    data = written(gray(), photometric="minisblack", description=changed, metadata=None)
    reader = open_reader(in_memory(data))
    faults = [raw.fault for raw in reader.read()]
    assert faults[0] == ""
    assert "in another file" in faults[1]


WITHOUT_CODECS = """
import json, sys
sys.modules["imagecodecs"] = None
from model import Media, open_reader
said = {}
for path in sys.argv[1:]:
    try:
        reader = open_reader(Media("photo", (lambda: open(path, "rb"),)))
        size_hw = reader.info().size_hw
        said[path] = next(reader.read()).picture.pixels(size_hw).tobytes().hex()
    except ValueError as error:
        said[path] = str(error)
print(json.dumps(said))
"""


@pytest.mark.slow
def test_without_the_extra_pillow_reads_most_and_the_rest_names_it(tmp_path: Path) -> None:
    files = {
        "lzw.tif": written(scene(), photometric="rgb", compression="lzw"),
        "zlib.tif": written(scene(), photometric="rgb", compression="zlib", predictor=True),
        "deep.tif": written(gray().astype(np.uint16) * 257, photometric="minisblack", compression="lzw"),
        "deep_colors.tif": written(scene().astype(np.uint16), photometric="rgb", compression="lzw"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files]
    run = subprocess.run([sys.executable, "-c", WITHOUT_CODECS, *paths], capture_output=True, text=True, check=True)
    said = dict(zip(files, json.loads(run.stdout).values(), strict=True))
    assert said["lzw.tif"] == said["zlib.tif"] == scene().tobytes().hex()
    assert said["deep.tif"] == np.repeat(gray()[..., None], 3, axis=2).tobytes().hex()
    assert "pip install 'maskmill[tiff]'" in said["deep_colors.tif"]
