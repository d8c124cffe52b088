"""CVAT's two formats as datumaro reads them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.export import door
from pipeline.formats.source import ExportVideo
from pipeline.formats.writers.cvat_images import row_runs
from pipeline.formats.writers.frames import count_range, frames_before
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job

if TYPE_CHECKING:  # it takes a second, and all processes collect all tests
    from datumaro.components.annotation import Polygon

Export = Callable[..., Path]


@pytest.mark.slow
def test_polygons_of_a_track_are_its_largest_part_as_the_manifest_tells(export: Export, drawn: DrawnJob) -> None:
    folder = export("cvat_video")
    ious: dict[tuple[str, int, int], float] = {}
    for video in _videos(folder):
        for frame_index, polygon in _polygons(folder, video["name"]):
            if polygon.attributes["outside"]:
                continue
            key = (video["video_id"], int(polygon.attributes["object_id"]), frame_index)
            ious[key] = _iou(_filled(polygon), drawn.truth[key])
    visible = {key for key, mask in drawn.truth.items() if mask.any()}
    assert ious.keys() == visible
    told = json.loads((folder / "manifest.json").read_text())["lost"]["polygon"]
    lost = [iou for iou in ious.values() if iou < 1]
    assert told["masks"] == len(lost) == len(visible), "each drawn mask has a hole or two parts"
    assert told["iou_min"] == pytest.approx(min(lost))
    assert told["iou_mean"] == pytest.approx(np.mean(lost))
    for one in told["worst"]:
        assert ious[one["video_id"], one["object_id"], one["frame_index"]] == pytest.approx(one["iou"])


@pytest.mark.slow
def test_a_track_is_outside_where_its_object_is_hidden_and_nowhere_else(export: Export, drawn: DrawnJob) -> None:
    """Every labeled frame is a keyframe, because CVAT interpolates between keyframes."""
    folder = export("cvat_video", "videos=[clip-1]")
    shown = {
        (int(one.attributes["object_id"]), frame_index): not one.attributes["outside"]
        for frame_index, one in _polygons(folder, "clip-1")
        if one.attributes["keyframe"]
    }
    assert shown == {(object_id, f): bool(m.any()) for (v, object_id, f), m in drawn.truth.items() if v == "clip-1"}
    assert not shown[3, 4]


@pytest.mark.slow
def test_a_track_ends_at_a_gap_and_after_its_last_frame(tmp_path: Path) -> None:
    gaps = DrawnVideo("gaps", {1: "a", 2: "b"}, num_frames=8, stride=3, missing={1: (2, 3, 7), 2: ()})
    uri, _ = write_job(tmp_path, (gaps,), broken=())
    assert door([f"output={uri}", "format=cvat_video", f"to={tmp_path / 'x'}"]) == 0
    outside = [
        (frame_index, one.attributes["outside"])
        for frame_index, one in _polygons(tmp_path / "x", "gaps")
        if one.attributes["object_id"] == "1"
    ]
    # Labeled are 0, 3 … 21; object 1 has no rows on 6, 9 and 21, and is hidden on 12.
    assert outside == [(0, False), (3, False), (6, True), (15, False), (18, False), (21, True)]
    meta = ET.parse(tmp_path / "x/train/gaps/annotations.xml").getroot()
    assert meta.findtext("meta/task/frame_filter") == "step=3"
    assert meta.findtext("meta/task/stop_frame") == "21"


@pytest.mark.slow
def test_names_that_xml_does_not_have_are_written_out(tmp_path: Path) -> None:
    category = "<b>&\"'\x07\n\ufffe"
    uri, _ = write_job(tmp_path, (DrawnVideo("a\x01<&>", {1: category}),), broken=())
    for name in ("cvat_video", "cvat_images"):
        assert door([f"output={uri}", f"format={name}", f"to={tmp_path / name}"]) == 0
    (video,) = _videos(tmp_path / "cvat_video")
    for path in (tmp_path / "cvat_video/train" / video["name"] / "annotations.xml", tmp_path / "cvat_images/train.xml"):
        root = ET.parse(path).getroot()
        assert root.findtext(".//label/name") == "<b>&\"'\\x07\n\\ufffe"
        assert {one.get("label") for one in root.iter() if one.get("label")} == {"<b>&\"'\\x07\n\\ufffe"}
    assert (
        ET.parse(tmp_path / "cvat_video/train" / video["name"] / "annotations.xml").findtext(".//task/name")
        == "a\\x01<&>"
    )


@pytest.mark.slow
def test_a_video_with_a_line_break_in_its_id_goes_out_to_be_reviewed(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("two\nlines", {7: "cat"}, num_frames=1),), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", "format=cvat_images", "review=true"]) == 0
    told = ET.parse(tmp_path / "to/train.xml").getroot().findtext(".//attribute[@name='video_id']")
    assert told == "two\nlines"


@pytest.mark.slow
def test_masks_of_images_are_the_very_masks(films: DrawnJob, tmp_path: Path) -> None:
    from datumaro.components.annotation import Mask
    from datumaro.plugins.data_formats.cvat.base import CvatBase

    folder = tmp_path / "x"
    assert door([f"output={films.uri}", "format=cvat_images", f"to={folder}", "frames=png"]) == 0
    places = {}
    for video in _videos(folder):
        steps = range(video["first_frame_index"], video["last_frame_index"] + 1, video["frame_step"])
        places |= {f"{video['name']}/{frame:05d}": (video["video_id"], frame) for frame in steps}
    found: dict[tuple[str, int, int], np.ndarray] = {}
    groups: dict[int, set[tuple[str, str]]] = {}
    for item in CvatBase(str(folder / "train.xml")):
        assert item.media.data.shape == (HEIGHT, WIDTH, 3)
        for one in item.annotations:
            assert isinstance(one, Mask)
            video_id, frame_index = places[item.id]
            found[video_id, int(one.attributes["object_id"]), frame_index] = one.image.astype(bool)
            groups.setdefault(one.group, set()).add((video_id, one.attributes["object_id"]))
    expected = {key: mask for key, mask in films.truth.items() if mask.any()}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], mask) for key, mask in expected.items())
    assert all(len(one) == 1 for one in groups.values()), "a group is one object"


@pytest.mark.parametrize(("overlap", "on_top"), [("id", {1: 3, 2: 3}), ("score", {1: 7, 2: 3})])
def test_the_mask_that_overlap_chooses_has_the_highest_z_order(
    export: Export, overlap: str, on_top: dict[int, int]
) -> None:
    """Object 3 has the scores 6 and 7 on frames 1 and 2, object 7 has 7 and 5."""
    folder = export("cvat_images", "videos=clip-1", f"overlap={overlap}")
    found = {}
    for image in ET.parse(folder / "train.xml").getroot().iter("image"):
        masks = sorted((int(mask.attrib["z_order"]), int(mask[0].text or "")) for mask in image.iter("mask"))
        found[int(Path(image.attrib["name"]).stem)] = masks[-1][1] if masks else None
    assert {frame: found[frame] for frame in on_top} == on_top


def test_runs_begin_with_background_and_go_by_rows() -> None:
    assert row_runs(np.array([[0, 0, 1], [1, 1, 0]], bool)) == "2, 3, 1"
    assert row_runs(np.array([[1, 0], [0, 1]], bool)) == "0, 1, 2, 1"
    assert row_runs(np.ones((2, 2), bool)) == "0, 4"


def _videos(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest_videos.jsonl").read_text().splitlines()]


def _polygons(folder: Path, name: str) -> list[tuple[int, Polygon]]:
    from datumaro.components.annotation import Polygon
    from datumaro.plugins.data_formats.cvat.base import CvatBase

    items = CvatBase(str(folder / "train" / name / "annotations.xml"))
    found = [(int(item.attributes["frame"]), one) for item in items for one in item.annotations]
    assert all(isinstance(one, Polygon) for _, one in found)
    return sorted(found, key=lambda one: one[0])


def _filled(polygon: Polygon) -> np.ndarray:
    return coco.decode(coco.frPyObjects([polygon.points], HEIGHT, WIDTH))[:, :, 0].astype(bool)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(
    ("start", "fps", "pts", "expected", "noted"),
    [
        (2.0, 24.0, [np.nan, 2.0 + 3 / 24], 48, []),
        (None, 24.0, [2.0, 2.125], 0, [("range", 7, 0)]),
        (None, 24.0, [2 / 24, 5 / 24], 0, []),
        (2.0, None, [2.0, 2.125], 0, []),
        (0.0, 24.0, [np.nan] * 2, 0, []),
        (0.0, 24.0, [1.4, 1.525], 0, []),
    ],
)
def test_frames_before_a_labeled_range_count_where_its_start_was_kept_and_else_are_noted(
    start: float | None, fps: float | None, pts: list[float], expected: int, noted: list[tuple[str, int, int]]
) -> None:
    found: list[tuple[str, int, int]] = []
    row = {"start_seconds": start, "fps": fps}
    video = SimpleNamespace(row=row, frame_indexes=np.array([0, 3]), pts=np.array(pts))
    video.tracks = [SimpleNamespace(object_id=7)]
    video.num_frames_before, video.count_frames_before = None, lambda place: None  # its file is gone
    video.lost = lambda *said: found.append(said)
    assert frames_before(cast(ExportVideo, video)) == expected
    count_range(cast(ExportVideo, video))
    assert found == noted
