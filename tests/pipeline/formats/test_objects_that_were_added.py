"""What people and programs add to an export: it is read as something new, and the objects of the job keep their ids."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.export import door
from pipeline.formats.label import Label
from pipeline.formats.labels import read_labels
from pipeline.prompts import door as prompts_door
from tests.support.cvat_task import CvatTask, polygon_shape
from tests.support.drawn_job import FPS, DrawnVideo, write_job

pytestmark = pytest.mark.slow

OBJECT_ID = {"name": "object_id", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}


def exported(folder: Path, format_name: str, *videos: DrawnVideo) -> Path:
    uri, _ = write_job(folder, videos, broken=())
    assert door([f"output={uri}", f"to={folder / 'to'}", f"format={format_name}"]) == 0
    return folder / "to"


def frames_by_object(labels: Iterable[Label]) -> dict[tuple[str, object, str | None], list[int]]:
    found: dict[tuple[str, object, str | None], list[int]] = {}
    for label in labels:
        if not label.is_hidden:
            assert label.frame_index is not None
            found.setdefault((label.video, label.object_key, label.category), []).append(label.frame_index)
    return found


def uploaded(folder: Path, annotations: Path, attributes: list[dict[str, object]]) -> CvatTask:
    """A task of CVAT whose labels have these attributes, with the annotations of an export."""
    labels = [{"name": name, "color": "#112233", "type": "any", "attributes": attributes} for name in ("cat", "dog")]
    (folder / "labels.json").write_text(json.dumps(labels))
    task = CvatTask.of(folder / "labels.json", annotations)
    task.source = "v.mp4"
    return task


def test_a_track_that_somebody_adds_in_cvat_is_no_object_of_the_job(tmp_path: Path) -> None:
    to = exported(tmp_path, "cvat_video", DrawnVideo("v", {1: "cat", 2: "dog"}, num_frames=3))
    annotations = to / "train/v/annotations.xml"
    task = uploaded(tmp_path, annotations, [OBJECT_ID])
    task.draw("cat", {0: polygon_shape(1, 1, 5, 1, 5, 5)})  # CVAT's track 2: the job has an object 2
    task.export(annotations)
    found = frames_by_object(read_labels(str(to), "auto"))
    assert found == {("v", 1, "cat"): [0, 1, 2], ("v", 2, "dog"): [1, 2], ("v", 3, "cat"): [0]}


def test_tracks_whose_attributes_cvat_has_dropped_are_not_taken_for_other_objects(tmp_path: Path) -> None:
    to = exported(tmp_path, "cvat_video", DrawnVideo("v", {1: "cat", 2: "dog"}, num_frames=3))
    annotations = to / "train/v/annotations.xml"
    uploaded(tmp_path, annotations, []).export(annotations)  # tracks 0 and 1
    with pytest.raises(InputError, match="no track of video 'v' says by the attribute object_id which object"):
        list(read_labels(str(to), "auto"))


def test_masks_whose_attributes_cvat_has_dropped_are_known_by_their_groups(tmp_path: Path) -> None:
    to = exported(tmp_path, "cvat_images", DrawnVideo("v", {2: "cat", 3: "dog"}, num_frames=3))
    uploaded(tmp_path, to / "train.xml", []).export(to / "train.xml")  # groups 1 and 2
    found = frames_by_object(read_labels(str(to), "auto"))
    assert found == {("v", 2, "cat"): [0, 1, 2], ("v", 3, "dog"): [1, 2]}


def test_the_film_that_cvat_names_is_the_video_of_the_job_with_its_frames(tmp_path: Path) -> None:
    times = tuple(2 + place / FPS for place in range(3))
    video = DrawnVideo("hall/cam", {1: "cat"}, 3, uri="/films/cam.mp4", times=times, kept={"start_seconds": 2.0})
    to = exported(tmp_path, "cvat_video", video, DrawnVideo("other", {1: "cat"}, 3))
    (annotations,) = [path for path in to.rglob("annotations.xml") if path.parent.name != "other"]
    text = annotations.read_text().replace("<name>hall/cam</name>", "<name>my task</name>")
    annotations.write_text(text.replace("    </task>", "      <source>cam.mp4</source>\n    </task>"))
    found = frames_by_object(read_labels(str(to), "auto"))
    assert found[("hall/cam", 1, "cat")] == [0, 1, 2]


def label_studio_with_a_region_more(folder: Path) -> Path:
    to = exported(folder, "label_studio", DrawnVideo("hall/cam", {4: "cat", 9: "dog"}, 3, uri="/films/cam.mp4"))
    (task,) = json.loads((to / "train.json").read_text())
    (prediction,) = task["predictions"]
    added = {**copy.deepcopy(prediction["result"][0]), "id": "kX9aB"}
    task["annotations"] = [{"result": [*prediction["result"], added]}]
    (to / "train.json").write_text(json.dumps([task]))
    return to


def test_a_region_that_somebody_adds_in_label_studio_leaves_the_ids_of_the_others(tmp_path: Path) -> None:
    to = label_studio_with_a_region_more(tmp_path)
    assert prompts_door([f"from={to}", f"to={tmp_path / 'p.parquet'}"]) == 0
    found = [(row["video_id"], row["object_id"]) for row in pq.read_table(tmp_path / "p.parquet").to_pylist()]
    assert found == [("hall/cam", 4), ("hall/cam", 9), ("hall/cam", 10)]


def test_what_label_studio_exports_tells_the_objects_without_the_manifest_too(tmp_path: Path) -> None:
    project = tmp_path / "project.json"
    project.write_bytes((label_studio_with_a_region_more(tmp_path / "in") / "train.json").read_bytes())
    assert prompts_door([f"from={project}", f"to={tmp_path / 'p.parquet'}"]) == 0
    found = [(row["video_id"], row["object_id"]) for row in pq.read_table(tmp_path / "p.parquet").to_pylist()]
    assert found == [("hall/cam", 4), ("hall/cam", 9), ("hall/cam", 10)]


def test_an_annotation_that_somebody_adds_to_coco_is_no_object_of_the_job(tmp_path: Path) -> None:
    to = exported(tmp_path, "coco", DrawnVideo("v", {3: "cat", 4: "dog"}, num_frames=3))
    path = to / "annotations/instances_train.json"
    document = json.loads(path.read_text())
    first = document["annotations"][0]
    added = [{**first, "id": 900 + track, "track_id": track} for track in (3, 5, 3)]
    path.write_text(json.dumps(document | {"annotations": [*document["annotations"], *added]}))
    found = frames_by_object(read_labels(str(to), "auto"))
    assert found[("v", 3, "cat")] == [0, 1, 2]
    assert {key[1]: frames for key, frames in found.items() if key[1] not in (3, 4)} == {5: [0, 0], 6: [0]}


@pytest.mark.parametrize("source", ["to", "job"])
def test_objects_below_0_stay_what_they_are_in_prompts(tmp_path: Path, source: str) -> None:
    exported(tmp_path, "coco", DrawnVideo("v", {-5: "cat", 3: "dog"}, num_frames=3))
    assert prompts_door([f"from={tmp_path / source}", f"to={tmp_path / 'p.parquet'}"]) == 0
    assert pq.read_table(tmp_path / "p.parquet")["object_id"].to_pylist() == [-5, 3]
