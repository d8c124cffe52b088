"""YOLO's polygons as Ultralytics and supervision read them."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.formats.polygons import outline
from pipeline.formats.writers.yolo_seg import RingTexts
from tests.pipeline.formats.conftest import FILMED, DrawnJob
from tests.pipeline.formats.test_polygons import drawn as drawn_mask
from tests.support.drawn_job import HEIGHT, WIDTH
from tests.support.exported import iou, lost_of

Export = Callable[..., Path]


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`ultralytics.data.utils`, kept from the network and from the user's folder; what it sets globally is put back."""
    folder = tmp_path_factory.mktemp("ultralytics")
    (folder / "Arial.ttf").touch()  # it fetches the font where there is none
    root, printing, num_threads = logging.getLogger(), np.get_printoptions(), cv2.getNumThreads()
    level, handlers = root.level, list(root.handlers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(folder))
        patch.setenv("YOLO_OFFLINE", "true")
        for name in ("NUMEXPR_MAX_THREADS", "TF_CPP_MIN_LOG_LEVEL", "TORCH_CPP_LOG_LEVEL", "KINETO_LOG_LEVEL"):
            patch.setenv(name, os.environ.get(name, ""))
        patch.setattr(torch, "save", torch.save)
        patch.setattr(Image, "open", Image.open)
        for name in ("imread", "imwrite", "imshow"):
            patch.setattr(cv2, name, getattr(cv2, name))
        yield importlib.import_module("ultralytics.data.utils")
    np.set_printoptions(**printing)
    torch.set_printoptions(profile="default")
    cv2.setNumThreads(num_threads)
    root.setLevel(level)
    root.handlers[:] = handlers


def masks_of(drawn: DrawnJob, frame: int) -> dict[int, np.ndarray]:
    found = {object_id: drawn.truth.get(("clip-1", object_id, frame)) for object_id in (3, 7)}
    return {object_id: mask for object_id, mask in found.items() if mask is not None and mask.any()}


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["joined", "largest"])
def test_ultralytics_accepts_every_file_and_fills_what_the_manifest_says(
    export_filmed: Export, filmed: DrawnJob, ultralytics: Any, parts: str
) -> None:
    folder = export_filmed("yolo_seg", "frames=png", f"parts={parts}")
    images = sorted((folder / "images/train").iterdir())
    assert [path.name for path in images] == [f"clip-1_{frame:05d}.png" for frame in FILMED.frames]
    labels = ultralytics.img2label_paths([str(path) for path in images])
    ious = []
    for image, label, frame in zip(images, labels, FILMED.frames, strict=True):
        found = ultralytics.verify_image_label((str(image), label, "", False, 2, 0, 0, False))
        name, rows, shape, rings, _, missing, is_found, empty, corrupt, message = found
        assert (name, shape, message) == (str(image), (HEIGHT, WIDTH), "")
        masks = masks_of(filmed, frame)
        assert (missing, is_found, empty, corrupt) == (0, 1, int(not masks), 0)
        assert rows[:, 0].tolist() == [{7: 0, 3: 1}[object_id] for object_id in masks]
        assert (rows[:, 3:] > 0).all()
        for ring, mask in zip(rings, masks.values(), strict=True):
            painted = ultralytics.polygon2mask((HEIGHT, WIDTH), [(ring * (WIDTH, HEIGHT)).reshape(-1)])
            ious.append(iou(mask, painted.astype(bool)))
    lost = {kind: (one["masks"], one["iou_mean"]) for kind, one in lost_of(folder).items()}
    assert sum(count for count, _ in lost.values()) == sum(value < 1 for value in ious)
    told = sum(count * mean for count, mean in lost.values())
    assert told == pytest.approx(sum(value for value in ious if value < 1))
    assert set(lost) == ({"parts"} if parts == "joined" else {"parts", "holes"})
    assert min(ious) > (0.9 if parts == "joined" else 0.5)


@pytest.mark.slow
def test_supervision_reads_the_data_set_with_the_same_pixels(export_filmed: Export, filmed: DrawnJob) -> None:
    import supervision as sv

    folder = export_filmed("yolo_seg", "frames=jpg", "parts=joined")
    read = sv.DetectionDataset.from_yolo(
        str(folder / "images/train"), str(folder / "labels/train"), str(folder / "data.yaml"), force_masks=True
    )
    assert read.classes == ["cat", "dog"]
    assert len(read) == len(FILMED.frames)
    for path, _, detections in read:
        masks = masks_of(filmed, int(Path(path).stem[-5:]))
        assert detections.class_id.tolist() == [{7: 0, 3: 1}[object_id] for object_id in masks]
        for found, mask in zip(detections.mask if masks else [], masks.values(), strict=True):
            assert iou(mask, np.asarray(found)) > 0.9


@pytest.mark.slow
def test_ultralytics_finds_images_and_classes_by_data_yaml(export: Export, ultralytics: Any) -> None:
    folder = export("yolo_seg", "splits.a=0.5", "splits.b=0.5")
    for split in "ab":
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    found = ultralytics.check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    assert found["names"] == {0: "cat", 1: "dog", 2: "object"}
    assert found["train"] == found["val"] == str(folder / "images/a")
    assert yaml.safe_load((folder / "data.yaml").read_text())["b"] == "images/b"


def test_frames_without_visible_objects_have_empty_files(export: Export) -> None:
    files = list((export("yolo_seg") / "labels/train").iterdir())
    assert len(files) == 6 + 4 + 6
    empty = {path.stem for path in files if not path.read_text()}
    assert empty == {"clip-1_00004", "c_00004"}


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3000), st.integers(0, 1500))
@example(238186, 0, 0)  # one pixel wide
def test_readers_that_cut_and_readers_that_round_find_the_same_pixels(seed: int, left: int, top: int) -> None:
    """In pictures of every size, in numbers of 32 bits: Ultralytics cuts, supervision rounds."""
    mask = drawn_mask(seed)
    ring = outline(mask, joined=True).ring
    height, width = top + mask.shape[0], left + mask.shape[1]
    words = RingTexts((height, width)).of(ring, (left, top, *mask.shape[::-1])).split()
    assert len(words) >= 6
    read = np.array(words, np.float32).reshape(-1, 2)
    assert (read >= 0).all()
    assert (read < 1).all()
    assert (np.ptp(read, axis=0) > 0).all()

    def filled(points_N2: np.ndarray) -> bytes:
        return cv2.fillPoly(np.zeros(mask.shape, np.uint8), [points_N2.astype(np.int32)], 1).tobytes()

    for found in (np.floor(read * (width, height)), np.round(read * (width, height))):
        assert filled(found - (left, top)) == filled(ring)
