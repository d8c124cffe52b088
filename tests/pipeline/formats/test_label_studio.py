"""Label Studio's tasks as its SDK reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames

from pipeline.export import door
from pipeline.formats.rows import MaskRow
from pipeline.formats.writers.label_studio import frame_numbers, sequence
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import FPS, HEIGHT, WIDTH, DrawnVideo, write_job

Export = Callable[..., Path]


@pytest.mark.slow
def test_key_frames_are_the_boxes_of_the_visible_masks(export: Export, drawn: DrawnJob) -> None:
    folder = export("label_studio")
    tasks = {one["meta"]["video_id"]: one for one in json.loads((folder / "train.json").read_text())}
    found = {}
    for video_id in ("clip-1", "c"):
        for region, items in _regions(tasks[video_id]).items():
            assert {one["frame"] for one in items} == set(range(1, 7)) & {one["frame"] for one in items}
            found |= {(video_id, region, item["frame"] - 1): item for item in items}
    expected = {key: mask for key, mask in drawn.truth.items() if mask.any() and key[0] in ("clip-1", "c")}
    assert found.keys() == expected.keys(), "no box where the object is hidden or has not started"
    for key, mask in expected.items():
        item, (ys, xs) = found[key], np.nonzero(mask)
        box = [item["x"] * WIDTH, item["y"] * HEIGHT, item["width"] * WIDTH, item["height"] * HEIGHT]
        np.testing.assert_allclose(np.array(box) / 100, [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1], atol=1e-5)
        assert item["time"] == pytest.approx(key[2] / FPS, abs=1e-6)
    lost = json.loads((folder / "manifest.json").read_text())["lost"]["box"]
    fills = [
        mask.sum() / np.prod([np.ptp(one) + 1 for one in np.nonzero(mask)])
        for mask in drawn.truth.values()
        if mask.any()
    ]
    assert (lost["masks"], lost["iou_mean"]) == (len(fills), pytest.approx(np.mean(fills)))


def test_boxes_are_interpolated_between_labeled_frames_but_not_over_gaps(tmp_path: Path) -> None:
    gaps = DrawnVideo("gaps", {1: "a", 2: "b"}, num_frames=8, stride=3, missing={1: (2, 3, 7), 2: ()})
    uri, truth = write_job(tmp_path, (gaps,), broken=())
    assert door([f"output={uri}", "format=label_studio", f"to={tmp_path / 'x'}"]) == 0
    (task,) = json.loads((tmp_path / "x/train.json").read_text())
    frames = {item["frame"] - 1: item for item in _regions(task)[1]}
    # Labeled are 0, 3 … 21; object 1 has no rows on 6, 9 and 21, and is hidden on 12.
    assert sorted(frames) == [0, 1, 2, 3, 15, 16, 17, 18]
    left = [float(np.nonzero(truth["gaps", 1, frame])[1].min()) for frame in (15, 18)]
    assert frames[16]["x"] * WIDTH / 100 == pytest.approx(left[0] + (left[1] - left[0]) / 3)


def test_frames_are_numbered_by_their_time_because_the_player_knows_no_other() -> None:
    """A labeled range that begins at 2 s, at a variable rate: two frames have the number 50."""
    times = {0: 2.0, 1: 2.042, 2: 2.044, 3: 2.125, 5: 2.2}
    rows = [MaskRow(1, index, pts, {}, 4, (0, 0, 2, 2), 1.0, 1.0, False) for index, pts in times.items()]
    numbers = frame_numbers(range(6), [times.get(index, 2.16) for index in range(6)], 24.0)
    items = list(sequence(rows, numbers, (4, 4), fps=24.0))
    assert [(one["frame"], one["time"], one["enabled"]) for one in items] == [
        (49, 2.0, True),
        (50, 2.042, True),
        (52, 2.125, False),
        (54, 2.2, False),
    ]


@pytest.mark.slow
def test_the_labeling_interface_has_the_labels_and_the_frame_rate_of_each_task(tmp_path: Path) -> None:
    category = '<b> & "co"\x07'
    uri, _ = write_job(tmp_path, (DrawnVideo("a", {1: category}), DrawnVideo("b", {1: None})), broken=())
    assert door([f"output={uri}", "format=label_studio", f"to={tmp_path / 'x'}", "model_version=tiny"]) == 0
    config = parse_config((tmp_path / "x/label_config.xml").read_text())
    assert set(config["label"]["labels"]) == {'<b> & "co"\\x07', "object"}
    assert config["box"] == {
        "type": "VideoRectangle",
        "to_name": ["video"],
        "inputs": [{"type": "Video", "valueType": None, "value": "video"}],
        "labels": [],
        "labels_attrs": {},
    }
    tasks = json.loads((tmp_path / "x/train.json").read_text())
    assert [task["data"]["fps"] for task in tasks] == [FPS, FPS]
    for task in tasks:
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "tiny"
        for region in prediction["result"]:
            assert set(region["value"]["labels"]) <= set(config["label"]["labels"])


def _regions(task: dict) -> dict[int, list[dict]]:
    """Each region's frames by object, as the SDK interpolates them."""
    (prediction,) = task["predictions"]
    regions = extract_key_frames(prediction["result"])
    return {int(one["meta"]["text"][0].removeprefix("object ")): one["value"]["sequence"] for one in regions}
