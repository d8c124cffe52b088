"""`python -m pipeline.prompts`: labels of other formats become tables that a job plans and reads."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from model import BoxPrompt, PointPrompt
from pipeline.formats.labels import FORMATS, read_labels
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.mask_prompts import RleMask
from pipeline.inputs.plan import make_plan
from pipeline.inputs.prompts import VideoPrompts, read_prompts
from pipeline.inputs.write import videos_table, write_file, write_table
from pipeline.prompts import door
from pipeline.records import FramePosition
from pipeline.storage.uris import open_filesystem
from pipeline.video.encode import encode_mp4
from tests.support.full_disk import FULL, full_disk
from tests.support.s3_server import S3Server

SIZE = (24, 32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three gray films of 5 frames: `cup`, `kitchen/pan` and `hall/pan`."""
    folder = tmp_path_factory.mktemp("clips")
    film = encode_mp4(np.full((5, *SIZE, 3), 128, np.uint8), 12)
    for name in ("cup", "kitchen/pan", "hall/pan"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.mp4").write_bytes(film)
    return folder


def square(left: int, top: int, side: int = 6) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def coco_file(folder: Path, annotations: list[dict[str, Any]], names: tuple[str, ...] = ("cup",)) -> Path:
    """A COCO file of five pictures of each video, numbered through. Annotations are of the first."""
    images = [
        {"id": 5 * number + frame, "file_name": f"{name}/{frame:05d}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for number, name in enumerate(names)
        for frame in range(5)
    ]
    found = [{"id": number, "image_id": 0, "category_id": 1} | one for number, one in enumerate(annotations)]
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "pan"}]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": found}))
    return path


def imported(source: Path, to: Path, *words: str) -> int:
    return door([f"from={source}", f"to={to}", *words])


def planned(to: Path, videos: Path) -> dict[str, VideoPrompts]:
    """The prompts of each video, as a job plans and reads them."""
    plan = make_plan(InputTables(str(videos), str(to)), {})
    return {item.video_id: read_prompts(item) for item in plan.items()}


def test_a_job_reads_the_boxes_masks_and_clicks_of_labels(tmp_path: Path, clips: Path) -> None:
    mask = square(4, 3)
    annotations = [
        {"image_id": 1, "track_id": 7, "segmentation": rle(mask), "bbox": [4, 3, 6, 6]},
        {"image_id": 2, "track_id": 7, "segmentation": rle(square(5, 3))},
        {"image_id": 3, "track_id": 9, "bbox": [1, 2, 10, 12], "category_id": 2},
    ]
    source, to = coco_file(tmp_path, annotations), tmp_path / "deep" / "prompts.parquet"
    assert imported(source, to, "format=coco", f"videos={clips}") == 0
    first, second = planned(to, clips)["cup"].objects
    (position, prompt) = first.prompts[0]
    assert (first.object_id, first.category, position.frame_index, len(first.prompts)) == (7, "cup", 1, 1)
    assert isinstance(prompt, RleMask)
    np.testing.assert_array_equal(prompt.fit(SIZE).mask_HW, mask.astype(bool))
    assert (second.object_id, second.category) == (9, "pan")
    assert second.prompts[0][1] == BoxPrompt((1.0, 2.0, 11.0, 14.0))
    assert imported(source, to, "format=coco", f"videos={clips}", "as=box", "frames=all") == 0
    first, second = planned(to, clips)["cup"].objects
    assert [(at.frame_index, prompt) for at, prompt in first.prompts] == [
        (1, BoxPrompt((4.0, 3.0, 10.0, 9.0))),
        (2, BoxPrompt((5.0, 3.0, 11.0, 9.0))),
    ]


def test_a_click_lies_where_the_mask_is_thickest(tmp_path: Path, clips: Path) -> None:
    mask = square(2, 2, 9)
    mask[4:6, 2:31] = 1  # a long thin arm pulls the center of mass out of the thick part
    source, to = coco_file(tmp_path, [{"segmentation": rle(mask)}]), tmp_path / "p.parquet"
    assert imported(source, to, "format=coco", "as=points") == 0
    ((_, prompt),) = planned(to, clips)["cup"].objects[0].prompts
    assert prompt == PointPrompt(((6.5, 6.5),), (1,))


BOX = {"bbox": [1, 2, 10, 12]}


def complaint(capsys: pytest.CaptureFixture[str], source: Path, to: Path, *words: str) -> str:
    """What a refused import says. Nothing is left of its table."""
    assert imported(source, to, "format=coco", *words) == 2
    assert list(to.parent.glob(f"*{to.name}*")) == []
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "annotation", "message"),
    [
        ("cap", BOX, r"videos= has no video 'cap' .*; did you mean 'cup'\?"),
        ("pan", BOX, "video 'pan' may be '(hall|kitchen)/pan' or '(hall|kitchen)/pan'; name it by its whole id"),
        ("cup", {"segmentation": rle(square(2, 2).T)}, r"mask's size is \[32, 24\]"),
        ("cup", {"image_id": 2, "bbox": [1, float("nan"), 3, 4]}, r"its box is \[1, nan, 3, 4\]"),
    ],
)
def test_a_label_that_cannot_be_meant_is_told_with_file_entry_and_remedy(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str], name: str, annotation: dict[str, Any], message: str
) -> None:
    source = coco_file(tmp_path, [BOX | {"image_id": 6}, annotation], (name, "cup"))
    said = complaint(capsys, source, tmp_path / "p.parquet", f"videos={clips}")
    assert "labels.json, annotations[1]: " in said
    assert re.search(message, said), said


@pytest.mark.parametrize("names", [("deep/cup", "cup"), ("cup", "deep/cup"), ("a/cup", "b/cup.mp4")])
def test_two_names_that_would_be_one_video_are_refused(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, str]
) -> None:
    source = coco_file(tmp_path, [BOX, BOX | {"image_id": 5}], names)
    said = complaint(capsys, source, tmp_path / "p.parquet", f"videos={clips}")
    assert f"annotations[1]: {names[0]!r} and {names[1]!r} would both be video 'cup'; rename one of them" in said


def test_a_mask_or_a_frame_that_the_video_lacks_is_refused(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    picture = {"id": 1, "file_name": "cup/9.jpg", "height": 20, "width": 30}
    content = {"images": [picture], "categories": [{"id": 1, "name": "cup"}]}
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 2:5] = 1
    path.write_text(json.dumps(content | {"annotations": [{"image_id": 1, "segmentation": rle(mask)}]}))
    said = complaint(capsys, path, tmp_path / "p.parquet", f"videos={clips}")
    assert "annotations[0]: frame 9: by its file the video has 5 frames, 0 to 4; correct the frame" in said
    said = complaint(capsys, path, tmp_path / "p.parquet", f"videos={clips}", "first_frame=5")
    assert "the mask is [20, 30] pixels (height, width), and video 'cup' is [24, 32]" in said


def test_boxes_outside_of_the_picture_are_left_out_and_told_as_the_job_would_fail_them(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [BOX, {"bbox": [40, 3, 9, 9]}, {"bbox": [20, 3, 20, 9]}, {"bbox": [-1, 2, 10, 12]}]
    source, to = coco_file(tmp_path, boxes), tmp_path / "p.parquet"
    assert imported(source, to, "format=coco", f"videos={clips}") == 0
    entries = [row["source"].rpartition(", ")[2] for row in pq.read_table(to).to_pylist()]
    assert entries == ["annotations[0]", "annotations[3]"]
    said = capsys.readouterr().out
    assert "left out  2 outside of their pictures, where a job would fail their objects" in said
    assert f"first is {source}, annotations[1]: box: (40.0, 3.0, 49.0, 12.0) lies outside of the frame (32 wide" in said
    for one in planned(to, clips)["cup"].objects:
        for _, prompt in one.prompts:
            prompt.fit(SIZE)  # raises for what a job would fail


def test_where_all_boxes_lie_outside_no_table_is_written_and_one_is_shown(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = coco_file(tmp_path, [{"bbox": [400, 300, 96, 50]}])
    said = complaint(capsys, source, tmp_path / "p.parquet", f"videos={clips}")
    assert "no label is left of 1: " in said
    assert "1 outside of their pictures, where a job would fail their objects" in said
    assert f"(the first is {source}, annotations[0]: box: (400.0, 300.0, 496.0, 350.0) lies outside of" in said


@pytest.mark.parametrize("name", ["boxes.json", "boxes.parquet"])
def test_a_box_format_against_the_name_of_the_column_is_refused_as_in_a_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    rows = [{"video_id": "cup", "frame_index": 0, "box_xyxy": [1.0, 2.0, 11.0, 14.0]}]
    source, to = tmp_path / name, tmp_path / "p.parquet"
    if name.endswith("json"):
        source.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), source)
    assert imported(source, to, "box_format=xywh") == 2
    assert "box_format=xywh contradicts the name of column box_xyxy, which says the form" in capsys.readouterr().err
    assert imported(source, to, "box_format=xyxy") == 0


def test_names_of_columns_that_trackers_write_are_known(tmp_path: Path) -> None:
    source, to = tmp_path / "boxes.csv", tmp_path / "p.parquet"
    source.write_text("video,frame_idx,obj_id,cls,conf,x1,y1,x2,y2\ncup,3,7,mug,0.5,1,2,11,14\n")
    assert imported(source, to) == 0
    (row,) = pq.read_table(to).to_pylist()
    assert (row["frame_index"], row["object_id"], row["category"], row["score"]) == (3, 7, "mug", 0.5)
    assert row["box_xyxy"] == [1.0, 2.0, 11.0, 14.0]


def test_a_box_format_is_for_the_rows_that_need_it(tmp_path: Path) -> None:
    rows = [
        {"video_id": "cup", "frame_index": 0, "box_xyxy": [1.0, 2.0, 11.0, 14.0]},
        {"video_id": "cup", "frame_index": 0, "bbox": [1.0, 2.0, 10.0, 12.0]},
    ]
    source, to = tmp_path / "boxes.json", tmp_path / "p.parquet"
    source.write_text(json.dumps(rows))
    assert imported(source, to, "box_format=xywh") == 0
    assert pq.read_table(to)["box_xyxy"].to_pylist() == [[1.0, 2.0, 11.0, 14.0]] * 2


def test_a_name_that_differs_in_case_and_suffix_is_told_as_the_one_that_is_meant(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, coco_file(tmp_path, [BOX], ("CUP.MP4",)), tmp_path / "p.parquet", f"videos={clips}")
    assert "has no video 'CUP.MP4'" in said
    assert "; did you mean 'cup'?" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["categories=[cop]"], "no label is of category 'cop'; there are 'cup', 'pan'; did you mean 'cup'?"),
        (["min_score=0.95"], "no label is left of 3: 3 below min_score"),
        (["frames=every:0"], "frames=every:0: allowed are first, best, all and every:N"),
        (["frames=all"], "nothing says which boxes of two frames are the same object (as in video 'cup')"),
        (["as=mask"], "labels.json, annotations[0]: it has no mask; give as=box"),
        (["as=points"], "it has a box and no mask"),
        (["min_area=1000"], "no label is left of 3: 3 smaller than min_area"),
        (["format=kitti"], "format=kitti: allowed are auto, boxes, coco"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    boxes = [BOX | {"image_id": frame, "category_id": 1 + frame % 2, "score": 0.5} for frame in range(3)]
    assert message in complaint(capsys, coco_file(tmp_path, boxes), tmp_path / "p.parquet", *words)


def test_labels_of_unknown_videos_are_left_out_on_request_and_counted(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, to = coco_file(tmp_path, [BOX, BOX | {"image_id": 5}], ("kettle", "cup")), tmp_path / "p.parquet"
    assert imported(source, to, "format=coco", f"videos={clips}", "unknown_videos=skip") == 0
    assert list(planned(to, clips)) == ["cup"]
    assert "left out  1 of videos that videos= lacks" in capsys.readouterr().out


def test_every_label_is_a_prompt_or_counted_as_left_out(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [BOX | {"score": 0.9}, BOX | {"image_id": 1, "score": 0.8}, BOX | {"score": 0.1}]
    source, to = coco_file(tmp_path, boxes), tmp_path / "p.parquet"
    assert imported(source, to, f"videos={clips}", "min_score=0.5") == 0
    said = capsys.readouterr().out
    assert "1 prompt for 1 object in 1 video, of 3 labels" in said
    assert "left out  1 below min_score" in said
    assert "left out  1 on frames that frames=first does not take" in said
    tracked = [BOX | {"image_id": frame, "track_id": 7} for frame in (0, 0, 1, 2, 4)]
    assert imported(coco_file(tmp_path, tracked), to, f"videos={clips}", "frames=every:2") == 0
    said = capsys.readouterr().out
    assert "3 prompts for 1 object in 1 video, of 5 labels" in said
    assert "left out  1 on frames that frames=every:2 does not take" in said
    assert "warning   1 label of an object and frame that another label has too" in said


def test_a_full_store_leaves_no_half_table(tmp_path: Path) -> None:
    source, to = coco_file(tmp_path, [BOX]), tmp_path / "p.parquet"
    assert imported(source, to, "format=coco") == 0
    before = to.read_bytes()
    (tmp_path / "labels.json").write_text((tmp_path / "labels.json").read_text()[:-9])
    assert imported(source, to, "format=coco") == 2
    assert to.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.json", "p.parquet"]


def test_a_video_that_cannot_be_opened_is_told_and_keeps_nothing_from_the_others(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cup.mp4").write_bytes((clips / "cup.mp4").read_bytes())
    (tmp_path / "in" / "pan.mp4").write_bytes(b"no film")
    masks = [{"image_id": number, "segmentation": rle(square(2, 2))} for number in (0, 5)]
    source, to = coco_file(tmp_path, masks, ("cup", "pan")), tmp_path / "p.parquet"
    assert imported(source, to, f"videos={tmp_path / 'in'}") == 0
    said = capsys.readouterr().out
    assert "2 prompts for 2 objects in 2 videos, of 2 labels" in said
    assert "1 video cannot be opened, and will fail in a job: 'pan': " in said


def test_a_store_gets_the_table_as_a_whole(tmp_path: Path) -> None:
    source = coco_file(tmp_path, [BOX])
    folder = f"memory://{tmp_path}"
    write_file(f"{folder}/labels.json", source.read_bytes())
    write_file(f"{folder}/broken.json", source.read_bytes()[:-30])
    assert door([f"from={folder}/labels.json", f"to={folder}/deep/p.parquet", "format=coco"]) == 0
    assert [row["video_id"] for row in pq.read_table(io.BytesIO(_read(f"{folder}/deep/p.parquet"))).to_pylist()] == [
        "cup"
    ]
    assert door([f"from={folder}/broken.json", f"to={folder}/q.parquet", "format=coco"]) == 2
    with pytest.raises(FileNotFoundError):
        _read(f"{folder}/q.parquet")


def _read(uri: str) -> bytes:
    filesystem, path = open_filesystem(uri)
    content: bytes = filesystem.cat_file(path)
    return content


@pytest.mark.parametrize("room_bytes", [0, 3700], ids=["no room to wait", "no room for the table"])
def test_what_a_full_disk_stops_is_told_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], room_bytes: int
) -> None:
    source, to = coco_file(tmp_path, [BOX]), tmp_path / "p.parquet"
    with full_disk(room_bytes):
        code = imported(source, to, "format=coco", f"spool_dir={tmp_path}")
    assert code == 1
    said = capsys.readouterr().err
    assert FULL in said
    assert "nothing is written: free some space, or give spool_dir= on another disk" in said
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_labels_of_a_folder_of_pictures_are_found_by_name_and_those_of_a_film_by_number(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("00000", "00005", "00010")
    for name in names:
        (tmp_path / "frames" / "cup").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "frames" / "cup" / f"{name}.jpg")
    boxes = [{"image": f"cup/{name}.png", "track_id": 1, "box_xywh": [1, 2, 10, 12]} for name in names]
    source, to = tmp_path / "boxes.json", tmp_path / "p.parquet"
    source.write_text(json.dumps(boxes))
    for videos, frames in ((tmp_path / "frames", [0, 1, 2]), (None, [0, 5, 10])):
        words = [] if videos is None else [f"videos={videos}"]
        assert imported(source, to, "frames=all", *words) == 0
        assert pq.read_table(to)["frame_index"].to_pylist() == frames
    assert "multiples of 5, and were taken for numbers of frames" in capsys.readouterr().out


def test_labels_of_several_videos_that_become_one_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"video": name, "frame": 0, "track_id": 1, "box_xywh": [1, 2, 10, 12]} for name in ("cup", "cup", "pan")]
    source, to = tmp_path / "boxes.json", tmp_path / "p.parquet"
    for labels, is_told in ((rows, True), (rows[:2], False)):
        source.write_text(json.dumps(labels))
        assert imported(source, to, "video=clip") == 0
        told = "the labels name several videos, 'cup', 'pan' among them, and video= made one of all"
        assert (told in capsys.readouterr().out) == is_told


def test_pictures_are_found_by_name_in_folders_that_were_not_opened(tmp_path: Path) -> None:
    labels = []
    for video in ("bowl", "cup", "pan"):
        (tmp_path / "frames" / video).mkdir(parents=True)
        for number in range(0, 60, 5):
            Image.new("RGB", SIZE[::-1]).save(tmp_path / "frames" / video / f"{number:05d}.jpg")
        labels.append({"image": f"{video}/00010.png", "track_id": 1, "box_xywh": [1, 2, 10, 12]})
    source, to = tmp_path / "boxes.json", tmp_path / "p.parquet"
    source.write_text(json.dumps(labels))
    for opened in (3, 1, 0):
        assert imported(source, to, f"videos={tmp_path / 'frames'}", f"check_videos={opened}") == 0
        assert pq.read_table(to)["frame_index"].to_pylist() == [2, 2, 2]


def test_what_labels_call_video_and_object_travels_with_the_prompts(tmp_path: Path, clips: Path) -> None:
    rows = [
        {"video": "deep/cup.mp4", "frame": frame, "track": track, "box_xyxy": [1, 2, 10, 12], "score": 0.5}
        for frame, track in ((0, "mug 10"), (1, "mug 9"), (2, "mug 10"))
    ]
    source, to = tmp_path / "boxes.jsonl", tmp_path / "p.parquet"
    source.write_text("\n".join(map(json.dumps, rows)))
    assert imported(source, to, f"videos={clips}", "columns.object_id=track") == 0
    found = pq.read_table(to).to_pylist()
    assert [(row["video_id"], row["object_id"], row["object_key"]) for row in found] == [
        ("cup", 1, "mug 9"),
        ("cup", 2, "mug 10"),
    ]
    assert {row["video_key"] for row in found} == {"deep/cup.mp4"}
    assert found[0]["source"] == f"{source}, line 2"


def test_frames_that_count_from_1_are_told_and_shifted_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, to = tmp_path / "boxes.csv", tmp_path / "p.parquet"
    source.write_text("video,frame,track_id,x0,y0,x1,y1\ncup,1,4,1,2,10,12\ncup,2,4,1,2,10,12\n")
    assert imported(source, to, "frames=all") == 0
    assert "if the format counts frames from 1, give first_frame=1" in capsys.readouterr().out
    assert imported(source, to, "frames=all", "first_frame=1") == 0
    assert pq.read_table(to)["frame_index"].to_pylist() == [0, 1]


def test_boxes_in_fractions_stay_fractions_which_the_job_reads(tmp_path: Path, clips: Path) -> None:
    source, to = tmp_path / "boxes.csv", tmp_path / "p.parquet"
    source.write_text("video,frame,x,y,w,h\ncup,0,0.25,0.5,0.5,0.25\n")
    assert imported(source, to, "box_format=cxcywhn", f"videos={clips}", "min_area=50") == 0
    ((_, prompt),) = planned(to, clips)["cup"].objects[0].prompts
    assert prompt.fit(SIZE) == BoxPrompt((0.0, 9.0, 16.0, 15.0))


def test_the_help_names_keys_and_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert door(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^  {re.escape(key)}=", said, re.MULTILINE) for key in ("from", "as", "columns.object_id"))
    assert all(re.search(rf"^  {name} ", said, re.MULTILINE) for name in FORMATS)
    assert door(["to=p.parquet"]) == 2
    assert "from= is missing: give the file or folder of labels" in capsys.readouterr().err


@pytest.mark.slow
def test_labels_and_table_may_lie_on_s3(tmp_path: Path, s3_server: S3Server) -> None:
    folder, options = s3_server.new_folder(), s3_server.options()
    data = coco_file(tmp_path, [BOX]).read_bytes()
    write_file(f"{folder}/labels/a.json", data, options)
    write_file(f"{folder}/broken/a.json", data[:-30], options)
    words = [f"storage_options.{key}={value}" for key, value in options.items() if not isinstance(value, dict)]
    words += [
        f"storage_options.{key}.{inner}={value}"
        for key, values in options.items()
        if isinstance(values, dict)
        for inner, value in values.items()
    ]
    assert door([f"from={folder}/labels", f"to={folder}/p.parquet", *words]) == 0
    filesystem, path = open_filesystem(f"{folder}/p.parquet", options)
    with filesystem.open(path) as file:
        assert pq.read_table(file)["video_id"].to_pylist() == ["cup"]
    assert door([f"from={folder}/broken", f"to={folder}/q.parquet", *words]) == 2
    assert [name.rpartition("/")[2] for name in filesystem.find(path.rpartition("/")[0])] == [
        "a.json",
        "a.json",
        "p.parquet",
    ]


@pytest.mark.slow
def test_data_sets_that_supervision_wrote_are_read(tmp_path: Path) -> None:
    import supervision

    masks = np.stack([square(2, 3), square(12, 8, 9)]).astype(bool)
    boxes = np.array([[2, 3, 8, 9], [12, 8, 21, 17]], float)
    found = supervision.Detections(xyxy=boxes, mask=masks, class_id=np.array([0, 1]))
    picture = tmp_path / "pictures" / "cup_00003.jpg"
    picture.parent.mkdir()
    Image.new("RGB", SIZE[::-1]).save(picture)
    data = supervision.DetectionDataset(["mug", "plate"], [str(picture)], {str(picture): found})
    data.as_coco(annotations_path=str(tmp_path / "coco" / "annotations.json"))
    data.as_yolo(
        images_directory_path=str(tmp_path / "yolo" / "images"),
        annotations_directory_path=str(tmp_path / "yolo" / "labels"),
        data_yaml_path=str(tmp_path / "yolo" / "data.yaml"),
    )
    for format_name in ("coco", "yolo"):
        labels = sorted(read_labels(str(tmp_path / format_name), "auto"), key=lambda label: label.category or "")
        assert [(label.video, label.frame_index, label.category) for label in labels] == [
            ("cup", 3, "mug"),
            ("cup", 3, "plate"),
        ]
        expected = masks
        if format_name == "coco":  # its polygons go through centers of pixels, and COCO's rule fills up to the edge
            judge = COCO(str(tmp_path / "coco" / "annotations.json"))
            expected = np.stack([judge.annToMask(one) for one in judge.anns.values()]).astype(bool)
        for label, mask in zip(labels, expected, strict=True):
            read = label.mask(SIZE)
            assert read is not None
            np.testing.assert_array_equal(read.decoded(), mask)


def test_videos_may_be_a_table_and_labels_may_have_times(tmp_path: Path, clips: Path) -> None:
    rows = [
        {"video_id": "a", "uri": "clips/cup.mp4", "start_seconds": 0.1},
        {"video_id": "b/cup", "uri": "clips/cup.mp4"},
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "clips").symlink_to(clips)
    write_table(str(tmp_path / "in" / "videos.parquet"), videos_table(rows))
    source, to = tmp_path / "boxes.jsonl", tmp_path / "p.parquet"
    lines = [
        {"video": "a", "timestamp": 0.25, "box_xywhn": [0.25, 0.25, 0.5, 0.5]},
        {"video": "cup.mp4", "frame": 1, "timestamp": 9.0, "box_xywhn": [0.25, 0.25, 0.5, 0.5]},
    ]
    source.write_text("\n".join(map(json.dumps, lines)))
    videos = tmp_path / "in" / "videos.parquet"
    assert imported(source, to, f"videos={videos}", "min_area=1") == 0  # the area needs the size of the films
    found = planned(to, videos)
    assert [found[name].objects[0].prompts[0][0] for name in ("a", "b/cup")] == [
        FramePosition(None, 0.25),
        FramePosition(1, None),
    ]


def test_what_as_points_needs_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    said = complaint(
        capsys, coco_file(tmp_path, [{"segmentation": rle(square(2, 2))}]), tmp_path / "p.parquet", "as=points"
    )
    assert 'as=points needs OpenCV: pip install "maskmill[export]"' in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["to=p.parquet", "completed=true"], "completed= is for to_review=, a review that comes back, and not for to="),
        (["to_review=out", "min_score=0.5"], "min_score= is for to=, a table of prompts, and not for to_review="),
        (["to_review=out", "as=box"], "as= is for to=, a table of prompts"),
    ],
)
def test_a_key_of_the_other_use_of_the_command_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(["from=labels.json", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_crowd_is_no_object_unless_it_is_asked_for_or_has_a_track(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = {"segmentation": rle(square(10, 8)), "iscrowd": 1}
    one = {"segmentation": rle(square(2, 3)), "iscrowd": 0}
    source = coco_file(tmp_path, [one, crowd])
    assert imported(source, tmp_path / "p.parquet", f"videos={clips}") == 0
    assert "left out  1 of a crowd (iscrowd=1), which is no one object: crowd=take" in capsys.readouterr().out
    assert len(pq.read_table(tmp_path / "p.parquet")) == 1
    assert imported(source, tmp_path / "all.parquet", f"videos={clips}", "crowd=take") == 0
    assert len(pq.read_table(tmp_path / "all.parquet")) == 2
    tracked = coco_file(tmp_path, [one | {"track_id": 4}, crowd | {"track_id": 5}])
    assert imported(tracked, tmp_path / "tracks.parquet", f"videos={clips}") == 0
    assert pq.read_table(tmp_path / "tracks.parquet")["object_id"].to_pylist() == [4, 5]


def test_labels_that_are_crowds_alone_are_refused_with_the_way_to_take_them(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So are those of CVAT and Datumaro, which write iscrowd for each mask that is a run-length code."""
    source = coco_file(tmp_path, [{"segmentation": rle(square(10, 8)), "iscrowd": 1}])
    assert imported(source, tmp_path / "p.parquet", f"videos={clips}") == 2
    assert "1 of a crowd (iscrowd=1), which is no one object: crowd=take takes each as one" in capsys.readouterr().err
