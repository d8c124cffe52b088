"""COCO as its readers read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from tests.pipeline.formats.conftest import DrawnJob

Export = Callable[..., Path]


def test_pycocotools_reads_every_visible_mask_as_it_is(export: Export, drawn: DrawnJob) -> None:
    folder = export("coco")
    read = COCO(str(folder / "annotations" / "instances_train.json"))
    frames = {}
    objects = {}
    for line in (folder / "manifest_videos.jsonl").read_text().splitlines():
        video = json.loads(line)
        steps = range(video["first_frame_index"], video["last_frame_index"] + 1, video["frame_step"])
        frames |= {video["first_image_id"] + place: (video["video_id"], frame) for place, frame in enumerate(steps)}
        objects |= {one["id"]: one["object_id"] for one in video["objects"]}
    found = {}
    for annotation in read.anns.values():
        video_id, frame_index = frames[annotation["image_id"]]
        found[video_id, objects[annotation["track_id"]], frame_index] = read.annToMask(annotation).astype(bool)
    expected = {key: mask for key, mask in drawn.truth.items() if mask.any()}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], mask) for key, mask in expected.items())
    assert {one["name"] for one in read.cats.values()} == {"cat", "dog", "object"}
    assert len(read.imgs) == 6 + 4 + 6
