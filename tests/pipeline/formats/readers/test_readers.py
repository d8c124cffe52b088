"""Files written by hand from the specifications, read as labels. Masks are judged by Pillow and pycocotools."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelBox, LabelMask, LabelPolygons, ReadOptions
from pipeline.formats.labels import read_labels

SIZE = (20, 30)


def square(left: int, top: int, side: int = 6) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def runs(mask: np.ndarray, order: Any) -> list[int]:
    """Lengths of runs, zeros first, down the columns (`F`) or along the rows (`C`)."""
    flat = mask.flatten(order=order).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        Image.fromarray(content).save(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(place: Path, format_name: str, **options: Any) -> list[Label]:
    """Labels in a format, which `auto` finds too."""
    found = list(read_labels(str(place), format_name, ReadOptions(**options)))
    assert [label.place for label in read_labels(str(place), "auto", ReadOptions(**options))] == [
        label.place for label in found
    ]
    return found


def keys(labels: list[Label]) -> list[tuple[Any, ...]]:
    return [(label.video, label.frame_index, label.object_key) for label in labels]


def assert_mask(label: Label, mask: np.ndarray) -> None:
    found = label.mask(SIZE)
    if not mask.any():
        assert label.is_hidden
        return
    assert isinstance(found, LabelMask)
    np.testing.assert_array_equal(found.decoded(), mask.astype(bool))


def test_youtube_vis_has_a_label_for_each_frame_of_a_track(tmp_path: Path) -> None:
    names = ["0043/00000.jpg", "0043/00005.jpg", "0043/00010.jpg"]
    first = {"size": list(SIZE), "counts": runs(square(2, 3), "F")}
    content = {
        "videos": [{"id": 1, "width": 30, "height": 20, "length": 3, "file_names": names}],
        "categories": [{"id": 4, "name": "dog"}],
        "annotations": [
            {
                "id": 9,
                "video_id": 1,
                "category_id": 4,
                "segmentations": [first, None, rle(square(4, 5))],
                "bboxes": [[2, 3, 6, 6], None, [4, 5, 6, 6]],
                "areas": [36, None, 36],
            }
        ],
    }
    path = write(tmp_path / "instances.json", content)
    found = read(path, "youtube_vis")
    assert keys(found) == [("0043", 0, 9), ("0043", 5, 9), ("0043", 10, 9)]
    for label, mask in zip(found, (square(2, 3), np.zeros(SIZE), square(4, 5)), strict=True):
        assert_mask(label, mask)
    result = {"video_id": 1, "category_id": 4, "score": 0.5, "segmentations": [rle(square(1, 1)), None, None]}
    results = write(tmp_path / "results" / "results.json", [result])
    found = read(results, "youtube_vis", images=str(path))
    assert [(label.object_key, label.score, label.is_hidden) for label in found] == [
        (0, 0.5, False),
        (0, 0.5, True),
        (0, 0.5, True),
    ]
    with pytest.raises(InputError, match=r"give images="):
        list(read_labels(str(results), "youtube_vis"))
    content["annotations"][0]["segmentations"].pop()
    with pytest.raises(InputError, match=r"annotations\[0\]: segmentations has 2 entries, its video 3 frames"):
        list(read_labels(str(write(path, content)), "youtube_vis"))


def test_sa_v_has_a_list_of_objects_for_every_fourth_frame(tmp_path: Path) -> None:
    empty = rle(np.zeros(SIZE))
    content = {
        "video_id": "sav_000001",
        "video_frame_count": 9,
        "masklet_id": [5, 8],
        "masklet": [[rle(square(2, 3)), empty], [empty, rle(square(9, 9))], [rle(square(4, 3)), rle(square(9, 8))]],
    }
    write(tmp_path / "sav_000001_manual.json", content)
    found = read(tmp_path, "sa_v")
    assert keys(found) == [("sav_000001", frame, key) for frame in (0, 4, 8) for key in (5, 8)]
    for label, mask in zip(
        found,
        (square(2, 3), np.zeros(SIZE), np.zeros(SIZE), square(9, 9), square(4, 3), square(9, 8)),
        strict=True,
    ):
        assert_mask(label, mask)


def test_pictures_of_masks_lie_in_a_folder_an_object(tmp_path: Path) -> None:
    for number, mask in ((0, square(2, 3)), (4, np.zeros(SIZE, np.uint8))):
        write(tmp_path / "Annotations_6fps" / "sav_1" / "003" / f"{number:05d}.png", mask * 255)
    write(tmp_path / "Annotations_6fps" / "sav_1" / "000" / "00000.png", square(12, 3))
    found = read(tmp_path, "png")
    assert keys(found) == [("sav_1", 0, 0), ("sav_1", 0, 3), ("sav_1", 4, 3)]
    for label, mask in zip(found, (square(12, 3), square(2, 3), np.zeros(SIZE)), strict=True):
        assert_mask(label, mask)
    assert list(read_labels(str(tmp_path), "sa_v")) == found


def test_mots_is_read_from_pictures_and_from_text(tmp_path: Path) -> None:
    values = np.zeros(SIZE, np.uint16)
    values[square(2, 3) > 0] = 2001
    values[square(12, 3) > 0] = 1002
    values[square(20, 12) > 0] = 10000
    write(tmp_path / "png" / "instances" / "0002" / "000003.png", values)
    write(tmp_path / "png" / "labels.txt", "background\ncar\npedestrian\n")
    found = read(tmp_path / "png", "mots")
    assert keys(found) == [("0002", 3, 1002), ("0002", 3, 2001)]
    assert [label.category for label in found] == ["car", "pedestrian"]
    assert_mask(found[1], square(2, 3))
    lines = [
        f"1 2001 2 20 30 {rle(square(2, 3))['counts']}",
        f"3 2001 2 20 30 {rle(square(4, 3))['counts']}",
        f"3 10000 10 20 30 {rle(square(9, 9))['counts']}",
    ]
    write(tmp_path / "txt" / "0002.txt", "\n".join(lines) + "\n")
    found = read(tmp_path / "txt", "mots")
    assert keys(found) == [("0002", 0, 2001), ("0002", 2, 2001)]
    assert_mask(found[1], square(4, 3))
    write(tmp_path / "txt" / "0002.txt", f"0 2001 2 20 30 {rle(square(2, 3))['counts']}\n" + "\n".join(lines))
    assert [label.frame_index for label in read(tmp_path / "txt", "mots")] == [0, 1, 3]
    write(tmp_path / "txt" / "0002.txt", "1 2001 2 20 31 " + rle(square(2, 3))["counts"])
    with pytest.raises(InputError, match=r"0002\.txt, line 1: mask_rle: counts covers 600 pixels, its size has 620"):
        list(read_labels(str(tmp_path / "txt"), "mots"))


def test_texts_of_kitti_in_which_nothing_shows_at_first_count_as_the_others_do(tmp_path: Path) -> None:
    code = rle(square(3, 4))["counts"]
    write(tmp_path / "0001.txt", f"0 1001 1 20 30 {code}\n")
    write(tmp_path / "0002.txt", f"7 1001 1 20 30 {code}\n")
    assert [(label.video, label.frame_index) for label in read(tmp_path, "mots")] == [("0001", 0), ("0002", 7)]


def test_yolo_is_in_fractions_of_the_picture(tmp_path: Path) -> None:
    write(tmp_path / "seg" / "data.yaml", "names:\n  0: cup\n  1: pan\n")
    ring = [(3, 2), (13, 2), (15, 11), (3, 12)]
    line = " ".join(f"{(x + 0.25) / 30:.6f} {(y + 0.25) / 20:.6f}" for x, y in ring)
    write(tmp_path / "seg" / "labels" / "train" / "clip_00007.txt", f"1 {line}\n0 0.5 0.5 0.2 0.1\n")
    write(tmp_path / "seg" / "labels" / "train" / "clip_00008.txt", "")
    polygon, box, empty = read(tmp_path / "seg", "yolo_seg")
    assert keys([polygon, box, empty]) == [("clip", 7, None), ("clip", 7, None), ("clip", 8, None)]
    assert (polygon.category, box.category) == ("pan", "cup")
    assert isinstance(polygon.shape, LabelPolygons)
    assert_mask(polygon, cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.array(ring, np.int32)], 1))
    assert box.shape == LabelBox((0.4, 0.45, 0.6, 0.55), is_fraction=True)
    assert empty.is_hidden
    write(tmp_path / "seg" / "images" / "train" / "clip_00007.jpg", np.zeros((*SIZE, 3), np.uint8))
    polygon, _, _ = read(tmp_path / "seg", "yolo_seg")
    assert isinstance(polygon.shape, LabelMask)
    write(tmp_path / "boxes" / "clip_3.txt", "0 0.5 0.5 0.2 0.1 0.75 12\n")
    (label,) = read_labels(str(tmp_path / "boxes"), "yolo")
    assert (label.score, label.object_key, label.category) == (0.75, 12, "0")
    write(tmp_path / "boxes" / "clip_3.txt", "0 0.5 0.5 12 0.1\n")
    with pytest.raises(InputError, match=r"clip_3\.txt, line 1: its coordinates are no fractions"):
        list(read_labels(str(tmp_path / "boxes"), "yolo"))


CVAT_VIDEO = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><name>t</name><original_size><width>30</width><height>20</height></original_size>
<source>cup.mp4</source></task></meta>
<track id="0" label="cup" source="manual">
<polygon frame="2" keyframe="1" outside="0" occluded="0" points="3.0,2.0;13.0,2.0;15.0,11.0;3.0,12.0" z_order="0"/>
<polygon frame="2" keyframe="1" outside="0" occluded="0" points="20.0,2.0;25.0,2.0;25.0,8.0" z_order="0"/>
<polygon frame="3" keyframe="0" outside="0" occluded="0" points="3.0,2.0;13.0,2.0;15.0,11.0" z_order="0"/>
<polygon frame="4" keyframe="1" outside="1" occluded="0" points="3.0,2.0;13.0,2.0;15.0,11.0" z_order="0"/></track>
<track id="1" label="pan">
<box frame="5" keyframe="1" outside="0" occluded="0" xtl="1.5" ytl="2" xbr="9" ybr="12"/></track>
</annotations>"""


def test_tracks_of_cvat_have_keyframes_and_ends(tmp_path: Path) -> None:
    found = read(write(tmp_path / "annotations.xml", CVAT_VIDEO), "cvat_video")
    assert keys(found) == [("cup.mp4", 2, 0), ("cup.mp4", 4, 0), ("cup.mp4", 5, 1)]
    rings = [[3, 2, 13, 2, 15, 11, 3, 12], [20, 2, 25, 2, 25, 8]]
    assert_mask(found[0], coco.decode(coco.merge(coco.frPyObjects([list(map(float, ring)) for ring in rings], *SIZE))))
    assert found[1].is_hidden
    assert found[2].shape == LabelBox((1.5, 2.0, 9.0, 12.0))
    broken = write(tmp_path / "b" / "annotations.xml", CVAT_VIDEO[:-20])
    with pytest.raises(InputError, match=r"annotations\.xml, line 1[01], column \d+: broken XML"):
        list(read_labels(str(broken), "cvat_video"))


def test_masks_of_cvat_lie_row_by_row_in_their_box(tmp_path: Path) -> None:
    picture = Image.new("L", SIZE[::-1])
    ImageDraw.Draw(picture).ellipse((5, 4, 17, 15), fill=1)
    mask = np.asarray(picture)
    code = ", ".join(map(str, runs(mask[4:16, 5:18], "C")))
    text = f"""<annotations><image id="0" name="cup/00012.jpg" width="30" height="20">
<mask label="cup" source="manual" rle="{code}" left="5" top="4" width="13" height="12" group_id="7"/>
<box label="pan" xtl="1" ytl="2" xbr="3" ybr="4"/></image></annotations>"""
    path = write(tmp_path / "annotations.xml", text)
    found = read(path, "cvat_images")
    assert sorted(keys(found), key=str) == [("cup", 12, 7), ("cup", 12, None)]
    assert_mask(next(label for label in found if label.object_key == 7), mask)
    write(path, text.replace('height="12"', 'height="13"'))
    with pytest.raises(
        InputError, match=r"image 'cup/00012\.jpg', shape 1: its rle covers 156 pixels, its box has 169"
    ):
        list(read_labels(str(path), "cvat_images"))


def test_pictures_that_cvat_took_from_a_film_are_of_that_film(tmp_path: Path) -> None:
    text = """<annotations><meta><task><name>t</name></task><source>cup.mp4</source></meta>
<image id="12" name="frame_000012" width="30" height="20"><box label="pan" xtl="1" ytl="2" xbr="3" ybr="4"/></image>
<image id="13" name="frame_000013" width="30" height="20"></image></annotations>"""
    found = read(write(tmp_path / "annotations.xml", text), "cvat_images")
    assert keys(found) == [("cup.mp4", 12, None), ("cup.mp4", 13, None)]
    content = {
        "images": [{"id": 1, "file_name": "frame_000012.PNG", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "pan"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    assert keys(read(write(tmp_path / "coco.json", content), "coco")) == [("", 12, None)]


def test_rectangles_of_label_studio_are_in_percent_and_count_from_1(tmp_path: Path) -> None:
    def item(frame: int, x: float, enabled: bool) -> dict[str, Any]:
        return {
            "frame": frame,
            "enabled": enabled,
            "rotation": 0,
            "x": x,
            "y": 20,
            "width": 30,
            "height": 40,
            "time": 0,
        }

    region = {
        "id": "Rx7",
        "type": "videorectangle",
        "value": {"framesCount": 24, "sequence": [item(1, 10, True), item(9, 15, False)], "labels": ["cup"]},
    }
    task = {
        "id": 3,
        "data": {"video": "/data/local-files/?d=clips%2Fkitchen/cup.mp4"},
        "annotations": [{"result": [region]}, {"was_cancelled": True, "result": [region]}],
        "predictions": [{"score": 0.5, "result": [region]}],
    }
    found = read(write(tmp_path / "export.json", [task]), "label_studio")
    assert keys(found) == [("cup.mp4", 0, "Rx7"), ("cup.mp4", 8, "Rx7")]
    assert found[0].shape == LabelBox((0.1, 0.2, 0.4, 0.6000000000000001), is_fraction=True)
    assert found[0].category == "cup"
    task["annotations"] = []
    assert read(write(tmp_path / "one.json", task), "label_studio")[0].score == 0.5


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_boxes_of_detectors_come_as_tables_of_any_kind(tmp_path: Path, ending: str) -> None:
    rows = [
        {"video": "cup.mp4", "frame": 3, "x1": 1.5, "y1": 2.0, "x2": 9.0, "y2": 12.0, "label": "cup", "conf": 0.5},
        {"video": "cup.mp4", "frame": 4, "x1": None, "y1": None, "x2": None, "y2": None, "label": "cup", "conf": None},
    ]
    path = tmp_path / f"boxes.{ending}"
    if ending in ("csv", "tsv"):
        text = io.StringIO()
        for row in (rows[0].keys(), *(row.values() for row in rows)):
            text.write(("," if ending == "csv" else "\t").join("" if one is None else str(one) for one in row) + "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif ending == "json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    first, second = read(path, "parquet" if ending == "parquet" else "boxes")
    assert keys([first, second]) == [("cup.mp4", 3, None), ("cup.mp4", 4, None)]
    assert (first.shape, first.category, first.score) == (LabelBox((1.5, 2.0, 9.0, 12.0)), "cup", 0.5)
    assert second.is_hidden


@pytest.mark.parametrize(("column", "expected"), [("track_id", [None, None, 3]), ("object_id", [-1, -1, 3])])
def test_detections_that_no_track_has_are_no_object(tmp_path: Path, column: str, expected: list[int | None]) -> None:
    rows = [("v", 0, -1, 1, 2, 5, 6), ("v", 0, -1, 9, 2, 5, 6), ("v", 0, 3, 1, 9, 5, 6)]
    lines = [f"video,frame,{column},x,y,w,h", *(",".join(map(str, row)) for row in rows)]
    path = write(tmp_path / "boxes.csv", "\n".join(lines))
    assert [label.object_key for label in read_labels(str(path), "boxes")] == expected


def test_names_of_objects_that_look_like_numbers_stay_apart(tmp_path: Path) -> None:
    written = ["1_11", "11_1", "1234567890123456781", "1234567890123456782", "3e2", "300", "007", "3.0", "-4", "1e400"]
    rows = "".join(f"cup.mp4,0,{key},1,1,5,5\n" for key in written)
    found = read(write(tmp_path / "boxes.csv", "video,frame,track_id,x0,y0,x1,y1\n" + rows), "boxes")
    numbers = [1234567890123456781, 1234567890123456782]
    assert [label.object_key for label in found] == ["1_11", "11_1", *numbers, "3e2", 300, 7, 3, -4, "1e400"]


@pytest.mark.parametrize(
    ("row", "told"),
    [("1_0,1,1,5,5", "frame is '1_0', which is no number"), ("0,1,1,5,1_5", "its box has '1_5', which is no number")],
)
def test_a_name_is_no_number_of_a_frame(tmp_path: Path, row: str, told: str) -> None:
    table = write(tmp_path / "boxes.csv", f"video,frame,x0,y0,x1,y1\ncup.mp4,{row}\n")
    with pytest.raises(InputError, match=f"line 2: {told}"):
        read(table, "boxes")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_field_of_a_row_may_be_long(tmp_path: Path, ending: str) -> None:
    """Polygons and codes of masks stand beside boxes, and Python's own limit is 131,072 letters."""
    row = {"video": "v", "frame": 0, "x": 1, "y": 2, "w": 5, "h": 6, "polygon": "1 " * 800_000}
    text = json.dumps(row) if ending == "jsonl" else f"{','.join(row)}\n{','.join(map(str, row.values()))}"
    (label,) = read_labels(str(write(tmp_path / f"boxes.{ending}", f"{text}\n")), "boxes")
    assert label.shape == LabelBox((1.0, 2.0, 6.0, 8.0))


def test_a_table_without_names_is_one_of_motchallenge(tmp_path: Path) -> None:
    text = "1,-1,794.2,47.5,71.2,174.8,0.9,-1,-1,-1\n3,7,164,19,66,163,0.5,-1,-1,-1\n"
    path = write(tmp_path / "MOT17-02" / "det" / "det.csv", text)
    found = read(tmp_path, "boxes")
    assert keys(found) == [("MOT17-02", 0, None), ("MOT17-02", 2, 7)]
    assert found[1].shape == LabelBox((164.0, 19.0, 230.0, 182.0))
    assert [label.score for label in found] == [0.9, 0.5]
    write(path, text + "x,1,2,3,4,5,6\n")
    with pytest.raises(InputError, match=r"det\.csv, line 3: frame is 'x', could not convert"):
        list(read_labels(str(path), "boxes"))


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_table_with_other_separators_than_commas_is_told_so(tmp_path: Path, separator: str, called: str) -> None:
    text = "video_id,frame_index,x1,y1,x2,y2\nclip,0,1,2,3,4\n".replace(",", separator)
    path = write(tmp_path / "boxes.csv", text)
    with pytest.raises(InputError, match=rf"boxes\.csv, line 1: its columns are separated by {called}, and a \.csv"):
        read(path, "boxes")


@pytest.mark.parametrize("cell", ["[ 50.  26. 142. 118.]", "50 26 142 118", "7"])
def test_a_box_that_is_no_json_is_shown_with_what_is_expected(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path / "boxes.tsv", f"video_id\tframe_index\tbox_xyxy\nclip\t0\t{cell}\n")
    told = rf"boxes\.tsv, line 2: its box is '{re.escape(cell)}', and JSON is expected, as \[10, 24, 106, 120\]"
    with pytest.raises(InputError, match=told):
        read(path, "boxes")


def test_a_format_that_is_written_and_not_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "manifest.json", {"format": "webdataset"})
    with pytest.raises(InputError, match="labels of format webdataset cannot be read"):
        list(read_labels(str(tmp_path), "auto"))


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"video": "a", "frame": 1, "bbox": [1, 2, 3, 4]},
            {},
            "the name of column bbox does not say .* box_format=xywh",
        ),
        ({"video": "a", "frame": 1.5, "box_xywh": [1, 2, 3, 4]}, {}, "frame is 1.5, which is no whole number"),
        ({"video": "a", "frame": 1, "box_xywh": [1, 2, 3]}, {}, "its box has 3 numbers, not 4"),
        ({"video": "a", "frame": 1, "box_xywh": [1, 2, float("nan"), 4]}, {}, "its box is .* finite number"),
        (
            {"video": "a", "frame": 1, "box_xywh": [1, 2, 3, 4]},
            {"object_id": "id"},
            "columns.object_id=id: there is no",
        ),
        ({"video": "a", "frame": 1}, {}, "no column is a box; give columns.box="),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(
    tmp_path: Path, row: dict[str, Any], options: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "boxes.jsonl", json.dumps(row))
    with pytest.raises(InputError, match=rf"boxes\.jsonl(, line 1)?: {message}"):
        list(read_labels(str(path), "boxes", ReadOptions(columns=options)))


def test_a_table_of_masks_is_read_from_parquet(tmp_path: Path) -> None:
    rows = [
        {"video_id": "a", "object_id": 3, "frame_index": 2, "rle": rle(square(2, 3)), "category": "cup", "score": 0.5},
        {"video_id": "a", "object_id": 3, "frame_index": 3, "rle": rle(np.zeros(SIZE)), "category": None, "score": 0.1},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    first, second = read(tmp_path, "parquet")
    assert keys([first, second]) == [("a", 2, 3), ("a", 3, 3)]
    assert_mask(first, square(2, 3))
    assert second.is_hidden


@pytest.mark.parametrize(
    ("lines", "format_name"),
    [
        ("0 0.5 0.5 0.2 0.1", "yolo"),
        ("0 0.5 0.5 0.2 0.1 0.9 12\n0 0.5 0.5 0.2 0.1 0.9 1", "yolo"),
        ("0 0.1 0.1 0.9 0.1 0.5 0.9\n0 0.1 0.1 0.9 0.1 0.5 0.9 0.2 0.4", "yolo_seg"),
        ("0 0.5 0.5 0.2 0.1 0.9 1", None),  # a box with its score, or a triangle
    ],
)
def test_texts_of_yolo_are_told_apart_where_they_can_be(tmp_path: Path, lines: str, format_name: str | None) -> None:
    write(tmp_path / "cup_1.txt", lines)
    if format_name is not None:
        read(tmp_path, format_name)
        return
    with pytest.raises(InputError, match=r"cup_1\.txt: its format is not clear; give format="):
        list(read_labels(str(tmp_path), "auto"))


def test_a_format_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [])
    told = r"a\.json: its format is not clear, because it has no entry; give format=, one of boxes, coco, coco_video"
    with pytest.raises(InputError, match=told):
        list(read_labels(str(tmp_path), "auto"))
    write(tmp_path / "a.json", {"cup.mp4": [{"frame": 0, "bbox": [1, 2, 3, 4]}], "fps": 30})
    with pytest.raises(
        InputError, match=r"no list of labels stands below its keys cup\.mp4, fps; give format=, one of"
    ):
        list(read_labels(str(tmp_path), "auto"))
    write(tmp_path / "b.csv", "x\n")
    with pytest.raises(InputError, match=r"it holds \.csv, \.json files, so that its format is not clear"):
        list(read_labels(str(tmp_path), "auto"))
