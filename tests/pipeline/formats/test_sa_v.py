"""SA-V by the rules of its readers: SAM 2's training, its evaluator, and the table of its README."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job
from tests.support.exported import lost_of, videos_of

Export = Callable[..., Path]

FIELDS = {
    "video_id": str,
    "video_duration": float,
    "video_frame_count": float,
    "video_height": float,
    "video_width": float,
    "video_resolution": float,
    "video_split": str,
    "masklet_num": int,
}
PER_OBJECT = {
    "masklet_id": int,
    "masklet_size_rel": float,
    "masklet_size_abs": float,
    "masklet_size_bucket": str,
    "masklet_visibility_changes": int,
    "masklet_frame_count": int,
    "masklet_edited_frame_count": int,
    "masklet_type": str,
}


class TrainingReader:
    """What SAM 2's training takes from a `_manual.json`, by its rules.

    The objects are those of the first frame. A list is frame `place * every`, where `every` is given, or follows from
    the key fps, which must divide 24. A frame is used if no object of it is null.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.document: dict[str, Any] = json.loads(path.read_text())
        masklet = self.document["masklet"]
        if "fps" in self.document:
            assert 24 % self.document["fps"] == 0
            every = 24 // self.document["fps"]
        assert {len(frame) for frame in masklet} == {len(masklet[0])}
        self.num_objects = len(masklet[0])
        self.frames = {place * every: frame for place, frame in enumerate(masklet) if None not in frame}

    def mask(self, frame_index: int, number: int) -> np.ndarray:
        stack = coco.decode(self.frames[frame_index])
        assert stack.shape == (HEIGHT, WIDTH, self.num_objects)
        found: np.ndarray = stack[:, :, number].astype(bool)
        return found


def test_training_reads_all_masks_as_they_are_with_an_empty_one_where_none_is(export: Export, drawn: DrawnJob) -> None:
    folder = export("sa_v", "videos=[clip-1,c]", "frame_step=1", "keep_never_visible=true")
    assert lost_of(folder) == {}
    assert (folder / "sav_train/sav_train.txt").read_text().split() == ["c", "clip-1"]
    for video_id, record in videos_of(folder).items():
        read = TrainingReader(folder / f"sav_train/{record['name']}_manual.json", every=1)
        assert sorted(read.frames) == list(range(6))
        assert read.num_objects == len(record["objects"])
        assert read.document["masklet_id"] == [one["object_id"] for one in record["objects"]]
        for frame in read.frames:
            for number, one in enumerate(record["objects"]):
                expected = drawn.truth.get((video_id, one["object_id"], frame), np.zeros((HEIGHT, WIDTH), bool))
                np.testing.assert_array_equal(read.mask(frame, number), expected)


def test_the_fields_are_those_of_the_readme(export: Export, drawn: DrawnJob) -> None:
    folder = export("sa_v", "videos=[clip-1]", "frame_step=1", "kind=auto")
    document = json.loads((folder / "sav_train/clip-1_auto.json").read_text())
    assert {name: type(document[name]) for name in FIELDS} == FIELDS
    for name, kind in PER_OBJECT.items():
        assert [type(value) for value in document[name]] == [kind, kind]
    assert (document["video_height"], document["video_width"], document["video_resolution"]) == (48.0, 64.0, 3072.0)
    assert document["video_duration"] == 0.25
    assert document["masklet_type"] == ["auto", "auto"]
    for place, object_id in enumerate((3, 7)):
        masks = [drawn.truth.get(("clip-1", object_id, frame)) for frame in range(6)]
        areas = [int(mask.sum()) for mask in masks if mask is not None and mask.any()]
        assert document["masklet_size_abs"][place] == pytest.approx(np.mean(areas))
        assert document["masklet_size_rel"][place] == pytest.approx(np.mean(areas) / 3072)
        # Both are hidden on frame 4 alone, and the second one starts on frame 1.
        assert document["masklet_visibility_changes"][place] == 2
        assert document["masklet_first_appeared_frame"][place] == place
        assert document["masklet_frame_count"][place] == 6 - place
    assert document["masklet_size_bucket"] == ["small", "small"]
    assert document["masklet_edited_frame_count"] == [0, 0]


@pytest.mark.slow
def test_every_fourth_frame_is_written_as_in_sa_v_and_fps_says_so(
    export: Export, drawn: DrawnJob, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export("sa_v", "fps_key=true")
    record = videos_of(folder)["b/odd name.mp4"]
    read = TrainingReader(folder / f"sav_train/{record['name']}_manual.json", every=1)
    assert read.document["fps"] == 6
    assert sorted(read.frames) == [0, 4, 8, 12]
    np.testing.assert_array_equal(read.mask(8, 0), drawn.truth["b/odd name.mp4", 0, 8])
    clip = TrainingReader(folder / "sav_train/clip-1_manual.json", every=4)
    assert sorted(clip.frames) == [0, 4]
    words = [f"output={drawn.uri}", "format=sa_v", f"to={folder}-2"]
    assert door([*words, "frame_step=1"]) == 2
    assert "video 'b/odd name.mp4': frame 1 is not labeled, and frame_step=1 wants" in capsys.readouterr().err
    assert door([*words, "frame_step=5", "fps_key=true"]) == 2
    assert "takes only steps that divide 24" in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_that_the_stride_of_the_job_does_not_divide_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: "cat"}, stride=3),), broken=())
    (tmp_path / "job/job.json").write_text('{"fingerprint": {"frames.stride": 3, "frames.fps": null}}')
    words = [f"output={uri}", "format=sa_v", f"to={tmp_path / 'to'}"]
    assert door(words) == 2
    assert "frame_step=4: the stride of the labels is 3" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
    assert door([*words, "frame_step=6"]) == 0
    read = TrainingReader(tmp_path / "to/sav_train/v_manual.json", every=6)
    assert sorted(read.frames) == [0, 6, 12]


@pytest.mark.slow
def test_each_object_has_a_binary_png_on_every_frame_and_overlaps_stay(
    export: Export, drawn: DrawnJob, tmp_path: Path
) -> None:
    from vos_benchmark.benchmark import VideoEvaluator

    words = "variant=png", "videos=[clip-1,c]", "frame_step=1", "splits.val=1.0"
    folder = export("sa_v", *words)
    assert (folder / "sav_val/sav_val.txt").read_text().split() == ["c", "clip-1"]
    truth_root = tmp_path / "truth"
    for video_id, record in videos_of(folder).items():
        objects = sorted((folder / "sav_val/Annotations_6fps" / record["name"]).iterdir())
        assert [path.name for path in objects] == [f"{number:03d}" for number in range(len(record["objects"]))]
        for path, one in zip(objects, record["objects"], strict=True):
            (truth_root / record["name"] / path.name).mkdir(parents=True)
            assert sorted(file.name for file in path.iterdir()) == [f"{frame:05d}.png" for frame in range(6)]
            for file in path.iterdir():
                found = np.array(Image.open(file))
                assert len(np.unique(found)) <= 2
                key = video_id, one["object_id"], int(file.stem)
                expected = drawn.truth.get(key, np.zeros((HEIGHT, WIDTH), bool))
                np.testing.assert_array_equal(found > 0, expected)
                Image.fromarray(expected).save(truth_root / record["name"] / path.name / file.name)
            evaluator = VideoEvaluator(
                str(truth_root / record["name"]), str(folder / "sav_val/Annotations_6fps" / record["name"])
            )
            assert list(evaluator(path.name)[1].values()) == [100.0]


@pytest.mark.slow
def test_folders_of_objects_have_the_ids_of_the_truth_on_demand(
    export: Export, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export("sa_v", "variant=png", "object_numbers=id")
    assert sorted(path.name for path in (folder / "sav_train/Annotations_6fps/clip-1").iterdir()) == ["003", "007"]
    found = np.asarray(Image.open(folder / "sav_train/Annotations_6fps/clip-1/007/00000.png")) > 0
    np.testing.assert_array_equal(found, drawn.truth.get(("clip-1", 7, 0), np.zeros((HEIGHT, WIDTH), bool)))
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {-1: "cat"}, 2),), broken=())
    words = [f"output={uri}", "format=sa_v", f"to={tmp_path / 'to'}", "variant=png", "object_numbers=id"]
    assert door(words) == 2
    assert "video 'v' has an object -1, and folders of objects are numbers from 0" in capsys.readouterr().err


def test_a_video_whose_first_prompt_is_late_begins_at_frame_0_with_all_its_objects(tmp_path: Path) -> None:
    late = DrawnVideo("v", {1: "cat", 2: "dog"}, stride=4, missing={1: (0,), 2: (0,)})
    uri, _ = write_job(tmp_path, (late,), broken=())
    assert door([f"output={uri}", "format=sa_v", "categories=[dog]", f"to={tmp_path / 'to'}"]) == 0
    read = TrainingReader(tmp_path / "to/sav_train/v_manual.json", every=4)
    assert read.num_objects == 1
    assert {frame: bool(read.mask(frame, 0).any()) for frame in read.frames} == {
        0: False, 4: True, 8: True, 12: True, 16: False, 20: True,
    }  # fmt: skip


def test_training_leaves_out_frames_on_which_an_object_was_not_followed_on_demand(export: Export) -> None:
    # Object 7 starts on frame 1, and both objects are hidden on frame 4.
    folder = export("sa_v", "videos=[clip-1]", "frame_step=1", "unlabeled=unknown")
    read = TrainingReader(folder / "sav_train/clip-1_manual.json", every=1)
    assert read.num_objects == 2
    assert sorted(read.frames) == [1, 2, 3, 4, 5]


def test_images_lie_where_training_looks_for_them(export_filmed: Export) -> None:
    folder = export_filmed("sa_v", "frame_step=2", "frames=jpg")
    images = sorted((folder / "sav_train/JPEGImages_24fps/clip-1").iterdir())
    read = TrainingReader(folder / "sav_train/clip-1_manual.json", every=2)
    assert [int(path.stem) for path in images] == sorted(read.frames) == [0, 2, 4, 6, 8]
    assert abs(np.asarray(Image.open(images[3])).mean() - 60) < 3
