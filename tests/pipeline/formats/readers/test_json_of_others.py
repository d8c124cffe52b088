"""JSON of COCO, YouTube-VIS and Label Studio as others have it: joined files, turned boxes, two annotators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelBox, LabelMask
from pipeline.formats.labels import read_labels

BOX = {"id": 1, "image_id": 1, "video_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}


def image(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": 20, "width": 30}


def read(folder: Path, format_name: str, content: Any) -> list[Label]:
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return list(read_labels(str(path), format_name))


def coco(annotation: dict[str, Any], **more: Any) -> dict[str, Any]:
    images, categories = [image(1, "cup/00000.jpg")], [{"id": 1, "name": "cup"}]
    return {"images": images, "categories": categories, "annotations": [annotation]} | more


@pytest.mark.parametrize(
    ("format_name", "key", "one", "other"),
    [
        ("coco", "images", image(1, "cup/00000.jpg"), image(1, "pan/00000.jpg")),
        ("coco", "categories", {"id": 1, "name": "cup"}, {"id": 1, "name": "pan"}),
        ("coco_video", "videos", {"id": 1, "name": "cup"}, {"id": 1, "name": "pan"}),
        ("youtube_vis", "videos", {"id": 1, "name": "cup", "length": 1}, {"id": 1, "name": "pan", "length": 1}),
        ("youtube_vis", "categories", {"id": 1, "name": "cup"}, {"id": 1, "name": "pan"}),
    ],
)
def test_two_of_one_id_are_refused_because_annotations_would_move_to_the_later_one(
    tmp_path: Path, format_name: str, key: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    videos = {"videos": [{"id": 1, "name": "cup", "length": 1}]} if format_name == "youtube_vis" else {}
    annotation = BOX | {"bboxes": [BOX["bbox"]], "segmentations": [None]}
    read(tmp_path, format_name, coco(annotation, **videos) | {key: [one, one]})
    with pytest.raises(InputError, match=rf"{key}\[1\]: another one of {key} has the id 1 too"):
        read(tmp_path, format_name, coco(annotation, **videos) | {key: [one, other]})


def test_a_turned_box_of_cvat_is_not_taken_for_an_upright_one(tmp_path: Path) -> None:
    turned = BOX | {"segmentation": [], "attributes": {"rotation": 30.5}}
    with pytest.raises(InputError, match=r"annotations\[0\]: its box is turned by 30\.5 degrees"):
        read(tmp_path, "coco", coco(turned))
    upright = turned | {"attributes": {"rotation": 0.0}}
    assert read(tmp_path, "coco", coco(upright))[0].shape == LabelBox((1, 2, 4, 6))
    polygon = turned | {"segmentation": [[1, 2, 9, 2, 9, 9]]}
    assert isinstance(read(tmp_path, "coco", coco(polygon))[0].shape, LabelMask)


def test_a_polygon_without_points_beside_a_box_is_no_mask(tmp_path: Path) -> None:
    assert read(tmp_path, "coco", coco(BOX | {"segmentation": [[]]}))[0].shape == LabelBox((1, 2, 4, 6))


def annotation(region: str, **more: Any) -> dict[str, Any]:
    item = {"frame": 1, "x": 1, "y": 2, "width": 5, "height": 5, "enabled": False}
    value = {"sequence": [item], "labels": ["cup"]}
    return {"result": [{"id": region, "type": "videorectangle", "value": value}], **more}


def test_of_two_annotators_of_label_studio_the_one_that_is_marked_counts(tmp_path: Path) -> None:
    def task(*annotations: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"id": 3, "data": {"video": "cup.mp4"}, "annotations": list(annotations)}]

    with pytest.raises(InputError, match="task 3: it has 2 annotations, and each thing would be as many objects"):
        read(tmp_path, "label_studio", task(annotation("a"), annotation("b")))
    marked = task(annotation("a"), annotation("b", ground_truth=True))
    passed = task(annotation("b"), annotation("a", was_cancelled=True), {"result": []})
    for tasks in (marked, passed):
        assert [label.object_key for label in read(tmp_path, "label_studio", tasks)] == ["b"]
