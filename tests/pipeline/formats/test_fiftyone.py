"""The dataset by the description of FiftyOneVideoLabelsDataset, and by ETA, with which fiftyone reads its labels.

fiftyone itself is no judge here, because it starts a MongoDB server.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job
from tests.support.exports import assert_same_masks

Export = Callable[..., Path]


@pytest.mark.slow
def test_labels_are_the_masks_in_their_boxes(export: Export, drawn: DrawnJob) -> None:
    folder = export("fiftyone") / "train"
    ids = {json.loads(line)["name"]: json.loads(line)["video_id"] for line in _lines(folder.parent)}
    found = {}
    for entry in _index(folder):
        labels = json.loads((folder / entry["labels"]).read_text())
        assert list(map(int, labels["frames"])) == [one["frame_number"] for one in labels["frames"].values()]
        for frame in labels["frames"].values():
            for one in frame["objects"]["objects"]:
                object_id = int(_attributes(one)["object_id"])
                found[ids[Path(entry["labels"]).stem], object_id, frame["frame_number"] - 1] = _mask(one)
    expected = {key: mask for key, mask in drawn.truth.items() if mask.any()}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], mask) for key, mask in expected.items())


@pytest.mark.slow
def test_the_parser_of_fiftyone_finds_each_mask(
    export: Export, drawn: DrawnJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("py7zr", "rarfile"):  # for archives, of which there are none
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    video_labels = importlib.import_module("eta.core.video").VideoLabels
    folder = export("fiftyone")
    ids = {json.loads(line)["name"]: json.loads(line)["video_id"] for line in _lines(folder)}
    found = {}
    for path in (folder / "train/labels").glob("*.json"):
        labels = video_labels.from_json(str(path))
        for number in labels:
            for one in labels[number].objects:
                box = one.bounding_box.top_left
                top, left = round(box.y * HEIGHT), round(box.x * WIDTH)
                mask_HW = np.zeros((HEIGHT, WIDTH), bool)
                mask_HW[top : top + one.mask.shape[0], left : left + one.mask.shape[1]] = one.mask
                found[ids[path.stem], int(one.attrs[0].value), number - 1] = mask_HW
    assert_same_masks(found, {key: mask for key, mask in drawn.truth.items() if key[:2] != ("c", 5)})


def test_objects_have_label_number_and_scores(export: Export) -> None:
    folder = export("fiftyone", "videos=clip-1") / "train"
    labels = json.loads((folder / "labels/clip-1.json").read_text())
    one, other = labels["frames"]["2"]["objects"]["objects"]
    assert [one["label"], one["index"], other["label"], other["index"]] == ["dog", 1, "cat", 2]
    assert one["confidence"] == pytest.approx(0.8)
    assert one["type"] == "eta.core.objects.DetectedObject"
    assert _attributes(one) == {"object_id": "3", "object_score": 6.0, "is_prompt": False}


@pytest.mark.slow
def test_a_video_is_named_by_its_uri_and_one_without_by_the_place_for_its_file(tmp_path: Path) -> None:
    videos = (
        DrawnVideo("a", {1: "x"}, uri="file:///films/a%20b.mp4"),
        DrawnVideo("b.c", {1: "x"}),
        DrawnVideo("in-tar", {1: "x"}, uri="s3://bucket/films.tar::one.mp4"),
        DrawnVideo("remote", {1: "x"}, uri="s3://bucket/one.mp4"),
    )
    uri, _ = write_job(tmp_path, videos, broken=())
    assert door([f"output={uri}", "format=fiftyone", f"to={tmp_path / 'x'}"]) == 0
    first, second, third, fourth = _index(tmp_path / "x/train")
    assert first == {"data": "/films/a b.mp4", "labels": "labels/a.json"}
    assert second["data"] == second["labels"].replace("labels/", "data/").replace(".json", ".mp4")
    assert third["data"] == "data/in-tar.mp4"
    assert fourth["data"] == "s3://bucket/one.mp4"


def _lines(folder: Path) -> list[str]:
    return (folder / "manifest_videos.jsonl").read_text().splitlines()


def _index(folder: Path) -> list[dict[str, str]]:
    document = json.loads((folder / "manifest.json").read_text())
    assert document.keys() == {"type", "description", "index"}
    assert document["type"] == "eta.core.datasets.LabeledVideoDataset"
    found: list[dict[str, str]] = document["index"]
    return found


def _attributes(one: dict[str, Any]) -> dict[str, Any]:
    return {attribute["name"]: attribute["value"] for attribute in one["attrs"]["attrs"]}


def _mask(one: dict[str, Any]) -> np.ndarray:
    """The crop put back where its relative box lies."""
    crop = np.load(io.BytesIO(zlib.decompress(base64.b64decode(one["mask"]))))
    first, last = one["bounding_box"]["top_left"], one["bounding_box"]["bottom_right"]
    left, right = first["x"] * WIDTH, last["x"] * WIDTH
    top, bottom = first["y"] * HEIGHT, last["y"] * HEIGHT
    assert crop.shape == (round(bottom) - round(top), round(right) - round(left))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[round(top) : round(bottom), round(left) : round(right)] = crop
    return mask
