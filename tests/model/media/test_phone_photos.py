"""HEIC and AVIF photos. The judge is the drawn scene, which was encoded nearly without loss."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.arrays import UInt8Array
from tests.support.drawn_pictures import encoded, heic, read_by_both, refusal, scene
from tests.support.heif_files import box, grid_photo, turn


def difference(first: UInt8Array, second: UInt8Array) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(int) - second).mean())


WHOLE = scene(2, (128, 192))


def photo(kind: str, turned: Sequence[bytes] = ()) -> bytes:
    """The scene, cut off at 120 x 190, as six tiles."""
    tiles = [WHOLE[y : y + 64, x : x + 64].copy() for y in (0, 64) for x in (0, 64, 128)]
    options = {"quality": 100, "subsampling": "4:4:4"}
    files = [heic(tile) if kind == "heic" else encoded(tile, "AVIF", **options) for tile in tiles]
    return grid_photo(files, 3, (120, 190), (64, 64), turned)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("kind", ["heic", "avif"])
@pytest.mark.parametrize("quarters", range(4))
def test_a_photo_of_tiles_is_put_together_and_turned(tmp_path: Path, kind: str, quarters: int) -> None:
    """FFmpeg gives the tiles as streams, of which the first is not the photo."""
    (tmp_path / "photo").write_bytes(photo(kind, turn(quarters)))
    frames, message = read_by_both(tmp_path / "photo")
    assert len(frames) == 1
    assert difference(frames[0], np.rot90(WHOLE[:120, :190], quarters)) < 3
    assert message == ""


@pytest.mark.slow
@pytest.mark.parametrize("mirror", [0, 1])
@pytest.mark.parametrize("quarters", [0, 1])
def test_photos_are_mirrored_alike_by_two_libraries(tmp_path: Path, quarters: int, mirror: int) -> None:
    frames = []
    for kind in ("heic", "avif"):
        (tmp_path / kind).write_bytes(photo(kind, turn(quarters, mirror)))
        frames.append(read_by_both(tmp_path / kind)[0][0])
    assert difference(*frames) < 3
    plain = np.rot90(WHOLE[:120, :190], quarters)
    assert min(difference(frames[0], plain[::-1]), difference(frames[0], plain[:, ::-1])) < 3


def test_a_photo_of_odd_size_is_cut_to_it(tmp_path: Path) -> None:
    """The coded size is even; a clean aperture says what of it is the photo."""
    (tmp_path / "photo.heic").write_bytes(heic(scene(0, (59, 79))))
    assert b"clap" in (tmp_path / "photo.heic").read_bytes()
    frames, _ = read_by_both(tmp_path / "photo.heic")
    assert difference(frames[0], scene(0, (59, 79))) < 3


def test_more_pictures_than_the_main_one_are_told(tmp_path: Path) -> None:
    heif = pillow_heif.from_pillow(Image.fromarray(scene()))
    heif.add_from_pillow(Image.fromarray(scene(1)))
    heif.save(tmp_path / "burst.heic", quality=-1)
    frames, message = read_by_both(tmp_path / "burst.heic")
    assert len(frames) == 1
    assert message == "holds 1 more than its main picture, which alone is labeled"


def test_a_film_of_heic_is_refused_because_no_reader_reads_it_whole(tmp_path: Path) -> None:
    (tmp_path / "film.heics").write_bytes(box(b"ftyp", b"msf1\0\0\0\0msf1hevciso8") + b"\0" * 100)
    assert "is a HEIC film, which is not read; convert it to MP4" in refusal(tmp_path / "film.heics")


def test_a_damaged_photo_is_told(tmp_path: Path) -> None:
    data = heic(scene())
    (tmp_path / "half.heic").write_bytes(data[: len(data) // 2])
    assert "cannot be read as a picture" in refusal(tmp_path / "half.heic")


WITHOUT_HEIF = """
import sys
sys.modules["pillow_heif"] = None
from model import Media, open_reader
try:
    open_reader(Media("photo", (lambda: open(sys.argv[1], "rb"),))).info()
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_the_extra_the_message_names_it(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(heic(scene()))
    arguments = [sys.executable, "-c", WITHOUT_HEIF, str(tmp_path / "photo.heic")]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert "is a HEIC photo, and pillow-heif is not installed, which reads them: pip install 'maskmill[heif]'" in said
