"""COCO as its readers read it: images, and videos with instances."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH
from tests.support.exports import IdMap, assert_same_masks

Export = Callable[..., Path]
INSTANCES = "annotations/instances_train.json"


@pytest.mark.slow
def test_pycocotools_reads_every_visible_mask_as_it_is(export: Export, drawn: DrawnJob) -> None:
    folder = export("coco")
    read, ids = COCO(str(folder / INSTANCES)), IdMap.of(folder)
    found = {}
    for annotation in read.anns.values():
        video_id, object_id = ids.tracks[annotation["track_id"]]
        video_of_image, frame_index = ids.images[annotation["image_id"]]
        assert video_of_image == video_id
        found[video_id, object_id, frame_index] = read.annToMask(annotation).astype(bool)
    assert_same_masks(found, drawn.truth)
    assert {one["name"] for one in read.cats.values()} == {"cat", "dog", "object"}
    assert set(read.imgs) == set(ids.images), "frames without a visible mask are images too"


def test_codes_of_the_job_are_handed_through_byte_for_byte(export: Export, drawn: DrawnJob) -> None:
    from pipeline import tables

    folder = export("coco")
    ids = IdMap.of(folder)
    rows = tables.open(drawn.uri).masks().to_table(columns=["video_id", "object_id", "frame_index", "rle"]).to_pylist()
    codes = {(row["video_id"], row["object_id"], row["frame_index"]): row["rle"]["counts"] for row in rows}
    for annotation in json.loads((folder / INSTANCES).read_text())["annotations"]:
        video_id, frame_index = ids.images[annotation["image_id"]]
        key = video_id, ids.tracks[annotation["track_id"]][1], frame_index
        assert annotation["segmentation"]["counts"] == codes[key]


def test_coco_video_has_frames_from_0_and_instances_from_1(export: Export, drawn: DrawnJob) -> None:
    folder = export("coco_video")
    document, ids = json.loads((folder / INSTANCES).read_text()), IdMap.of(folder)
    read = COCO(str(folder / INSTANCES))
    by_video: dict[int, list[int]] = {}
    for image in document["images"]:
        by_video.setdefault(image["video_id"], []).append(image["frame_id"])
        assert ids.images[image["id"]] == (ids.videos[image["video_id"]]["video_id"], image["frame_index"])
    assert by_video == {one["id"]: list(range(one["length"])) for one in document["videos"]}
    found = {}
    for annotation in document["annotations"]:
        assert annotation["instance_id"] >= 1
        assert annotation["area"] > 0
        assert annotation["video_id"] == read.imgs[annotation["image_id"]]["video_id"]
        video_id, object_id = ids.tracks[annotation["instance_id"]]
        frame_index = ids.images[annotation["image_id"]][1]
        found[video_id, object_id, frame_index] = read.annToMask(annotation).astype(bool)
    assert_same_masks(found, drawn.truth)
    assert len({one["id"] for one in document["annotations"]}) == len(document["annotations"])


def test_trackers_read_videos_of_instances_as_mmdet_does(export: Export, drawn: DrawnJob) -> None:
    """The rules of `BaseVideoDataset` of mmdet 3.3, written from its description, on the index of pycocotools."""
    folder = export("coco_video")
    read, ids = COCO(str(folder / INSTANCES)), IdMap.of(folder)
    found, num_instances = {}, set()
    for video in read.dataset["videos"]:
        images = sorted(
            (one for one in read.imgs.values() if one["video_id"] == video["id"]), key=lambda one: one["frame_id"]
        )
        assert [one["frame_id"] for one in images] == list(range(len(images))), "frames count from 0 without a gap"
        for image in images:
            for annotation in read.loadAnns(read.getAnnIds(imgIds=[image["id"]])):
                if not is_kept(annotation, image, read):
                    continue
                assert annotation.get("instance_id"), "0 is taken for none, and numbered anew"
                num_instances.add(annotation["instance_id"])
                video_id, object_id = ids.tracks[annotation["instance_id"]]
                key = video_id, object_id, ids.images[image["id"]][1]
                found[key] = read.annToMask(annotation).astype(bool)
    assert_same_masks(found, drawn.truth)
    assert len(num_instances) == len({key[:2] for key, mask in drawn.truth.items() if mask.any()})


def is_kept(annotation: dict[str, Any], image: dict[str, Any], read: COCO) -> bool:
    """Whether mmdet keeps an annotation: it has an area, and a box of a pixel or more that meets the picture."""
    x, y, width, height = annotation["bbox"]
    inside_width = max(0, min(x + width, image["width"]) - max(x, 0))
    inside_height = max(0, min(y + height, image["height"]) - max(y, 0))
    has_size = annotation["area"] > 0 and width >= 1 and height >= 1 and inside_width * inside_height > 0
    return has_size and annotation["category_id"] in read.cats and not annotation["iscrowd"]


@pytest.mark.slow
def test_detectors_read_frames_with_their_masks(export_filmed: Export, filmed: DrawnJob) -> None:
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    folder = export_filmed("coco", "frames=png")
    ids = IdMap.of(folder)
    dataset = wrap_dataset_for_transforms_v2(
        CocoDetection(folder / "images", folder / INSTANCES), target_keys=("image_id", "masks", "boxes", "labels")
    )
    num_masks = 0
    for image, target in dataset:
        video_id, frame_index = ids.images[target["image_id"]]
        expected = {key[1]: mask for key, mask in filmed.truth.items() if key[0] == video_id and key[2] == frame_index}
        visible = [mask for _, mask in sorted(expected.items()) if mask.any()]
        assert image.size == (WIDTH, HEIGHT)
        if visible:
            np.testing.assert_array_equal(target["masks"].numpy().astype(bool), np.stack(visible))
            assert len(target["boxes"]) == len(visible)
            num_masks += len(visible)
    assert num_masks == sum(mask.any() for mask in filmed.truth.values())


@pytest.mark.slow
def test_supervision_reads_frames_with_their_masks(export_filmed: Export, filmed: DrawnJob) -> None:
    import supervision

    folder = export_filmed("coco", "frames=png")
    dataset = supervision.DetectionDataset.from_coco(str(folder / "images"), str(folder / INSTANCES))
    assert sorted(dataset.classes) == ["cat", "dog"]
    num_masks = 0
    for path, _, detections in dataset:
        frame_index = int(Path(path).stem)
        visible = [mask for key, mask in sorted(filmed.truth.items()) if key[2] == frame_index and mask.any()]
        num_masks += len(visible)
        if visible:
            np.testing.assert_array_equal(detections.mask, np.stack(visible))
    assert num_masks == sum(mask.any() for mask in filmed.truth.values())
