"""DAVIS as its readers read it, and as its specification describes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.export import door
from pipeline.formats.plan import safe_name
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job
from tests.support.exported import iou, lost_of, lower_ids_on_top, videos_of

Export = Callable[..., Path]
STEPS = {"clip-1": range(6), "b/odd name.mp4": range(0, 16, 4), "c": range(6)}


def labels(path: Path) -> np.ndarray:
    """A picture, held against the specification: 8 bits with a palette of which 0 is black."""
    image = Image.open(path)
    assert image.mode == "P"
    colors = image.getpalette()
    assert colors is not None
    assert colors[:3] == [0, 0, 0]
    return np.array(image)


@pytest.mark.slow
def test_a_tree_has_what_the_specification_says_and_the_masks_as_they_are(export: Export, drawn: DrawnJob) -> None:
    folder = export("davis", "overlap=id")
    videos = videos_of(folder)
    names = (folder / "ImageSets/2017/train.txt").read_text().splitlines()
    assert sorted(names) == sorted(path.name for path in (folder / "Annotations/480p").iterdir())
    assert names == [safe_name(video_id) for video_id in sorted(STEPS)]
    for video_id, frames in STEPS.items():
        record = videos[video_id]
        files = sorted((folder / "Annotations/480p" / record["name"]).iterdir())
        assert [path.name for path in files] == [f"{frame:05d}.png" for frame in frames]
        assert [one["number"] for one in record["objects"]] == list(range(1, len(record["objects"]) + 1))
        number = {one["object_id"]: one["number"] for one in record["objects"]} | {-1: 0}
        for frame, path in zip(frames, files, strict=True):
            expected = np.vectorize(number.get)(lower_ids_on_top(drawn.truth, video_id, frame, skip=(5,)))
            np.testing.assert_array_equal(labels(path), expected)


@pytest.mark.slow
def test_vos_benchmark_scores_the_tree_as_the_manifest_counts_what_overlaps_took(
    export: Export, drawn: DrawnJob, tmp_path: Path
) -> None:
    from vos_benchmark.benchmark import VideoEvaluator

    same = export("davis", "overlap=id", "resolution=null", to="id")
    folder = export("davis", "overlap=score", "resolution=null", to="score")
    lost, ious = lost_of(folder)["overlap"], []
    for video_id, record in videos_of(folder).items():
        name = record["name"]
        _, j, f = VideoEvaluator(str(same / "Annotations"), str(same / "Annotations"))(name)
        assert set(j.values()) == set(f.values()) == {100.0}
        truth = tmp_path / "truth" / name
        truth.mkdir(parents=True)
        for path in sorted((folder / "Annotations" / name).iterdir()):
            painted = labels(path)
            for one in record["objects"]:
                mask = drawn.truth.get((video_id, one["object_id"], int(path.stem)), np.zeros((1, 1), bool))
                if mask.any():
                    assert not (~mask & (painted == one["number"])).any()
                    ious.append(iou(mask, painted == one["number"]))
    assert lost["masks"] == sum(value < 1 for value in ious)
    assert lost["iou_mean"] == pytest.approx(np.mean([value for value in ious if value < 1]))
    assert lost["iou_min"] == pytest.approx(min(ious))


@pytest.mark.slow
def test_frames_before_the_first_prompt_are_empty_pictures(tmp_path: Path) -> None:
    late = DrawnVideo("v", {1: "cat", 2: "dog"}, stride=3, missing={1: (0, 1), 2: (0, 1)})
    uri, _ = write_job(tmp_path, (late,), broken=())
    words = [f"output={uri}", "format=davis", "categories=[dog]"]
    assert door([*words, f"to={tmp_path / 'a'}"]) == 0
    assert door([*words, f"to={tmp_path / 'b'}", "unlabeled_frames=false", "frame_numbers=count"]) == 0
    found = {path.stem: labels(path).any() for path in (tmp_path / "a/Annotations/480p/v").iterdir()}
    assert found == {"00000": False, "00003": False, "00006": True, "00009": True, "00012": False, "00015": True}
    files = sorted((tmp_path / "b/Annotations/480p/v").iterdir())
    assert [(path.stem, bool(labels(path).any())) for path in files] == [
        ("00000", True), ("00001", True), ("00002", False), ("00003", True),
    ]  # fmt: skip


@pytest.mark.slow
def test_files_are_called_as_the_images_of_the_video_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "film"
    folder.mkdir()
    for number in range(0, 50, 5):
        Image.new("RGB", (WIDTH, HEIGHT), (3 * number,) * 3).save(folder / f"{number:05d}.png")
    film = DrawnVideo("film", {1: "cat"}, 4, stride=3, uri=str(folder), has_times=False, missing={1: (0,)})
    uri, _ = write_job(tmp_path, (film,), broken=())
    words = [f"output={uri}", "format=davis", "resolution=null", "frame_numbers=file"]
    assert door([*words, f"to={tmp_path / 'a'}"]) == 0
    assert sorted(path.stem for path in (tmp_path / "a/Annotations/film").iterdir()) == [
        "00000", "00015", "00030", "00045",
    ]  # fmt: skip
    assert door([*words, f"to={tmp_path / 'b'}", "frames=jpg"]) == 0
    images = sorted((tmp_path / "b/JPEGImages/film").iterdir())
    assert [path.stem for path in images] == ["00015", "00030", "00045"]
    assert all(abs(np.asarray(Image.open(path)).mean() - 3 * int(path.stem)) < 2 for path in images)
    (folder / "00003.png").write_bytes((folder / "00005.png").read_bytes())
    assert door([*words, f"to={tmp_path / 'c'}"]) == 2
    assert "video 'film' has 11 images, and 10 were read when it was labeled" in capsys.readouterr().err


def test_names_of_a_long_video_are_sorted_as_its_frames_are(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: "cat"}, num_frames=3, stride=60_000),), broken=())
    assert door([f"output={uri}", "format=davis", f"to={tmp_path / 'to'}"]) == 0
    names = sorted(path.stem for path in (tmp_path / "to/Annotations/480p/v").iterdir())
    assert list(map(int, names)) == [0, 60_000, 120_000]


@pytest.mark.slow
def test_results_keep_the_ids_of_the_truth_when_an_object_is_missing(
    export: Export, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Objects 3 and 7: dense they are 1 and 2, and an evaluator would hold them against the objects 1 and 2 of a truth.
    folder = export("davis", "videos=[clip-1]", "object_numbers=id", "overlap=id")
    shown = labels(folder / "Annotations/480p/clip-1/00002.png")
    np.testing.assert_array_equal(shown, np.maximum(lower_ids_on_top(drawn.truth, "clip-1", 2), 0))
    words = [f"output={drawn.uri}", "format=davis", f"to={tmp_path / 'to'}", "object_numbers=id"]
    assert door(words) == 2
    assert "has an object 0, and with object_numbers=id a palette has 1 to 254" in capsys.readouterr().err


@pytest.mark.slow
def test_more_objects_than_a_palette_has_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = DrawnVideo("crowd", dict.fromkeys(range(255), "cat"), num_frames=2)
    uri, _ = write_job(tmp_path, (many,), broken=())
    words = [f"output={uri}", "format=davis", f"to={tmp_path / 'to'}", "keep_never_visible=true"]
    assert door(words) == 2
    told = capsys.readouterr().err
    assert "video 'crowd' has 255 objects, and a palette has 254" in told
    assert "format=sa_v" in told
    assert not (tmp_path / "to").exists()
    assert door([*words, "where=object_id < 254"]) == 0
    assert labels(tmp_path / "to/Annotations/480p/crowd/00000.png").max() <= 254


@pytest.mark.slow
def test_frames_lie_beside_their_masks_under_the_same_names(export_filmed: Export) -> None:
    folder = export_filmed("davis", "frames=jpg")
    masks = sorted(path.stem for path in (folder / "Annotations/480p/clip-1").iterdir())
    images = sorted((folder / "JPEGImages/480p/clip-1").iterdir())
    assert masks == [path.stem for path in images] == [f"{frame:05d}" for frame in range(0, 10, 2)]
    for path in images:
        assert path.suffix == ".jpg"
        assert Image.open(path).size == (WIDTH, HEIGHT)
        # Each frame of the film has a gray of its own.
        assert abs(np.asarray(Image.open(path)).mean() - 10 * int(path.stem)) < 3


@pytest.mark.parametrize("format_name", ["davis", "sa_v"])
def test_images_that_the_readers_do_not_look_for_are_refused(
    format_name: str, filmed: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={filmed.uri}", f"format={format_name}", f"to={tmp_path / 'to'}", "frames=png"]) == 2
    assert f"frames=png: programs that read {format_name} look for other files; give frames=none or jpg" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "to").exists()
