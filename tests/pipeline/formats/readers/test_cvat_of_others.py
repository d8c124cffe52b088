"""Files of CVAT as others have them: projects of several tasks, groups, turned boxes, shapes that are no masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelBox, LabelMask, LabelOther
from pipeline.formats.labels import read_labels
from pipeline.prompts import door

BOX = '<box frame="0" keyframe="1" outside="0" xtl="1" ytl="2" xbr="9" ybr="5" {more}/>'
GROUPED = '<box label="{}" group_id="1" xtl="1" ytl="2" xbr="9" ybr="5"/>'


def task(number: int, source: str, width: int, height: int, more: str = "<size>40</size>") -> str:
    size = f"<original_size><width>{width}</width><height>{height}</height></original_size>"
    return f"<task><id>{number}</id><name>task {number}</name>{size}<source>{source}</source>{more}</task>"


TASKS = task(5, "cup.mp4", 64, 48) + task(6, "pan.mp4", 32, 24)
PROJECT = f"<meta><project><name>p</name><tasks>{TASKS}</tasks></project></meta>"


def document(folder: Path, *parts: str) -> Path:
    path = folder / "annotations.xml"
    path.write_text(f"<annotations>{''.join(parts)}</annotations>")
    return path


def read(folder: Path, format_name: str, *parts: str) -> list[Label]:
    return list(read_labels(str(document(folder, *parts)), format_name))


def test_tracks_of_a_project_are_of_the_video_of_their_task_and_of_its_size(tmp_path: Path) -> None:
    ring = '<polygon frame="0" keyframe="1" outside="0" points="1,1;9,1;9,9"/>'
    tracks = [f'<track id="{number}" label="x" task_id="{number + 5}">{ring}</track>' for number in range(2)]
    found = read(tmp_path, "cvat_video", PROJECT, *tracks)
    shapes = [label.shape for label in found]
    assert [label.video for label in found] == ["cup.mp4", "pan.mp4"]
    assert [shape.size_hw for shape in shapes if isinstance(shape, LabelMask)] == [(48, 64), (24, 32)]


def test_pictures_of_a_project_are_of_the_video_of_their_task(tmp_path: Path) -> None:
    images = [f'<image id="0" name="frame_000000" task_id="{one}">{BOX.format(more="")}</image>' for one in (5, 6)]
    assert [label.video for label in read(tmp_path, "cvat_images", PROJECT, *images)] == ["cup.mp4", "pan.mp4"]


def test_frames_of_a_project_count_on_from_task_to_task_of_a_subset(tmp_path: Path) -> None:
    """CVAT numbers frames of a project so that each subset has each number once."""
    half = "<size>40</size><start_frame>10</start_frame><frame_filter>step=2</frame_filter>"
    parts = [task(5, "cup.mp4", 64, 48, half), task(6, "pan.mp4", 32, 24), task(7, "pot.mp4", 32, 24)]
    parts.append(task(8, "mug.mp4", 32, 24, "<size>40</size><subset>test</subset>"))
    project = f"<meta><project><tasks>{''.join(parts)}</tasks></project></meta>"
    numbers = {5: 12, 6: 90 + 3, 7: 90 + 40 + 4, 8: 5}
    tracks = (
        f'<track id="{one}" task_id="{one}">{BOX.format(more="").replace("0", str(number), 1)}</track>'
        for one, number in numbers.items()
    )
    found = read(tmp_path, "cvat_video", project, *tracks)
    expected = [("cup.mp4", 12), ("pan.mp4", 3), ("pot.mp4", 4), ("mug.mp4", 5)]
    assert [(label.video, label.frame_index) for label in found] == expected
    images = (f'<image name="frame_{number:06}" task_id="{one}"></image>' for one, number in numbers.items())
    found = read(tmp_path, "cvat_images", project, *images)
    assert [(label.video, label.frame_index) for label in found] == expected


def test_a_track_of_which_nothing_says_its_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="track 0: the file has 2 tasks, and nothing says of which of them it is"):
        read(tmp_path, "cvat_video", PROJECT, f'<track id="0" label="x">{BOX.format(more="")}</track>')


def test_a_turned_box_is_not_taken_for_an_upright_one(tmp_path: Path) -> None:
    box = BOX.format(more='rotation="30.5"')
    turned = f'<track id="3" label="x">{box}</track>'
    with pytest.raises(InputError, match=r"track 3, frame 0: a box is turned by 30\.5 degrees"):
        read(tmp_path, "cvat_video", turned)
    assert read(tmp_path, "cvat_video", turned.replace("30.5", "0.0"))[0].shape == LabelBox((1, 2, 9, 5))


def test_several_boxes_of_an_object_on_a_picture_are_the_box_around_them(tmp_path: Path) -> None:
    boxes = GROUPED.format("x") + GROUPED.format("x").replace('xbr="9" ybr="5"', 'xbr="8" ybr="15"')
    (found,) = read(tmp_path, "cvat_images", f'<image name="cup/0.jpg">{boxes}</image>')
    assert found.shape == LabelBox((1, 2, 9, 15))


def test_things_of_several_labels_in_one_group_are_not_one_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = GROUPED.format("head") + GROUPED.format("body")
    path = document(tmp_path, f'<image name="cup/0.jpg">{boxes}</image>')
    assert [label.category for label in read_labels(str(path), "cvat_images")] == ["head", "body"]
    assert door([f"from={path}", "format=cvat_images", f"to={tmp_path / 'p.parquet'}"]) == 0
    told = capsys.readouterr().out
    assert "1 label of an object and frame that another label has too" in told
    assert "labels of several categories, as object 1 of video 'cup': 'head', then 'body'" in told


def test_shapes_that_say_no_mask_are_counted_and_do_not_make_a_frame_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = '<polyline label="lane" points="1,2;3,4" frame="0" keyframe="1" outside="0"/>'
    (of_image,) = read(tmp_path, "cvat_images", f'<image name="cup/0.jpg">{line}</image>')
    assert of_image.shape == LabelOther("polyline")
    path = document(
        tmp_path, f'<track id="0" label="a">{line}</track><track id="1" label="b">{BOX.format(more="")}</track>'
    )
    assert door([f"from={path}", "format=cvat_video", "video=cup", f"to={tmp_path / 'p.parquet'}"]) == 0
    assert "left out  1 of shape polyline, which says neither a mask nor a box" in capsys.readouterr().out
