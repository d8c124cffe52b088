"""Names of pictures tell video and frame, also where they have dots, or what Roboflow puts behind them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.formats.label import ReadOptions
from pipeline.formats.labels import read_labels
from pipeline.prompts import door

BOX = "0 0.5 0.5 0.2 0.2\n"
RENAMED = "cup_00012_jpg.rf.06d5884d72dac1031f6a6c54370e6492"


def texts(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(BOX)


def found(source: Path, format_name: str, options: ReadOptions | None = None) -> list[tuple[str, int | None]]:
    return [(label.video, label.frame_index) for label in read_labels(str(source), format_name, options)]


def test_a_text_of_yolo_may_have_dots_in_its_name(tmp_path: Path) -> None:
    texts(tmp_path, "labels/train/cam1.mp4_00012.txt", "labels/train/v/2024.05.01_00040.txt")
    assert found(tmp_path, "yolo") == [("cam1.mp4", 12), ("v", 40)]


def test_results_of_ultralytics_may_name_pictures_with_dots(tmp_path: Path) -> None:
    results = [{"image_id": name, "category_id": 1, "bbox": [1, 2, 3, 4]} for name in ("a.1_00012", "a.1_00013.png")]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert found(tmp_path / "results.json", "coco") == [("a.1", 12), ("a.1", 13)]


@pytest.mark.parametrize("format_name", ["yolo", "auto"])
def test_a_folder_of_roboflow_is_read_as_the_pictures_that_were_given_to_it(tmp_path: Path, format_name: str) -> None:
    texts(tmp_path, f"train/labels/{RENAMED}.txt", "valid/labels/cup_00040_png.rf.0Ab3dE9.txt")
    (tmp_path / "README.dataset.txt").write_text("cups > 2024-05-01\n")
    (tmp_path / "README.roboflow.txt").write_text("\ncups - v1\n")
    (tmp_path / "data.yaml").write_text("nc: 1\nnames: ['cup']\n")
    assert found(tmp_path, format_name) == [("cup", 12), ("cup", 40)]


def test_texts_of_yolo_that_cvat_wrote_name_no_folder_of_its_own_as_the_video(tmp_path: Path) -> None:
    texts(tmp_path, "obj_train_data/frame_000012.txt", "obj_train_data/cup/000040.txt")
    (tmp_path / "train.txt").write_text("data/obj_train_data/frame_000012.png\n")
    (tmp_path / "obj.names").write_text("mug\n")
    assert found(tmp_path, "yolo") == [("", 12), ("cup", 40)]


def test_coco_of_roboflow_has_the_numbers_of_the_pictures_that_were_given_to_it(tmp_path: Path) -> None:
    image = {"id": 0, "file_name": f"{RENAMED}.jpg", "height": 48, "width": 64}
    annotation = {"id": 0, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40]}
    document = {"images": [image], "categories": [{"id": 1, "name": "cup"}], "annotations": [annotation]}
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(document))
    assert found(tmp_path / "_annotations.coco.json", "coco") == [("cup", 12)]


@pytest.mark.slow
def test_pictures_of_a_folder_are_found_by_names_that_have_dots_or_were_changed(tmp_path: Path) -> None:
    names = ("2024.05.01_00030.jpg", "2024.05.01_00031.jpg", "2024.05.01_00032.jpg")
    (tmp_path / "clips/cup").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (64, 48)).save(tmp_path / "clips/cup" / name)
    texts(tmp_path / "a", "labels/cup/2024.05.01_00031.txt")
    texts(tmp_path / "b", "labels/cup/2024.05.01_00031_jpg.rf.06d5884d72dac1031f6a6c54370e6492.txt")
    for source in ("a", "b"):
        words = [f"from={tmp_path / source}", f"videos={tmp_path / 'clips'}", f"to={tmp_path / 'p.parquet'}"]
        assert door([*words, "format=yolo"]) == 0
        assert pq.read_table(tmp_path / "p.parquet")["frame_index"].to_pylist() == [1]
