"""What an export wrote is read as labels: the same masks under the same names, or what the manifest says was lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.export import door
from pipeline.formats.label import Label, LabelBox, ReadOptions
from pipeline.formats.labels import read_labels
from pipeline.prompts import door as prompts_door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.clips import iou
from tests.support.drawn_job import FPS, HEIGHT, USUAL, WIDTH, DrawnVideo, write_job

pytestmark = pytest.mark.slow

Export = Callable[..., Path]
Key = tuple[str, int, int]

CATEGORIES = {(video.video_id, key): name or "object" for video in USUAL for key, name in video.objects.items()}


def by_mask(labels: list[Label]) -> dict[Key, Label]:
    """Labels that show something, by video, object and frame, of which each has one."""
    found: dict[Key, Label] = {}
    for label in labels:
        if not label.is_hidden:
            assert isinstance(label.object_key, int)
            assert label.frame_index is not None
            key = label.video, label.object_key, label.frame_index
            assert key not in found
            found[key] = label
    return found


def visible(drawn: DrawnJob) -> dict[Key, np.ndarray]:
    return {key: mask for key, mask in drawn.truth.items() if mask.any()}


def pixels(label: Label) -> np.ndarray:
    mask = label.mask((HEIGHT, WIDTH))
    assert mask is not None
    return mask.decoded()


@pytest.mark.parametrize(
    ("format_name", "words"),
    [
        ("coco", []),
        ("coco_video", []),
        ("youtube_vis", []),
        ("cvat_images", []),
        ("hf_datasets", []),
        ("sa_v", []),
        ("sa_v", ["variant=png"]),
    ],
    ids=str,
)
def test_masks_come_back_as_they_were(drawn: DrawnJob, export: Export, format_name: str, words: list[str]) -> None:
    found = by_mask(list(read_labels(str(export(format_name, *words)), "auto")))
    expected = visible(drawn)
    if format_name == "sa_v":  # every fourth frame
        expected = {key: mask for key, mask in expected.items() if key[2] % 4 == 0}
    assert found.keys() == expected.keys()
    for key, label in found.items():
        np.testing.assert_array_equal(pixels(label), expected[key])
        if (format_name, words) != ("sa_v", ["variant=png"]) or label.category is not None:
            assert label.category == CATEGORIES[key[:2]]


@pytest.mark.parametrize(
    ("format_name", "words"),
    [("davis", []), ("mots", []), ("mots", ["variant=kitti"]), ("mots", ["variant=mots_challenge"])],
    ids=str,
)
def test_masks_that_share_no_pixel_come_back_without_those_of_others(
    drawn: DrawnJob, export: Export, format_name: str, words: list[str]
) -> None:
    found = by_mask(list(read_labels(str(export(format_name, *words)), "auto")))
    expected = visible(drawn)
    assert found.keys() == expected.keys()
    for video, _, frame in expected:
        there = {key: pixels(label) for key, label in found.items() if (key[0], key[2]) == (video, frame)}
        for key, mask in there.items():
            assert not (mask & ~expected[key]).any()
        together = np.sum(list(there.values()), axis=0)
        np.testing.assert_array_equal(together, np.any([expected[key] for key in there], axis=0).astype(int))


@pytest.mark.parametrize("words", [["mots", f"variant={one}"] for one in ("kitti", "mots_challenge")], ids=str)
def test_texts_of_mots_keep_frames_and_categories_where_nothing_shows_at_first(
    tmp_path: Path, words: list[str]
) -> None:
    videos = (DrawnVideo("v", {2: "cat"}, missing={2: (0, 1)}), DrawnVideo("w", {3: "dog"}, missing={3: (0,)}))
    uri, truth = write_job(tmp_path, videos, broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", f"format={words[0]}", *words[1:]]) == 0
    found = by_mask(list(read_labels(str(tmp_path / "to"), "auto")))
    assert found.keys() == {key for key, mask in truth.items() if mask.any()}
    assert {(key[0], label.category) for key, label in found.items()} == {("v", "cat"), ("w", "dog")}


@pytest.mark.parametrize("variant", ["png", "kitti"])
def test_categories_of_mots_come_back_with_their_line_breaks(tmp_path: Path, variant: str) -> None:
    categories = {1: "a\rb", 2: "x\ny", 3: 'q"u,o'}
    uri, _ = write_job(tmp_path, (DrawnVideo("v", categories, 2),), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", "format=mots", f"variant={variant}"]) == 0
    found = by_mask(list(read_labels(str(tmp_path / "to"), "auto")))
    assert {key[1]: label.category for key, label in found.items()} == categories


@pytest.mark.parametrize("format_name", ["davis", "coco", "cvat_video", "yolo_seg"])
def test_an_export_says_itself_what_its_first_frame_is_called(export: Export, format_name: str) -> None:
    folder = export(format_name)
    with pytest.raises(InputError, match="is of an export of maskmill, which says itself how its frames count"):
        list(read_labels(str(folder), "auto", ReadOptions(first_frame=1)))


SPLIT = ["splits.dev=0.5", "splits.held-out=0.5"]


@pytest.mark.parametrize("words", [["mots"], ["sa_v", "variant=png", "frame_step=1"], ["davis"], ["yolo_seg"]], ids=str)
def test_videos_come_back_from_splits_of_any_name(tmp_path: Path, words: list[str]) -> None:
    uri, truth = write_job(tmp_path, tuple(DrawnVideo(one, {2: "cat"}) for one in "abcd"), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", f"format={words[0]}", *words[1:], *SPLIT]) == 0
    assert len(json.loads((tmp_path / "to/manifest.json").read_text())["splits"]) == 2
    labels = [label for label in read_labels(str(tmp_path / "to"), "auto") if not label.is_hidden]
    found = {(label.video, label.object_key, label.frame_index) for label in labels}
    object_id = None if words[0] == "yolo_seg" else 2
    assert found == {(video, object_id, frame) for (video, _, frame), mask in truth.items() if mask.any()}


def folder_with_gaps(folder: Path, num_images: int) -> Path:
    """Images of every fifth frame of a film, called by the numbers of these."""
    folder.mkdir(parents=True)
    for number in range(num_images):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{5 * number:05d}.png")
    return folder


@pytest.mark.parametrize("format_name", ["coco", "davis", "youtube_vis"])
def test_pictures_of_an_export_are_not_taken_for_images_of_the_video_that_are_called_so(
    tmp_path: Path, format_name: str
) -> None:
    folder = folder_with_gaps(tmp_path / "films/film", 8)
    video = DrawnVideo("film", {1: "cat"}, 8, uri=str(folder), has_times=False)
    uri, truth = write_job(tmp_path, (video,), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", f"format={format_name}"]) == 0
    words = [f"from={tmp_path / 'to'}", f"videos={folder.parent}", f"to={tmp_path / 'p.parquet'}", "frames=all"]
    assert prompts_door(words) == 0
    found = pq.read_table(tmp_path / "p.parquet")["frame_index"].to_pylist()
    assert found == [frame for (_, _, frame), mask in sorted(truth.items()) if mask.any()]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["coco"], "annotations/instances_train.json"),
        (["davis"], "Annotations/480p"),
        (["davis"], "Annotations/480p/v-0"),
        (["mots", "variant=kitti"], "label_02/v-0.txt"),
        (["cvat_video"], "train/v-0/annotations.xml"),
        (["sa_v", "variant=png", "frame_step=1"], "sav_train/Annotations_6fps"),
    ],
    ids=str,
)
def test_a_part_of_an_export_has_the_names_of_the_job_too(tmp_path: Path, words: list[str], part: str) -> None:
    uri, truth = write_job(tmp_path, (DrawnVideo("v-0", {7: "cat"}), DrawnVideo("w/ö", {9: "cat"})), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", f"format={words[0]}", *words[1:]]) == 0
    found = by_mask(list(read_labels(str(tmp_path / "to" / part), words[0])))
    expected = {key for key, mask in truth.items() if mask.any() and ("v-0" not in part or key[0] == "v-0")}
    assert found.keys() == expected


ODD = (
    "clip_auto",
    "cam_manual",
    "images",
    "instances",
    "480p",
    "frame",
    "clip_",
    "two\nlines",
    ".lead",
    "ü/12",
    "a\x01b",
    "gt",
    "labels",
    "seqmaps",
    "my labels",
    "JPEGImages",
)


@pytest.mark.parametrize(
    "words",
    [
        ["coco"],
        ["cvat_images"],
        ["cvat_video"],
        ["sa_v", "frame_step=1"],
        ["sa_v", "variant=png", "frame_step=1"],
        ["davis"],
        ["mots"],
        ["mots", "variant=kitti"],
        ["mots", "variant=kitti", "role=results"],
        ["mots", "variant=mots_challenge"],
        ["yolo_seg"],
        ["label_studio"],
    ],
    ids=str,
)
def test_videos_of_odd_names_and_ids_below_0_come_back(tmp_path: Path, words: list[str]) -> None:
    uri, truth = write_job(tmp_path, tuple(DrawnVideo(one, {-5: "c\x07t"}, num_frames=2) for one in ODD), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", f"format={words[0]}", *words[1:]]) == 0
    labels = [label for label in read_labels(str(tmp_path / "to"), "auto") if not label.is_hidden]
    found = {(label.video, label.object_key, label.frame_index) for label in labels}
    object_id = None if words[0] == "yolo_seg" else -5
    assert {label.category for label in labels} == {"c\x07t"}
    assert found == {(video, object_id, frame) for (video, _, frame), mask in truth.items() if mask.any()}


@pytest.mark.parametrize("format_name", ["cvat_video", "label_studio", "coco"])
def test_frames_of_a_labeled_range_come_back_as_the_job_counts_them(tmp_path: Path, format_name: str) -> None:
    times = tuple(2 + place / FPS for place in range(4))
    video = DrawnVideo("v", {2: "cat"}, num_frames=4, times=times, kept={"start_seconds": 2.0})
    uri, truth = write_job(tmp_path, (video, DrawnVideo("w", {2: "cat"}, num_frames=4)), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", f"format={format_name}"]) == 0
    found = by_mask(list(read_labels(str(tmp_path / "to"), "auto")))
    assert found.keys() == {key for key, mask in truth.items() if mask.any()}


def test_boxes_of_a_video_with_a_variable_rate_come_back_on_their_frames(tmp_path: Path) -> None:
    times = (0.0, 0.04, 0.2, 0.24, 0.241, 0.5, 0.54)  # at 24 frames a second these are 1, 2, 6, 7, 7, 13 and 14
    uri, _ = write_job(
        tmp_path, (DrawnVideo("v", {2: "cat"}, 7, times=times), DrawnVideo("w", {2: "cat"}, 4)), broken=()
    )
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", "format=label_studio"]) == 0
    tasks = json.loads((tmp_path / "to/train.json").read_text())
    assert [task["meta"] for task in tasks] == [
        {"video_id": "v", "frames": [[0, 1], [2, 6], [5, 13]]},
        {"video_id": "w"},
    ]
    found = by_mask(list(read_labels(str(tmp_path / "to"), "auto")))
    assert sorted(found) == [("v", 2, frame) for frame in (0, 1, 2, 3, 5, 6)] + [("w", 2, frame) for frame in range(4)]
    items = tasks[0]["predictions"][0]["result"][0]["value"]["sequence"]
    items[0]["frame"], items[1]["frame"] = 4, 16  # somebody sets boxes on numbers that no frame has
    (tmp_path / "to/train.json").write_text(json.dumps(tasks))
    frames = [label.frame_index for label in read_labels(str(tmp_path / "to"), "auto") if label.video == "v"]
    assert frames[:2] == [1, 8]


def test_frames_that_lie_beside_the_masks_of_sa_v_are_no_masks(export_filmed: Export, filmed: DrawnJob) -> None:
    folder = export_filmed("sa_v", "variant=png", "frame_step=2", "frames=jpg")
    assert list(folder.rglob("*.jpg"))
    assert by_mask(list(read_labels(str(folder), "auto"))).keys() == visible(filmed).keys()


def test_results_of_youtube_vis_come_back_as_the_objects_that_they_are(drawn: DrawnJob, export: Export) -> None:
    truth = export("youtube_vis", to="truth") / "annotations/instances_train.json"
    folder = export("youtube_vis", "variant=results", to="results")
    found = by_mask(list(read_labels(str(folder), "youtube_vis", ReadOptions(images=str(truth)))))
    expected = visible(drawn)
    assert found.keys() == expected.keys()
    for key, label in found.items():
        np.testing.assert_array_equal(pixels(label), expected[key])


@pytest.mark.parametrize("words", [["davis"], ["sa_v", "variant=png", "frame_step=1"]], ids=str)
def test_objects_that_were_written_by_their_ids_come_back_as_these(tmp_path: Path, words: list[str]) -> None:
    # Dense, object 2 would be number 1, and object 3 number 2.
    uri, truth = write_job(tmp_path, (DrawnVideo("v", {2: "cat", 3: "dog"}),), broken=())
    to = tmp_path / "to"
    assert door([f"output={uri}", f"to={to}", f"format={words[0]}", *words[1:], "object_numbers=id"]) == 0
    found = by_mask(list(read_labels(str(to), "auto")))
    assert {(key[1], label.category) for key, label in found.items()} == {(2, "cat"), (3, "dog")}
    for key, label in found.items():
        assert not (pixels(label) & ~truth[key]).any()


def test_a_step_that_nothing_else_tells_is_read_from_sa_v(tmp_path: Path) -> None:
    uri, truth = write_job(tmp_path, (DrawnVideo("v", {2: "cat"}, num_frames=12),), broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}", "format=sa_v", "frame_step=5"]) == 0
    found = by_mask(list(read_labels(str(tmp_path / "to"), "auto")))
    assert sorted(frame for _, _, frame in found) == [0, 5, 10]
    assert all(np.array_equal(pixels(label), truth[key]) for key, label in found.items())


def test_frames_that_were_counted_anew_are_not_taken_for_others(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {2: "cat"}, stride=2),), broken=())
    words = [f"output={uri}", "format=davis", "frame_numbers=count"]
    assert door([*words, f"to={tmp_path / 'to'}"]) == 0
    with pytest.raises(InputError, match="frame_numbers=count, so that names of files do not tell the frames of"):
        list(read_labels(str(tmp_path / "to"), "auto"))
    uri, truth = write_job(tmp_path / "every", (DrawnVideo("v", {2: "cat"}),), broken=())
    assert door([words[1], words[2], f"output={uri}", f"to={tmp_path / 'every/to'}"]) == 0
    found = by_mask(list(read_labels(str(tmp_path / "every/to"), "auto")))
    assert found.keys() == {key for key, mask in truth.items() if mask.any()}


@pytest.mark.parametrize("format_name", ["cvat_video", "yolo_seg"])
def test_polygons_come_back_as_alike_as_the_manifest_says(drawn: DrawnJob, export: Export, format_name: str) -> None:
    folder = export(format_name, "videos=[clip-1]")  # the manifest names the 20 worst
    labels = list(read_labels(str(folder), "auto"))
    expected = {key: mask for key, mask in visible(drawn).items() if key[0] == "clip-1"}
    told = json.loads((folder / "manifest.json").read_text())["lost"]
    lost = {
        (one["video_id"], one["object_id"], one["frame_index"]): one["iou"]
        for kind in told.values()
        for one in kind["worst"]
    }
    if format_name == "yolo_seg":  # no line says which object it is
        pairs = [
            (key, max((iou(pixels(label), mask) for label in labels if _is_at(label, key)), default=0.0))
            for key, mask in expected.items()
        ]
    else:
        found = by_mask(labels)
        assert found.keys() == expected.keys()
        pairs = [(key, iou(pixels(label), expected[key])) for key, label in found.items()]
    for key, value in pairs:
        assert value == pytest.approx(lost.get(key, 1.0), abs=0.01), key


def _is_at(label: Label, key: Key) -> bool:
    return not label.is_hidden and (label.video, label.frame_index) == (key[0], key[2])


def test_boxes_of_label_studio_come_back_around_their_masks(drawn: DrawnJob, export: Export) -> None:
    found = by_mask(list(read_labels(str(export("label_studio")), "auto")))
    expected = visible(drawn)
    assert found.keys() <= expected.keys()
    assert len({key[:2] for key in found}) == len({key[:2] for key in expected})
    for key, label in found.items():
        rows, columns = np.nonzero(expected[key])
        assert isinstance(label.shape, LabelBox)
        edges = np.array(label.shape.xyxy) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        np.testing.assert_allclose(edges, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1e-4)
