"""`conf=discover`: videos without prompts are labeled, in this process, with mini on short drawn clips."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pipeline import doors, run, tables
from pipeline.command import ExitCode
from pipeline.demo.clips import Clip, Scene, Shape, draw
from pipeline.demo.inputs import FRAMES_PER_SECOND, clip_mp4
from pipeline.demo.scenes import demo_scenes
from tests.support.rounds import correct

pytestmark = pytest.mark.slow

NUM_FRAMES = 8
OPTIONS = (
    "conf=discover",
    "cluster=serial",
    "discover.points_per_side=8",
    "discover.min_predicted_iou=0.5",
    "discover.min_stability=0.6",
    "discover.every_seconds=0.25",
)


def drawn(number: int) -> Clip:
    return draw(replace(demo_scenes()[number], size_hw=(120, 160), num_frames=NUM_FRAMES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with two objects, a black one, and a photo; and the output of one run over them."""
    folder = tmp_path_factory.mktemp("discover")
    videos = folder / "videos"
    videos.mkdir()
    clip = drawn(0)
    (videos / "shapes.mp4").write_bytes(clip_mp4(clip))
    black = replace(clip, frames_THW3=np.zeros_like(clip.frames_THW3[:2]), masks_TBHW=clip.masks_TBHW[:2])
    (videos / "black.mp4").write_bytes(clip_mp4(black))
    one = replace(clip, frames_THW3=clip.frames_THW3[:1], masks_TBHW=clip.masks_TBHW[:1])
    (videos / "single.mp4").write_bytes(clip_mp4(one))
    assert run.main([*OPTIONS, f"videos={videos}", f"output={folder / 'out'}"]) == ExitCode.DONE
    return folder


def best_ious(
    folder: Path, video_id: str, clip: Clip, frame_index: int, *, output: str = "out", later_by: int = 0
) -> list[float]:
    """For each true object of a frame, which comes so much later in the video, the IoU of the mask nearest to it."""
    where = f"video_id = '{video_id}' and frame_index = {frame_index + later_by}"
    rows = tables.open(str(folder / output)).masks(where=where)
    masks = [coco_mask.decode(rle).astype(bool) for rle in rows.to_table().column("rle").to_pylist()]
    true = [clip.mask(object_id, frame_index) for object_id in clip.object_ids]
    return [max(float((m & t).sum() / (m | t).sum()) for m in masks) for t in true]


def test_objects_that_nobody_prompted_are_labeled_on_all_frames(folder: Path) -> None:
    clip = drawn(0)
    for frame_index in (0, NUM_FRAMES - 1):
        assert sorted(best_ious(folder, "shapes", clip, frame_index))[0] > 0.5
    (row,) = (row for row in tables.open(str(folder / "out")).videos().to_pylist() if row["video_id"] == "shapes")
    assert row["num_masks"] == row["num_tracks"] * NUM_FRAMES >= 2 * NUM_FRAMES


def test_a_frame_on_which_objects_are_looked_for_and_then_followed_is_one_frame(folder: Path) -> None:
    status = json.loads((folder / "out/_status.json").read_text())
    assert status["num_frames"] == NUM_FRAMES + 2 + 1
    assert status["frames_per_second"] > 0


def test_a_corrected_object_is_followed_from_the_mask_that_found_it_and_no_other_is(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(folder / "out", output)
    before = tables.open(str(output)).tracks(["shapes"]).to_pylist()
    seeded = before[0]["prompt_frames"][0]
    correct(output, "shapes", before[0]["object_id"], NUM_FRAMES - 1 if seeded == 0 else 0)
    assert run.main([*OPTIONS, f"videos={folder / 'videos'}", f"output={output}"]) == ExitCode.DONE
    after = tables.open(str(output)).tracks(["shapes"]).to_pylist()
    assert after[1:] == before[1:]
    assert len(after[0]["prompt_frames"]) == 2
    assert (after[0]["round"], after[0]["num_masks"], after[0]["seed_score"]) == (
        2,
        before[0]["num_masks"],
        before[0]["seed_score"],
    )


def test_a_black_video_says_that_nothing_was_found_and_a_single_frame_is_a_video(folder: Path) -> None:
    rows = {row["video_id"]: row for row in tables.open(str(folder / "out")).videos().to_pylist()}
    assert (rows["black"]["status"], rows["black"]["num_masks"]) == ("ok", 0)
    assert "no object was found" in rows["black"]["message"]
    assert rows["single"]["status"] == "ok"
    assert rows["black"]["unexplained_share"] == 0
    assert 0 <= rows["shapes"]["unexplained_share"] < 0.2


def test_the_same_command_has_nothing_to_do_and_other_rules_are_another_job(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = [*OPTIONS, f"videos={folder / 'videos'}", f"output={folder / 'out'}"]
    before = tables.open(str(folder / "out")).masks().to_table().to_pylist()
    assert run.main(again) == ExitCode.DONE
    assert tables.open(str(folder / "out")).masks().to_table().to_pylist() == before
    capsys.readouterr()
    other = [*again, "discover.min_predicted_iou=0.99"]
    assert run.main(other) == ExitCode.REFUSED
    assert "discover.min_predicted_iou: 0.5 in the output, 0.99 now" in capsys.readouterr().err


def test_found_seeds_are_a_table_of_prompts_that_a_later_job_labels_into_the_same_masks(folder: Path) -> None:
    output, to, video = folder / "seeds", folder / "seeds.parquet", folder / "videos" / "shapes.mp4"
    assert run.main([*OPTIONS, f"videos={video}", f"output={output}", "discover.then=prompts"]) == ExitCode.DONE
    assert doors.main(["prompts", f"from={output}", f"to={to}"]) == ExitCode.DONE
    rows = pq.read_table(to).to_pylist()
    assert len(rows) >= 2
    assert all(row["mask_rle"] and row["source"] == "grid" and 0 < row["score"] <= 1 for row in rows)
    label = ["conf=label", "cluster=serial", f"videos={video}", f"prompts={to}", "propagate.direction=both"]
    assert run.main([*label, f"output={folder / 'labels'}"]) == ExitCode.DONE
    in_one_job, in_two = (tables.open(str(folder / name)).masks(["shapes"]).to_table() for name in ("out", "labels"))
    keys = [("object_id", "ascending"), ("frame_index", "ascending")]
    assert in_two.sort_by(keys).to_pylist() == in_one_job.sort_by(keys).to_pylist()


def test_no_object_is_followed_across_a_cut_that_is_found_in_the_pictures(folder: Path) -> None:
    one, num_frames = drawn(0), 5
    # The same clip seen in a mirror, with red and blue exchanged.
    other = replace(one, frames_THW3=one.frames_THW3[:, :, ::-1, ::-1], masks_TBHW=one.masks_TBHW[:, :, :, ::-1])
    film = replace(one, frames_THW3=np.concatenate([clip.frames_THW3[:num_frames] for clip in (one, other)]))
    (folder / "film.mp4").write_bytes(clip_mp4(film))
    output = folder / "film"
    assert run.main([*OPTIONS, f"videos={folder / 'film.mp4'}", f"output={output}", "shots=detect"]) == ExitCode.DONE
    job = tables.open(str(output))
    (video,) = job.videos().to_pylist()
    assert video["cuts_seconds"] == [pytest.approx(num_frames / FRAMES_PER_SECOND)]
    frames: dict[int, list[int]] = {}
    for row in job.masks().to_table().to_pylist():
        frames.setdefault(row["object_id"], []).append(row["frame_index"])
    shots = tuple(range(num_frames)), tuple(range(num_frames, 2 * num_frames))
    assert {tuple(sorted(of_object)) for of_object in frames.values()} == set(shots)
    assert max(best_ious(folder, "film", other, num_frames - 1, output="film", later_by=num_frames)) > 0.5


def test_objects_are_looked_for_in_so_many_seconds_alone_and_are_the_same_in_every_run(tmp_path: Path) -> None:
    """One object enters after the first key frame."""
    (tmp_path / "late.mp4").write_bytes(clip_mp4(drawn(4)))

    def found(name: str, max_seconds: float) -> list[dict[str, object]]:
        words = (f"videos={tmp_path / 'late.mp4'}", f"output={tmp_path / name}", f"discover.max_seconds={max_seconds}")
        assert run.main([*OPTIONS, *words, "discover.then=prompts"]) == ExitCode.DONE
        rows: list[dict[str, object]] = tables.open(str(tmp_path / name)).masks().to_table().to_pylist()
        return rows

    assert {row["frame_index"] for row in found("first", 0)} == {0}
    once = found("once", 0.5)
    assert {row["frame_index"] for row in once} > {0}
    assert found("again", 0.5) == once


def test_clicks_on_crops_of_the_full_frame_find_what_a_coarse_grid_on_the_frame_misses(tmp_path: Path) -> None:
    """Crops are cut from the picture at its own size, although the network sees frames of 256 × 256 pixels."""
    red, blue = ((196, 52, 48), (224, 92, 74)), ((44, 92, 186), (92, 134, 216))
    shapes = (Shape(((0.3, 0.3),), 0.2, red), Shape(((0.92, 0.55),), 0.03, blue))
    clip = draw(Scene("small", "", shapes, ((206, 220, 214), (150, 178, 172)), (480, 640), 1, seed=1))
    Image.fromarray(clip.frames_THW3[0]).save(tmp_path / "small.png")
    believed = ("discover.min_predicted_iou=0.5", "discover.min_stability=0.6", "discover.points_per_side=2")
    job = ("conf=discover", "cluster=serial", f"videos={tmp_path / 'small.png'}", "discover.then=prompts", *believed)

    def best_iou(output: Path, *words: str) -> float:
        assert run.main([*job, f"output={output}", *words]) == ExitCode.DONE
        masks = [
            coco_mask.decode(rle).astype(bool) for rle in tables.open(str(output)).masks().to_table()["rle"].to_pylist()
        ]
        true = clip.mask(2, 0)
        return max((float((m & true).sum() / (m | true).sum()) for m in masks), default=0.0)

    assert best_iou(tmp_path / "frame") < 0.1
    assert best_iou(tmp_path / "crops", "discover.mode=sa_v", "discover.crop_grids=[6]") > 0.85
    assert best_iou(tmp_path / "crops", "discover.mode=sa_v", "discover.crop_grids=[6]") > 0.85  # the job as it was


def true_box(clip: Clip, object_id: int, frame_index: int) -> list[float]:
    rows, columns = np.nonzero(clip.mask(object_id, frame_index))
    return [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]


def test_boxes_of_a_detector_are_joined_into_one_track_of_each_object(folder: Path) -> None:
    clip = drawn(0)
    one, other = clip.object_ids[:2]
    said = [(0, one, "disc", 0.9), (0, other, "box", 0.2), (4, one, "disc", 0.9), (4, other, "box", None)]
    rows = [
        {"clip": "shapes.mp4", "frame": frame, "bbox": true_box(clip, object_id, frame), "label": label, "p": score}
        for frame, object_id, label, score in (*said, (7, one, "disc", 0.5))
    ]
    rows.append({"clip": "shapes.mp4", "frame": 700, "bbox": [0.0, 0.0, 9.0, 9.0], "label": "box", "p": 0.8})
    rows.append({"clip": "shapes.mp4", "frame": 2, "bbox": [9.0, 0.0, 0.0, 9.0], "label": "box", "p": 0.8})
    (folder / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = "columns.video_id=clip columns.frame_index=frame columns.category=label columns.score=p box_format=xyxy"
    command = [*OPTIONS, f"videos={folder / 'videos'}", f"detections={folder / 'boxes.jsonl'}", *names.split()]
    assert run.main([*command, f"output={folder / 'boxed'}"]) == ExitCode.DONE
    job = tables.open(str(folder / "boxed"))
    tracks = job.tracks().to_pylist()
    told = [(row["category"], row["seed_source"], row["prompt_frames"], row["num_masks"]) for row in tracks]
    assert told == [("disc", "detections", [0], NUM_FRAMES), ("box", "detections", [4], NUM_FRAMES)]
    assert [row["seed_score"] for row in tracks] == [pytest.approx(0.9), None]
    videos = {row["video_id"]: row for row in job.videos().to_pylist()}
    assert videos["shapes"]["message"].startswith(
        "3 detections left out: 1 below discover.min_score, 1 on frames that are not labeled, 1 that are no boxes "
        "there (frame 2: box: expected x0 < x1"
    )
    assert {videos[name]["status"] for name in ("black", "single")} == {"no_prompts"}
    assert min(best_ious(folder, "shapes", clip, NUM_FRAMES - 1, output="boxed")) > 0.5
    before = job.masks().to_table()
    assert run.main([*command, f"output={folder / 'boxed'}"]) == ExitCode.DONE
    assert tables.open(str(folder / "boxed")).masks().to_table().equals(before)


def test_images_of_a_collection_say_what_is_left_out_and_that_nobody_has_boxes_of_one(tmp_path: Path) -> None:
    clip = drawn(0)
    Image.fromarray(clip.frames_THW3[0]).save(tmp_path / "two.png")
    Image.fromarray(np.full_like(clip.frames_THW3[0], 40)).save(tmp_path / "empty.png")
    boxes = [true_box(clip, object_id, 0) for object_id in clip.object_ids]
    rows = [f"two,0,{x0},{y0},{x1},{y1},{score}\n" for (x0, y0, x1, y1), score in zip(boxes, (0.8, 0.9), strict=True)]
    (tmp_path / "boxes.csv").write_text("".join(["video_id,frame_index,x0,y0,x1,y1,score\n", *rows, rows[1]]))
    names = ("columns.box=x0,y0,x1,y1", "discover.max_objects=1", "discover.then=prompts")
    command = [*OPTIONS, *names, f"videos={tmp_path}/*.png", f"detections={tmp_path / 'boxes.csv'}"]
    assert run.main([*command, f"output={tmp_path / 'out'}"]) == ExitCode.DONE
    empty, two = tables.open(str(tmp_path / "out")).videos().to_pylist()
    assert (empty["status"], empty["message"]) == ("no_prompts", "the table of detections has no row for this video")
    assert two["message"] == (
        "1 object found, and 1 further mask on key frames left out, because discover.max_objects allows no more; "
        "1 detection counted as no new object, because tracks of the category cover half of the mask or overlap it "
        "by 0.3"
    )
    (track,) = tables.open(str(tmp_path / "out")).tracks().to_pylist()
    assert track["seed_score"] == pytest.approx(0.9)
