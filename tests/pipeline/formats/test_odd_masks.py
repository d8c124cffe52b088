"""Masks and videos at the edge of what there is, through all formats of pictures and polygons, pixel by pixel."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.exported import lost_of, videos_of

Shown = dict[tuple[str, int], np.ndarray]


def odd_masks() -> dict[str, list[np.ndarray]]:
    """Masks by id of their video, a frame each."""

    def mask(height: int, width: int, *pieces: tuple[slice | int, slice | int]) -> np.ndarray:
        found = np.zeros((height, width), bool)
        for piece in pieces:
            found[piece] = True
        return found

    rest = slice(None)
    return {
        "one pixel.mp4": [np.ones((1, 1), bool), np.zeros((1, 1), bool)],
        "猫/a row": [mask(1, 7, (0, 6)), mask(1, 7, (0, slice(2, 5)))],
        "A Column": [mask(61, 1, (slice(3, 60), 0)), np.ones((61, 1), bool)],
        "corners..": [mask(17, 31, (row, column)) for row in (0, 16) for column in (0, 30)],
        "lines": [mask(33, 20, (32, rest)), mask(33, 20, (rest, 0)), np.eye(33, 20, dtype=bool)],
        "borders": [np.ones((9, 12), bool), mask(9, 12, (slice(0, 8), slice(0, 11))), mask(9, 12, (rest, slice(5, 7)))],
    }


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> DrawnJob:
    videos = tuple(
        DrawnVideo(
            video_id, {1: "Ünïcode, thing"}, len(masks), masks={(1, place): one for place, one in enumerate(masks)}
        )
        for video_id, masks in odd_masks().items()
    )
    return DrawnJob(*write_job(tmp_path_factory.mktemp("odd"), videos, broken=()))


def pictures(folder: Path, pattern: str, names: dict[str, str]) -> Shown:
    found = {}
    for path in folder.glob(pattern):
        (video_id,) = (names[part] for part in path.parts if part in names)
        found[video_id, int(path.stem)] = np.asarray(Image.open(path)) > 0
    return found


def davis(folder: Path, names: dict[str, str]) -> Shown:
    return pictures(folder, "Annotations/480p/*/*.png", names)


def sa_v_png(folder: Path, names: dict[str, str]) -> Shown:
    return pictures(folder, "sav_train/Annotations_6fps/*/000/*.png", names)


def mots_png(folder: Path, names: dict[str, str]) -> Shown:
    return pictures(folder, "train/instances/*/*.png", names)


def sa_v_json(folder: Path, names: dict[str, str]) -> Shown:
    return {
        (names[path.name.removesuffix("_manual.json")], frame): coco.decode(mask).astype(bool)
        for path in folder.glob("sav_train/*.json")
        for frame, (mask,) in enumerate(json.loads(path.read_text())["masklet"])
    }


def mots_text(folder: Path, names: dict[str, str]) -> Shown:
    lines = ((path.stem, line.split(" ")) for path in folder.glob("label_02/*") for line in path.open())
    return {
        (names[name], int(frame)): coco.decode({"size": [int(height), int(width)], "counts": code.strip()}).astype(bool)
        for name, (frame, _, _, height, width, code) in lines
    }


def yolo(folder: Path, names: dict[str, str]) -> Shown:
    """The polygons, filled by OpenCV."""

    def filled() -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        for path in folder.glob("labels/train/*.txt"):
            video_id, frame = names[path.stem[:-6]], int(path.stem[-5:])
            canvas = np.zeros(odd_masks()[video_id][0].shape, np.uint8)
            for line in path.read_text().splitlines():
                ring = np.array(line.split()[1:], np.float32).reshape(-1, 2) * canvas.shape[::-1]
                assert len(ring) >= 3
                cv2.fillPoly(canvas, [ring.astype(np.int32)], 1)
            yield (video_id, frame), canvas > 0

    return dict(filled())


@pytest.mark.fast_core(2)
@pytest.mark.parametrize(
    ("read", "words"),
    [
        (davis, "format=davis"),
        (sa_v_png, "format=sa_v variant=png frame_step=1"),
        (sa_v_json, "format=sa_v frame_step=1"),
        (mots_png, "format=mots"),
        (mots_text, "format=mots variant=kitti"),
        (yolo, "format=yolo_seg"),
    ],
)
def test_odd_masks_of_videos_with_odd_names_come_back_pixel_by_pixel(
    read: Callable[[Path, dict[str, str]], Shown], words: str, odd: DrawnJob, tmp_path: Path
) -> None:
    assert door([f"output={odd.uri}", f"to={tmp_path / 'to'}", *words.split()]) == 0
    names = {record["name"]: video_id for video_id, record in videos_of(tmp_path / "to").items()}
    found = read(tmp_path / "to", names)
    expected = {(video_id, frame): mask for (video_id, _, frame), mask in odd.truth.items()}
    if read is mots_text:
        expected = {key: mask for key, mask in expected.items() if mask.any()}
    assert found.keys() == expected.keys()
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], mask)
    assert lost_of(tmp_path / "to") == {}
