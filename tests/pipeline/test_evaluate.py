"""`python -m pipeline.evaluate`: masks of a job against true ones, judged by vos-benchmark and trackeval."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.compare import door as compare_door
from pipeline.evaluate import door
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import open_filesystem
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job
from tests.support.full_disk import full_disk
from tests.support.masks import Drawn, rle, write_output, write_table
from tests.support.s3_server import S3Server

SIZE_HW = (60, 80)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return np.hypot(columns - x, rows - y) < radius


def track(x: float, y: float, radius: float, frames: range, num_frames: int = 8) -> np.ndarray:
    """A disc that drifts and shows on these frames."""
    hidden = np.zeros(SIZE_HW, bool)
    return np.stack([disc(x + 2 * t, y, radius) if t in frames else hidden for t in range(num_frames)])


def truth() -> dict[str, dict[int, np.ndarray]]:
    """One object throughout, one that enters late, one that hides in between, one on the first frame alone."""
    return {
        "late": {1: track(12, 14, 9, range(8)), 2: track(20, 42, 10, range(3, 8))},
        "gaps": {1: track(12, 14, 9, range(8)), 2: track(20, 42, 10, range(1)), 7: track(50, 15, 8, range(5, 7))},
        "seen twice": {1: track(30, 30, 12, range(8)) & ~track(30, 30, 12, range(3, 5))},
    }


def found() -> dict[str, dict[int, np.ndarray]]:
    """What a job made of it: moved a little, seen too early, lost, and an object that is not there."""
    return {
        "late": {1: track(13, 14, 9, range(8)), 2: track(21, 43, 9, range(1, 7)), 5: track(60, 50, 5, range(4))},
        "gaps": {1: track(12, 16, 9, range(2, 8)), 2: track(20, 42, 10, range(2)), 7: track(50, 15, 8, range(8))},
        "seen twice": {1: track(31, 30, 12, range(8))},
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An output and a table of the truth."""
    folder = tmp_path_factory.mktemp("evaluate")
    return write_output(folder / "out", found()), write_table(folder / "truth.parquet", truth())


def evaluate(folders: tuple[str, str], to: Path, *words: str) -> tuple[dict[tuple[str, str], dict[str, Any]], pa.Table]:
    """Rows by video and true object, and the summary."""
    output, true = folders
    assert door([f"output={output}", f"truth={true}", f"to={to}", "pictures=false", *words]) == 0
    objects = pq.read_table(to / "objects.parquet").to_pylist()
    return {(row["video_id"], row["true_object_id"]): row for row in objects}, pq.read_table(to / "summary.parquet")


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert door(words) == 2
    return capsys.readouterr().err


def png_tree(folder: Path, videos: Drawn) -> Path:
    for video_id, masks in videos.items():
        (folder / video_id).mkdir(parents=True)
        for frame in range(8):
            labels = np.zeros(SIZE_HW, np.uint8)
            for object_id, masks_THW in masks.items():
                labels[masks_THW[frame]] = object_id
            picture = Image.fromarray(labels, "P")
            picture.putpalette([value for number in range(256) for value in (number, 255 - number, 40)])
            picture.save(folder / video_id / f"{frame:05}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("convention", "skips"), [("sa_v", True), ("all", False)])
def test_scores_are_those_of_vos_benchmark_on_the_same_masks(
    convention: str, skips: bool, folders: tuple[str, str], tmp_path: Path
) -> None:
    from vos_benchmark.benchmark import (
        VideoEvaluator,  # here, because it takes a second, and all processes collect all tests
    )

    rows, summary = evaluate(folders, tmp_path / "to", f"convention={convention}", "prompted=include")
    trees = png_tree(tmp_path / "true", truth()), png_tree(tmp_path / "found", found())
    expected: dict[tuple[str, str], tuple[float, float]] = {}
    for video_id in truth():
        _, ious, boundaries = VideoEvaluator(*trees, skip_first_and_last=skips)(video_id)
        expected |= {(video_id, str(one)): (ious[one] / 100, boundaries[one] / 100) for one in ious}
    assert set(rows) == set(expected)
    for key, scores in expected.items():
        assert (rows[key]["j"], rows[key]["f"]) == pytest.approx(scores, abs=1e-9), key
    first = summary.to_pylist()[0]
    mean_j, mean_f = np.mean(list(expected.values()), axis=0)
    assert (first["j"], first["f"]) == pytest.approx((mean_j, mean_f), abs=1e-9)
    assert first["j_and_f"] == pytest.approx((mean_j + mean_f) / 2, abs=1e-9)
    assert 0.3 < mean_f < 0.9, "the clips must be neither all right nor all wrong"


@pytest.mark.slow
def test_davis_counts_the_objects_of_the_first_frame_on_all_inner_frames(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    from vos_benchmark.evaluator import Evaluator

    rows, _ = evaluate(folders, tmp_path, "convention=davis", "prompted=include")
    assert set(rows) == {("late", "1"), ("gaps", "1"), ("gaps", "2"), ("seen twice", "1")}
    for (video_id, object_id), row in rows.items():
        evaluator, number = Evaluator(), int(object_id)
        evaluator.objects_in_gt.add(number)  # as DAVIS has it: known from the first frame on, which is not scored
        for frame in range(1, 7):
            sides = (found()[video_id][number][frame], truth()[video_id][number][frame])
            evaluator.feed_frame(*(side.astype(np.uint8) * number for side in sides))
        j, f = evaluator.conclude()
        assert (row["j"] * 100, row["f"] * 100) == pytest.approx((j[number], f[number]), abs=1e-9)
        assert row["num_frames"] == 6


@pytest.mark.slow
def test_prompted_frames_do_not_count_unless_they_are_asked_for(folders: tuple[str, str], tmp_path: Path) -> None:
    without, _ = evaluate(folders, tmp_path / "without")
    with_them, _ = evaluate(folders, tmp_path / "with", "prompted=include")
    one, other = without["late", "1"], with_them["late", "1"]
    assert (one["num_frames"], one["num_prompted"]) == (7, 1)
    assert (other["num_frames"], other["num_prompted"]) == (8, 0)
    # Object 2 shows from frame 1 on in the output, and was prompted on frame 0: nothing of it is left out.
    assert (without["late", "2"]["num_frames"], without["late", "2"]["num_prompted"]) == (7, 0)


@pytest.mark.slow
def test_hota_leaves_out_what_the_job_was_told(tmp_path: Path) -> None:
    """Both objects are right but on frame 2, where the first is wrong and has a prompt."""
    true = {"one": {1: track(12, 14, 9, range(8)), 2: track(20, 42, 10, range(8))}}
    wrong = {"one": {1: true["one"][1].copy(), 2: true["one"][2]}}
    wrong["one"][1][2] = np.roll(true["one"][1][2], 14, axis=1)
    sides = write_output(tmp_path / "out", wrong, prompted=(2,)), write_table(tmp_path / "true.parquet", true)
    without, with_it = (
        evaluate(sides, tmp_path / word, f"prompted={word}", "hota=true")[1].to_pylist()[0]
        for word in ("exclude", "include")
    )
    assert without["hota"] == pytest.approx(1)
    assert without["num_frames"] == 14
    assert 0.8 < with_it["hota"] < 0.99


@pytest.mark.slow
def test_a_row_says_where_and_how_an_object_is_wrong(folders: tuple[str, str], tmp_path: Path) -> None:
    rows, _ = evaluate(folders, tmp_path, "prompted=include")
    early = rows["late", "2"]
    assert (early["num_missed"], early["num_invented"], early["num_hidden"]) == (1, 2, 2)
    assert (early["worst_frame"], early["worst_j"], early["length"]) == (1, 0.0, 5)
    areas = [mask.sum() for mask in truth()["late"][2][3:]]
    assert early["true_area_mean"] == pytest.approx(np.mean(areas))


@pytest.mark.slow
def test_objects_with_other_ids_are_paired_by_overlap(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = {video_id: {id_ + 100: masks for id_, masks in tracks.items()} for video_id, tracks in truth().items()}
    table = write_table(tmp_path / "renamed.parquet", renamed)
    words = [f"output={folders[0]}", f"truth={table}"]
    message = refused(words, capsys)
    assert "has the objects 101, 102, 107, the output has 1, 2, 7: none is the same; give match=iou" in message
    expected, _ = evaluate(folders, tmp_path / "by_id")
    rows, _ = evaluate((folders[0], table), tmp_path / "by_iou", "match=iou")
    assert {(video, str(int(one) - 100)): row["j_and_f"] for (video, one), row in rows.items()} == {
        key: row["j_and_f"] for key, row in expected.items()
    }
    assert rows["gaps", "107"]["object_id"] == "7"


@pytest.mark.slow
def test_objects_that_are_others_in_one_video_alone_count_as_never_found(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = truth() | {"late": {8: truth()["late"][1]}}
    table = write_table(tmp_path / "other.parquet", other)
    rows, _ = evaluate((folders[0], table), tmp_path / "to")
    assert rows["late", "8"]["object_id"] is None
    assert rows["gaps", "7"]["object_id"] == "7"
    told = capsys.readouterr().out
    assert "1 object of the truth that the output lacks: counted as never found" in told
    assert "3 objects of the output without a true one: they do not count" in told
    door_of_both = [f"a={folders[0]}", f"b={folders[0]}", f"truth={table}"]
    assert compare_door(door_of_both) == 0
    table = write_table(tmp_path / "all.parquet", {"late": other["late"]})
    assert compare_door([*door_of_both[:2], f"truth={table}", "videos=late"]) == 2
    assert "none is the same; give match=iou" in capsys.readouterr().err


@pytest.mark.slow
def test_a_video_without_a_labeled_frame_among_the_annotated_ones_does_not_count(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(folders[1])
    shift = np.where(np.array(rows["video_id"].to_pylist()) == "late", 100, 0)
    for name, frames in (
        ("one", rows["frame_index"].to_numpy() + shift),
        ("all", rows["frame_index"].to_numpy() + 100),
    ):
        table = rows.drop_columns("frame_index").append_column("frame_index", pa.array(frames))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found, _ = evaluate((folders[0], str(tmp_path / "one.parquet")), tmp_path / "to", "hota=true")
    assert {video_id for video_id, _ in found} == {"gaps", "seen twice"}
    assert "8 annotated frames that the output has not labeled" in capsys.readouterr().out
    said = refused([f"output={folders[0]}", f"truth={tmp_path / 'all.parquet'}"], capsys)
    assert "(frames 100 to 107) was labeled (frames 0 to 7); where the truth counts frames otherwise" in said


@pytest.mark.slow
def test_a_video_in_which_nothing_overlaps_counts_as_never_found(folders: tuple[str, str], tmp_path: Path) -> None:
    apart = {video_id: dict(tracks) for video_id, tracks in truth().items()}
    masks_THW = np.zeros((8, *SIZE_HW), bool)
    masks_THW[:, -1, -1] = True
    apart["late"] = {101: masks_THW}
    table = write_table(tmp_path / "apart.parquet", apart)
    rows, _ = evaluate((folders[0], table), tmp_path / "to", "match=iou")
    assert (rows["late", "101"]["object_id"], rows["late", "101"]["j"]) == (None, 0)
    assert rows["gaps", "7"]["object_id"] == "7"


@pytest.mark.slow
def test_frames_are_paired_by_time_where_they_are_counted_otherwise(folders: tuple[str, str], tmp_path: Path) -> None:
    by_index, _ = evaluate(folders, tmp_path / "by_index")
    rows = pq.read_table(folders[1])
    times = pa.array((rows["frame_index"].to_numpy() + 0.2) / 12)
    pq.write_table(rows.drop_columns("frame_index").append_column("pts_seconds", times), tmp_path / "timed.parquet")
    by_time, _ = evaluate((folders[0], str(tmp_path / "timed.parquet")), tmp_path / "by_time", "frames=time")
    assert {key: (row["j"], row["num_frames"]) for key, row in by_time.items()} == {
        key: (row["j"], row["num_frames"]) for key, row in by_index.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(("begin", "stride"), [(3, 1), (4, 2)])
def test_frames_before_a_late_prompt_count_as_not_found_by_time_as_by_number(
    folders: tuple[str, str], tmp_path: Path, begin: int, stride: int
) -> None:
    """Frames on which no object has a row have no time, and were left out: J&F was 100 where it is 40 by number."""
    output = write_output(tmp_path / "out", found(), prompted=(begin,), begin=begin, stride=stride)
    rows = pq.read_table(folders[1])
    timed = rows.append_column("pts_seconds", pa.array(rows["frame_index"].to_numpy() / 12))
    pq.write_table(timed, tmp_path / "timed.parquet")
    sides = output, str(tmp_path / "timed.parquet")
    by_index, by_time = (evaluate(sides, tmp_path / "to", f"frames={frames}")[0] for frames in ("index", "time"))
    assert by_time == by_index
    assert by_index["late", "1"]["num_missed"] == begin // stride


@pytest.mark.slow
def test_objects_of_which_no_frame_counts_are_told_and_what_counts_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a photo 1 object was told and a line of dashes, or advice about boxes and clicks."""
    photos = {"one": {1: track(30, 30, 12, range(1), 1)}}
    sides = write_output(tmp_path / "out", photos), write_table(tmp_path / "truth.parquet", photos)
    evaluate(sides, tmp_path / "to", "convention=davis")
    assert "left out 1 object of which no frame counts" in capsys.readouterr().out
    told = refused([f"output={sides[0]}", f"truth={sides[1]}", "convention=sa_v"], capsys)
    assert "convention=all counts the first and the last frame as well" in told
    evaluate(sides, tmp_path / "to", "prompted=include")
    assert "no frame counts" not in capsys.readouterr().out


@pytest.mark.slow
def test_frames_that_were_not_labeled_are_left_out_and_counted(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = write_output(tmp_path / "out", found(), stride=2)
    rows, _ = evaluate((output, folders[1]), tmp_path / "to", "prompted=include")
    assert rows["late", "1"]["num_frames"] == 4
    assert rows["late", "1"]["num_unpaired"] == 4
    assert "left out 12 annotated frames that the output has not labeled" in capsys.readouterr().out


@pytest.mark.parametrize("stride", [1, 2])
def test_labeled_frames_before_the_first_prompt_count_as_empty(tmp_path: Path, stride: int) -> None:
    """No object has a row there, and the frames were labeled all the same."""
    masks = {"late": {1: track(12, 14, 9, range(8))}}
    output = write_output(tmp_path / "out", masks, prompted=(4,), stride=stride, begin=4)
    rows, _ = evaluate((output, write_table(tmp_path / "truth.parquet", masks)), tmp_path / "to")
    row = rows["late", "1"]
    assert (row["num_missed"], row["num_frames"], row["num_prompted"]) == (4 // stride, 8 // stride - 1, 1)
    assert row["num_unpaired"] == 8 - 8 // stride


def test_chosen_videos_alone_are_scored(folders: tuple[str, str], tmp_path: Path) -> None:
    rows, _ = evaluate(folders, tmp_path, "videos=[late,gaps]")
    assert {video_id for video_id, _ in rows} == {"late", "gaps"}


@pytest.mark.slow
def test_the_output_of_a_job_is_a_truth_and_equals_itself(folders: tuple[str, str], tmp_path: Path) -> None:
    _, summary = evaluate((folders[0], folders[0]), tmp_path)
    first = summary.to_pylist()[0]
    assert (first["num_objects"], first["j"], first["f"]) == (7, 1.0, 1.0)


@pytest.mark.slow
def test_videos_that_the_output_lacks_are_refused_left_out_or_counted_as_not_found(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = truth() | {"new": {1: track(12, 14, 9, range(8))}}
    table = write_table(tmp_path / "truth.parquet", more)
    message = refused([f"output={folders[0]}", f"truth={table}", f"to={tmp_path / 'to'}"], capsys)
    assert "1 video of 4 without masks in output=" in message
    assert "new; label them, or give missing=skip" in message
    assert not (tmp_path / "to").exists()
    skipped, _ = evaluate((folders[0], table), tmp_path / "skip", "missing=skip")
    assert "left out 1 video without masks in the output: new" in capsys.readouterr().out
    counted, _ = evaluate((folders[0], table), tmp_path / "empty", "missing=empty")
    assert set(counted) - set(skipped) == {("new", "1")}
    assert (counted["new", "1"]["j"], counted["new", "1"]["object_id"]) == (0.0, None)


def test_a_truth_that_does_not_fit_is_named_with_the_remedy(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = f"output={folders[0]}"
    small = {"late": {1: np.ones((8, 30, 40), bool)}}
    message = refused([output, f"truth={write_table(tmp_path / 'small.parquet', small)}"], capsys)
    assert "video 'late' has masks of 40 x 30 pixels there, and of 80 x 60 in the output" in message
    assert "bring the truth to 80 x 60" in message
    message = refused([output, f"truth={folders[1]}", "videos=nope"], capsys)
    assert "videos=nope: truth=" in message
    assert "has no masks of it; it has gaps, late, seen twice" in message
    message = refused([output, f"truth={folders[1]}", "videos=gaps,late"], capsys)
    assert "it has gaps, late, seen twice; several are written as a list, in brackets: '[gaps,late]'" in message
    message = refused([output, f"truth={folders[1]}", "videos=[]"], capsys)
    assert "videos=[] names nothing" in message
    (tmp_path / "other.parquet").write_bytes(b"no table")
    assert "is no Parquet file" in refused([output, f"truth={tmp_path / 'other.parquet'}"], capsys)
    assert "does not exist" in refused([output, f"truth={tmp_path / 'gone.parquet'}"], capsys)
    pq.write_table(pa.table({"video_id": ["late"], "object_id": [1]}), tmp_path / "narrow.parquet")
    message = refused([output, f"truth={tmp_path / 'narrow.parquet'}"], capsys)
    assert "it lacks rle, frame_index or pts_seconds" in message


def test_a_truth_in_which_no_object_shows_is_refused(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [row | {"rle": None} for row in pq.read_table(folders[1]).to_pylist()]
    pq.write_table(pa.Table.from_pylist(prompts, pq.read_schema(folders[1])), tmp_path / "prompts.parquet")
    words = [f"output={folders[0]}", f"truth={tmp_path / 'prompts.parquet'}", f"to={tmp_path / 'to'}"]
    message = refused(words, capsys)
    assert "none of its objects shows on a frame that counts by convention=all" in message
    assert "a table of prompts with boxes or clicks has no masks" in message
    assert not (tmp_path / "to").exists()


def test_a_mask_of_the_truth_that_is_none_is_named(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(folders[1]).to_pylist()
    rows[11]["rle"]["counts"] += "1"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "truth.parquet")
    message = refused([f"output={folders[0]}", f"truth={tmp_path / 'truth.parquet'}"], capsys)
    assert "truth.parquet: video 'late', object 2 on frame 3: mask_rle: counts covers more than the 4800" in message
    rows[11] = rows[10]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "truth.parquet")
    message = refused([f"output={folders[0]}", f"truth={tmp_path / 'truth.parquet'}"], capsys)
    assert "video 'late' has several masks of object 2 on frame 2; leave one" in message


def test_objects_that_the_output_lacks_count_as_never_found(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"late": truth()["late"] | {9: track(50, 50, 6, range(8))}}
    rows, _ = evaluate((folders[0], write_table(tmp_path / "truth.parquet", more)), tmp_path / "to")
    assert (rows["late", "9"]["object_id"], rows["late", "9"]["j_and_f"]) == (None, 0.0)
    assert "lost     1 object of the truth that the output lacks: counted as never found" in capsys.readouterr().out


def test_a_full_disk_is_told_in_a_line_and_leaves_no_half_file(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"output={folders[0]}", f"truth={folders[1]}", f"to={tmp_path / 'to'}", "pictures=false"]
    with full_disk(room_bytes=80):
        assert door(words) == 1
    assert "objects.parquet was refused: " in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.slow
def test_a_tree_of_palette_pictures_is_a_truth(folders: tuple[str, str], tmp_path: Path) -> None:
    expected, _ = evaluate(folders, tmp_path / "table")
    tree = png_tree(tmp_path / "Annotations", truth())
    for word in ("format=davis", "format=auto"):
        rows, _ = evaluate((folders[0], str(tree)), tmp_path / word, word)
        assert {key: row["j_and_f"] for key, row in rows.items()} == {
            key: row["j_and_f"] for key, row in expected.items()
        }


@pytest.fixture
def mots(tmp_path: Path) -> Path:
    """The truth as texts of MOTSChallenge, which count frames from 1."""
    folder = tmp_path / "mots"
    folder.mkdir()
    for video_id, masks in truth().items():
        lines = [
            f"{frame + 1} {object_id} 1 {SIZE_HW[0]} {SIZE_HW[1]} {rle(mask_HW)['counts']}\n"
            for object_id, masks_THW in masks.items()
            for frame, mask_HW in enumerate(masks_THW)
            if mask_HW.any()
        ]
        (folder / f"{video_id}.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def gaps(tmp_path: Path) -> tuple[str, Path]:
    """A job of a folder of every fifth image of a film, and its own masks as pictures that are called as the images."""
    folder = tmp_path / "JPEGImages/film"
    folder.mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{5 * number:05d}.jpg")
    video = DrawnVideo("film", {1: "cat"}, 20, uri=str(folder), has_times=False)
    uri, masks = write_job(tmp_path, (video,), broken=())
    tree = tmp_path / "Annotations/film"
    tree.mkdir(parents=True)
    for (_, _, frame), mask in masks.items():
        Image.fromarray(mask.astype(np.uint8), "P").save(tree / f"{5 * frame:05d}.png")
    return uri, tree.parent


def scores_of(gaps: tuple[str, Path], to: Path, *words: str) -> tuple[float, int, int]:
    rows, _ = evaluate((gaps[0], str(gaps[1])), to, "format=davis", "prompted=include", *words)
    (row,) = rows.values()
    return row["j_and_f"], row["num_frames"], row["num_unpaired"]


@pytest.mark.slow
def test_pictures_of_a_folder_of_images_are_its_frames_by_name(gaps: tuple[str, Path], tmp_path: Path) -> None:
    assert scores_of(gaps, tmp_path / "a") == (1.0, 20, 0)
    Image.open(gaps[1] / "film/00005.png").save(gaps[1] / "film/00006.png")
    assert scores_of(gaps, tmp_path / "b") == (1.0, 20, 1)


@pytest.mark.slow
def test_numbers_of_pictures_do_not_count_where_the_folder_of_images_is_gone(
    gaps: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "JPEGImages").rename(tmp_path / "moved")
    said = refused([f"output={gaps[0]}", f"truth={gaps[1]}", "format=davis"], capsys)
    assert "00020.png: the video is a folder of 20 images, whose names tell which of them '00020' is" in said
    assert scores_of(gaps, tmp_path / "a", f"videos_root={tmp_path / 'moved'}") == (1.0, 20, 0)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["first_frame=1"]])
def test_frames_of_a_truth_that_count_from_1_are_shifted_once(
    words: list[str], folders: tuple[str, str], mots: Path, tmp_path: Path
) -> None:
    expected, _ = evaluate(folders, tmp_path / "table")
    rows, _ = evaluate((folders[0], str(mots)), tmp_path / "to", "format=mots", *words)
    for key in (("late", "1"), ("late", "2")):  # a frame without a line, as others have, is not annotated in MOTS
        assert rows[key]["j_and_f"] == expected[key]["j_and_f"]


def test_frames_of_a_table_that_count_from_1_are_shifted_on_request(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(folders[1])
    place = table.schema.get_field_index("frame_index")
    one_later = pa.array([frame + 1 for frame in table["frame_index"].to_pylist()], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), one_later), tmp_path / "from_1.parquet")
    from_1 = folders[0], str(tmp_path / "from_1.parquet")
    assert evaluate(from_1, tmp_path / "a", "first_frame=1")[0] == evaluate(folders, tmp_path / "b")[0]
    said = refused([f"output={folders[0]}", f"truth={folders[0]}", "first_frame=1"], capsys)
    assert "is the output of a job, whose frames count from 0; leave first_frame out" in said
    said = refused([f"output={folders[0]}", f"truth={folders[0]}", "images=truth.json"], capsys)
    assert "names its videos itself; leave images out" in said


def test_ids_of_objects_that_pandas_made_floats_are_the_same_objects(tmp_path: Path) -> None:
    masks = {"v": {4_000_000_000_123: track(12, 14, 9, range(8))}}
    output, true = write_output(tmp_path / "out", masks), write_table(tmp_path / "truth.parquet", masks)
    table = pq.read_table(true)
    place = table.schema.get_field_index("object_id")
    floats = pa.array([float(one) for one in table["object_id"].to_pylist()])
    pq.write_table(table.set_column(place, "object_id", floats), true)
    rows, _ = evaluate((output, true), tmp_path / "to")
    assert [row["j"] for row in rows.values()] == [1.0]


def test_a_frame_before_the_first_one_is_refused(
    folders: tuple[str, str], mots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={folders[0]}", f"truth={mots}", "format=mots", "first_frame=2"]) == 2
    said = capsys.readouterr().err
    assert "gaps.txt, line 1: frame -1: frames count from 0 here; correct first_frame" in said


def test_labels_that_are_no_masks_are_refused_with_their_place(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("video_id,object_id,frame_index,x0,y0,x1,y1\nlate,1,0,3,4,30,20\n")
    message = refused([f"output={folders[0]}", f"truth={boxes}", "format=boxes"], capsys)
    assert "this label is no mask, and scores need masks" in message
    assert "boxes.csv" in message
    assert "format=nope: allowed are auto, boxes" in refused(
        [f"output={folders[0]}", f"truth={boxes}", "format=nope"], capsys
    )


@pytest.mark.slow
def test_output_truth_and_results_may_lie_on_s3(s3_server: S3Server, folders: tuple[str, str], tmp_path: Path) -> None:
    expected, _ = evaluate(folders, tmp_path / "local")
    place, options = s3_server.new_folder(), s3_server.options()
    write_output(tmp_path / "out", found(), storage=JobStorage(f"{place}/labels", options))
    filesystem, root = open_filesystem(place, options)
    filesystem.pipe_file(f"{root}/truth.parquet", Path(folders[1]).read_bytes())
    words = [f"output={place}/labels", f"truth={place}/truth.parquet", f"to={place}/scores", "pictures=false"]
    assert door([*words, *(f"storage_options.{key}={value}" for key, value in flat(options))]) == 0
    written = io.BytesIO(filesystem.cat_file(f"{root}/scores/objects.parquet"))
    rows = pq.read_table(written).to_pylist()
    assert {(row["video_id"], row["true_object_id"]): row["j_and_f"] for row in rows} == {
        key: row["j_and_f"] for key, row in expected.items()
    }
    assert filesystem.cat_file(f"{root}/scores/evaluation.html").startswith(b"<!doctype html>")


def flat(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Nested options by their full names."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        pairs += flat(value, f"{before}{key}.") if isinstance(value, dict) else [(f"{before}{key}", value)]
    return pairs


@pytest.mark.parametrize(
    ("package", "words", "remedy"),
    [
        ("trackeval.metrics.hota", ["hota=true"], "pip install --no-deps trackeval"),
        ("scipy.optimize", ["match=iou"], 'match=iou needs scipy: pip install "maskmill[evaluate]"'),
    ],
)
def test_a_package_that_lacks_is_named_with_the_command_that_installs_it(
    package: str,
    words: list[str],
    remedy: str,
    folders: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert remedy in refused([f"output={folders[0]}", f"truth={folders[1]}", *words], capsys)
