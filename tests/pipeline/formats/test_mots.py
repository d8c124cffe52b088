"""MOTS as datumaro and TrackEval read it."""

from __future__ import annotations

import configparser
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job
from tests.support.exported import iou, lost_of, lower_ids_on_top, videos_of

Export = Callable[..., Path]
Shown = dict[tuple[str, int, int], np.ndarray]
STEPS = {"clip-1": range(6), "b/odd name.mp4": range(0, 16, 4), "c": range(6)}


def expected_masks(drawn: DrawnJob) -> Shown:
    """The pixels that each object keeps where the lower id is on top; of those that keep any."""
    found = {}
    for video_id, frames in STEPS.items():
        for frame in frames:
            ids = lower_ids_on_top(drawn.truth, video_id, frame, skip=(5,))
            found |= {(video_id, int(object_id), frame): ids == object_id for object_id in np.unique(ids[ids >= 0])}
    return found


def objects_of(folder: Path) -> dict[tuple[str, int], dict[str, str]]:
    """The lines of objects.csv by name of the video and number of the object."""
    with (folder / "objects.csv").open() as file:
        return {(line["video"], int(line["number"])): line for line in csv.DictReader(file)}


def assert_same(found: Shown, expected: Shown) -> None:
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], mask) for key, mask in expected.items())


@pytest.mark.slow
def test_datumaro_reads_the_pictures_with_classes_and_tracks(export: Export, drawn: DrawnJob) -> None:
    from datumaro.components.dataset import Dataset

    folder = export("mots", "overlap=id")
    objects = objects_of(folder)
    read = Dataset.import_from(str(folder), "mots")
    labels = [label.name for label in read.categories()[next(iter(read.categories()))].items]
    assert labels == ["cat", "dog", "object"]
    found: Shown = {}
    for item in read:
        assert item.subset == "train"
        name, frame = item.id.split("/")
        for annotation in item.annotations:
            number = 1000 * (annotation.label + 1) + annotation.attributes["track_id"]
            line = objects[name, number]
            assert line["category"] == labels[annotation.label]
            found[line["video_id"], int(line["object_id"]), int(frame)] = np.asarray(annotation.image, bool)
    assert_same(found, expected_masks(drawn))
    assert len(read) == sum(map(len, STEPS.values()))


@pytest.mark.slow
def test_the_manifest_tells_what_overlapping_objects_lost(export: Export, drawn: DrawnJob) -> None:
    ious = [iou(drawn.truth[key], mask) for key, mask in expected_masks(drawn).items()]
    for variant in ("png", "kitti"):
        lost = lost_of(export("mots", "overlap=id", f"variant={variant}", to=variant))["overlap"]
        assert lost["masks"] == sum(value < 1 for value in ious) > 0
        assert lost["iou_mean"] == pytest.approx(np.mean([value for value in ious if value < 1]))


@pytest.mark.slow
@pytest.mark.parametrize("role", ["truth", "results"])
def test_trackeval_reads_the_texts_of_kitti_with_frames_from_0(export: Export, drawn: DrawnJob, role: str) -> None:
    folder = export("mots", "overlap=id", "variant=kitti", f"role={role}", "classes.cat=1", *OTHERS)
    assert_same(read_by_trackeval("KittiMOTS", folder, role), expected_masks(drawn))


@pytest.mark.slow
@pytest.mark.parametrize("role", ["truth", "results"])
def test_trackeval_reads_the_texts_of_mots_challenge_with_frames_from_1(
    export: Export, drawn: DrawnJob, role: str
) -> None:
    folder = export("mots", "overlap=id", "variant=mots_challenge", f"role={role}", "classes.cat=1", *OTHERS)
    assert_same(read_by_trackeval("MOTSChallenge", folder, role), expected_masks(drawn))
    if role == "truth":
        names = (folder / "seqmaps/MOTS-train.txt").read_text().splitlines()
        assert names[1:] == sorted(path.name for path in (folder / "MOTS-train").iterdir())


OTHERS = "classes.dog=2", "classes.object=3"


def read_by_trackeval(dataset_name: str, folder: Path, role: str) -> Shown:
    """The masks of all videos as a dataset of TrackEval gives them to its metrics, as truth or as a tracker's."""
    from trackeval import datasets

    kind = getattr(datasets, dataset_name)
    videos = {record["name"]: video_id for video_id, record in videos_of(folder).items()}
    config = kind.get_default_dataset_config() | {"PRINT_CONFIG": False, "SPLIT_TO_EVAL": "train"}
    config |= {"GT_FOLDER": str(folder), "TRACKERS_FOLDER": str(folder)}
    lengths = {name: 1 + STEPS[video_id][-1] for name, video_id in videos.items()}
    config |= {"SEQ_INFO": lengths, "TRACKERS_TO_EVAL": [] if role == "truth" else ["maskmill"]}
    if role == "results":  # it asks for files of a truth, and reads them when a metric needs them
        for name in lengths:
            inner = config["GT_LOC_FORMAT"].format(
                gt_folder=folder / ("MOTS-train" if dataset_name == "MOTSChallenge" else ""), seq=name
            )
            Path(inner).parent.mkdir(parents=True, exist_ok=True)
            Path(inner).touch()
    dataset = kind(config)
    objects = objects_of(folder)
    found: Shown = {}
    for name, video_id in videos.items():
        raw = dataset._load_raw_file("maskmill", name, is_gt=role == "truth")
        side = "gt" if role == "truth" else "tracker"
        assert raw["num_timesteps"] == lengths[name]
        for frame, (ids, classes, masks) in enumerate(
            zip(raw[f"{side}_ids"], raw[f"{side}_classes"], raw[f"{side}_dets"], strict=True)
        ):
            for number, category, mask in zip(ids.tolist(), classes.tolist(), masks, strict=True):
                assert number // 1000 == category
                key = video_id, int(objects[name, number]["object_id"]), frame
                found[key] = coco.decode(mask).astype(bool)
    return found


@pytest.mark.slow
def test_frames_are_counted_on_demand_and_classes_are_numbered_without_10(tmp_path: Path) -> None:
    categories = {number: f"kind {number:02d}" for number in range(1, 13)}
    uri, _ = write_job(tmp_path, (DrawnVideo("v", categories, num_frames=3, stride=2),), broken=())
    words = [f"output={uri}", "format=mots", "keep_never_visible=true", "frame_numbers=count"]
    assert door([*words, f"to={tmp_path / 'to'}"]) == 0
    labels = (tmp_path / "to/train/instances/labels.txt").read_text().splitlines()
    assert labels == [*(f"kind {number:02d}" for number in range(1, 10)), "ignored", *("kind 10", "kind 11", "kind 12")]
    files = sorted((tmp_path / "to/train/instances/v").iterdir())
    assert [path.name for path in files] == ["000000.png", "000001.png", "000002.png"]
    numbers = np.unique(np.stack([np.asarray(Image.open(path)) for path in files]))
    assert 10 not in numbers // 1000
    assert set(numbers % 1000) == {0, 1}
    assert {number // 1000 for number in objects_numbers(tmp_path / "to")} == {*range(1, 10), 11, 12, 13}


def test_a_line_of_labels_is_a_class_whatever_letters_its_name_has(tmp_path: Path) -> None:
    objects = {1: "red\ncup", 2: " ", 3: "\u2028ü, \t", 4: "zebra"}
    uri, _ = write_job(tmp_path, (DrawnVideo("v", objects, 2),), broken=())
    assert door([f"output={uri}", "format=mots", f"to={tmp_path / 'to'}"]) == 0
    labels = (tmp_path / "to/train/instances/labels.txt").read_text().split("\n")
    assert labels == ["class_1", "red cup", "zebra", "ü,", ""]


def objects_numbers(folder: Path) -> list[int]:
    return [number for _, number in objects_of(folder)]


@pytest.mark.slow
def test_what_mots_cannot_number_is_refused_before_anything_is_written(
    drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("crowd", dict.fromkeys(range(1000), "cat"), 2),), broken=())
    many = [f"output={uri}", "format=mots", "keep_never_visible=true", f"to={tmp_path / 'to'}"]
    few = [f"output={drawn.uri}", "format=mots", f"to={tmp_path / 'to'}"]
    for words, message in (
        (many, "video 'crowd' has 1000 objects of category 'cat', and MOTS has numbers for 999"),
        ([*few, "classes.cat=1"], "classes: has no number for dog, object"),
        ([*few, "classes.cat=1", "classes.dog=1", "classes.object=2"], "classes: cat and dog have one number"),
        ([*few, "classes.cat=70", "classes.dog=1", "classes.object=2"], "classes: 70 is the number of a category"),
        ([*few, "overlap=refuse"], "overlap"),
    ):
        assert door(words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "to/manifest.json").exists()


@pytest.mark.slow
def test_a_fractional_rate_is_a_whole_number_to_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DeepSORT, ByteTrack and mmtracking read `seqinfo.ini`: by `int`, or by the places of its lines."""
    monkeypatch.setattr("tests.support.drawn_job.FPS", 30_000 / 1001)
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: "car"}, 3),), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", "format=mots", "variant=mots_challenge"]) == 0
    path = tmp_path / "to/MOTS-train/v/seqinfo.ini"
    told = configparser.ConfigParser()
    told.read(path)
    numbers = {key: int(told["Sequence"][key]) for key in ("frameRate", "seqLength", "imWidth", "imHeight")}
    assert numbers == {"frameRate": 30, "seqLength": 3, "imWidth": WIDTH, "imHeight": HEIGHT}
    lines = path.read_text().splitlines()
    assert [int(lines[place].split("=")[1]) for place in (3, 5, 6)] == [30, WIDTH, HEIGHT]
