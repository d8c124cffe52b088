"""Masks that people changed in CVAT on images, as its task writes them, become reviews of the job."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco

from pipeline import tables
from pipeline.data_engine.queue import QUEUE, values
from pipeline.export import door as export_door
from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask, box_shape, mask_shape, polygon_shape
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job

pytestmark = pytest.mark.slow

CLIP, ODD = "clip-1", "b/odd name.mp4"


@pytest.fixture
def task(out: Out) -> CvatTask:
    """The task of all frames of both videos."""
    return CvatTask.of(out.folder / "cvat_images/labels.json", out.folder / "cvat_images/train.xml")


def number_of(task: CvatTask, video: str, frame: int) -> int:
    """The number of an image in the task."""
    (found,) = (at for at, name in task.frames.items() if name.startswith(video) and name.endswith(f"{frame:05d}.jpg"))
    return found


def take(out: Out, task: CvatTask, *words: str) -> int:
    return out.take_in(task.export(out.folder / "annotations.xml"), "cvat_images", *words)


def test_masks_that_nobody_changed_say_nothing_in_cvats_archive_too(out: Out, task: CvatTask) -> None:
    file = task.export(out.folder / "annotations.xml")
    with zipfile.ZipFile(out.folder / "task.zip", "w") as archive:
        archive.write(file, "annotations.xml")
        archive.writestr("images/notes.txt", "")
    before = out.files()
    assert out.take_in(out.folder / "task.zip", "cvat_images") == 0
    assert out.files() == before


def test_what_datumaro_writes_of_the_export_says_nothing(out: Out, task: CvatTask, tmp_path: Path) -> None:
    """Datumaro is a program of its own that reads and writes CVAT's files."""
    from datumaro.components.dataset import Dataset
    from datumaro.plugins.data_formats.cvat.base import CvatBase
    from datumaro.plugins.data_formats.cvat.exporter import CvatExporter

    shutil.copy(out.folder / "cvat_images/train.xml", tmp_path / "train.xml")
    for name in task.frames.values():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    read = CvatBase(str(tmp_path / "train.xml"))
    CvatExporter.convert(Dataset.from_iterable(read, categories=read.categories()), str(tmp_path / "again"))
    (file,) = (tmp_path / "again").glob("*.xml")
    assert file.read_text().count("<mask") == sum(mask.any() for mask in out.truth.values())
    before = out.files()
    assert out.take_in(file, "cvat_images") == 0
    assert out.files() == before


def test_a_mask_that_was_painted_is_the_mask_of_its_frame(out: Out, task: CvatTask) -> None:
    painted = out.truth[CLIP, 3, 2] | out.truth[CLIP, 7, 2]
    number = number_of(task, CLIP, 2)
    task.mask_of(3, number).shapes[number] = mask_shape(painted)
    assert take(out, task) == 0
    (row,) = out.corrections()
    assert (row["video_id"], row["object_id"], row["frame_index"], row["kind"]) == (CLIP, 3, 2, "mask")
    np.testing.assert_array_equal(coco.decode(row["mask_rle"]).astype(bool), painted)


def test_a_mask_that_is_deleted_is_hidden_and_all_of_an_object_reject_it(out: Out, task: CvatTask) -> None:
    task.things.remove(task.mask_of(3, number_of(task, CLIP, 2)))
    task.things = [one for one in task.things if one.attributes["object_id"] != "7"]
    assert take(out, task) == 0
    assert [(row["object_id"], row["frame_index"], row["kind"]) for row in out.corrections()] == [(3, 2, "hidden")]
    assert out.said() == {(CLIP, 3): "fix", (CLIP, 7): "reject"}


def test_images_that_did_not_come_back_say_nothing(out: Out, task: CvatTask) -> None:
    """A job of the task has some of its images."""
    kept = [number_of(task, CLIP, frame) for frame in (0, 1)]
    task.frames = {number: task.frames[number] for number in kept}
    assert take(out, task) == 0
    assert not out.verdicts()
    assert not out.corrections()


def test_new_masks_of_one_group_are_one_object(out: Out, task: CvatTask) -> None:
    for frame in (1, 2):
        number = number_of(task, CLIP, frame)
        task.draw("dog", {number: polygon_shape(40, 4, 50, 4, 50, 14, 40, 14)}, group=77)
    number = number_of(task, "b_odd_name", 0)
    task.draw("cat", {number: polygon_shape(0, 0, 9, 0, 9, 9)})
    assert take(out, task) == 0
    rows = [(row["video_id"], row["object_id"], row["frame_index"], row["category"]) for row in out.corrections()]
    assert sorted(rows) == [(ODD, 1, 0, "cat"), (CLIP, 8, 1, "dog"), (CLIP, 8, 2, "dog")]


def test_masks_that_lost_their_attributes_are_known_by_those_that_nobody_changed(out: Out, task: CvatTask) -> None:
    number = number_of(task, CLIP, 2)
    task.mask_of(3, number).shapes[number] = mask_shape(out.truth[CLIP, 7, 2])
    for thing in task.things:
        thing.attributes.clear()
    assert take(out, task) == 0
    rows = [(row["video_id"], row["object_id"], row["frame_index"], row["kind"]) for row in out.corrections()]
    assert rows == [(CLIP, 3, 2, "mask")]


def test_another_label_on_some_of_the_masks_is_the_category(out: Out, task: CvatTask) -> None:
    task.mask_of(3, number_of(task, CLIP, 2)).label = "cat"
    assert take(out, task) == 0
    (row,) = out.verdicts()
    assert (row["object_id"], row["verdict"], row["category"]) == (3, "fix", "cat")


def test_a_box_beside_a_mask_of_the_same_object_is_refused(
    out: Out, task: CvatTask, capsys: pytest.CaptureFixture[str]
) -> None:
    number = number_of(task, CLIP, 2)
    task.draw("dog", {number: box_shape(1, 1, 9, 9)}).attributes["object_id"] = "3"
    assert take(out, task) == 2
    assert "a box beside another shape of the same object says no mask" in capsys.readouterr().err


def test_a_format_that_went_out_as_another_is_refused(
    out: Out, task: CvatTask, capsys: pytest.CaptureFixture[str]
) -> None:
    file = task.export(out.folder / "annotations.xml")
    assert out.take_in(file, "cvat_video") == 2
    assert "it is CVAT for images: give format=cvat_images" in capsys.readouterr().err
    assert out.take_in(file, "coco") == 2
    assert "reviews come back as cvat_images, cvat_video, label_studio" in capsys.readouterr().err


@pytest.fixture
def queued(out: Out) -> Path:
    """A queue of object 3, to be looked at on frame 2, which was drawn by lot."""
    row = {"place": 1, "video_id": CLIP, "object_id": 3, "doubt": 0.9, "reasons": ["leap", "lost"], "frame_index": 2}
    row |= {"num_masks": 6, "seconds": 3.0, "is_audit": True}
    path = out.folder / "queue.parquet"
    pq.write_table(pa.Table.from_pylist([row], QUEUE), path)
    return path


def export(out: Out, queue: Path, *words: str) -> CvatTask:
    """The task of what a queue hands out."""
    said = [f"output={out.uri}", "format=cvat_images", f"to={out.folder / 'chosen'}", f"queue={queue}", *words]
    assert export_door(said) == 0
    return CvatTask.of(out.folder / "chosen/labels.json", out.folder / "chosen/train.xml")


@pytest.mark.parametrize("object_id", [1, 2])
def test_what_is_put_first_is_of_what_a_kept_column_says(tmp_path: Path, object_id: int) -> None:
    kept = {1: {"robot": "left"}, 2: {"robot": "right"}}
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: "cat", 2: "cat"}, kept_of_tracks=kept),), broken=())
    said = [f"output={uri}", "format=cvat_images", f"to={tmp_path / 'to'}", "top=1", "others=false"]
    assert export_door([*said, f"where=robot = '{kept[object_id]['robot']}'"]) == 0
    task = CvatTask.of(tmp_path / "to/labels.json", tmp_path / "to/train.xml")
    assert {one.attributes["object_id"] for one in task.things} == {str(object_id)}


def test_a_queue_hands_out_its_tracks_the_frames_to_look_at_and_the_reasons(out: Out, queued: Path) -> None:
    task = export(out, queued, "around=1", "others=false")
    assert sorted(task.frames.values()) == [f"{CLIP}/0000{frame}.jpg" for frame in (1, 2, 3)]
    assert {one.attributes["object_id"] for one in task.things} == {"3"}
    said = task.things[0].attributes
    assert (said["doubt"], said["reasons"], said["look_at"], said["verdict"]) == ("0.90", "leap, lost", "2", "unseen")
    assert said["video_id"] == CLIP
    assert said["labeled_at"] == "2026-01-02T00:00:00.000+00:00"


def test_what_a_queue_puts_first_goes_out_without_one(out: Out) -> None:
    said = [f"output={out.uri}", "format=cvat_images", f"to={out.folder / 'top'}", "top=1", "others=false"]
    assert export_door(said) == 0
    rows = tables.open(out.uri).tracks()
    first = rows["object_id"][int(values(rows).argmax())].as_py()
    task = CvatTask.of(out.folder / "top/labels.json", out.folder / "top/train.xml")
    assert {int(one.attributes["object_id"]) for one in task.things} == {first}


@pytest.mark.parametrize("category", ["cat", "dog"])
def test_what_is_put_first_is_of_the_chosen_categories(out: Out, category: str) -> None:
    said = [f"output={out.uri}", "format=cvat_images", f"to={out.folder / 'top'}", "top=1", "others=false"]
    assert export_door([*said, f"categories=[{category}]"]) == 0
    task = CvatTask.of(out.folder / "top/labels.json", out.folder / "top/train.xml")
    assert {one.label for one in task.things} == {category}


@pytest.mark.parametrize("words", [[], ["around=1"]], ids=str)
def test_a_video_goes_out_only_with_a_track_to_look_at(
    out: Out, queued: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = [f"output={out.uri}", "format=cvat_images", f"to={out.folder / 'to'}", f"queue={queued}", *words]
    assert export_door([*said, "where=object_id != 3"]) == 2
    told = capsys.readouterr().err
    assert f"tracks that where= leaves out: 1 (object 3 of video '{CLIP}')" in told
    assert f"videos without a track to look at: 1 (video '{CLIP}')" in told


def test_a_frame_to_look_at_that_the_video_has_no_more_is_the_last_one(out: Out, queued: Path) -> None:
    rows = pq.read_table(queued)
    place = rows.schema.get_field_index("frame_index")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array([999], rows.schema.types[place])), queued)
    assert list(export(out, queued, "around=0", "others=false").frames.values()) == [f"{CLIP}/00005.jpg"]


def test_others_go_along_and_only_chosen_tracks_are_accepted(out: Out, queued: Path) -> None:
    task = export(out, queued)
    assert {one.attributes["object_id"] for one in task.things} == {"3", "7"}
    assert {one.attributes["reasons"] for one in task.things if one.attributes["object_id"] == "7"} == {""}
    assert take(out, task, "completed=true") == 0
    (row,) = out.verdicts()
    assert (row["object_id"], row["verdict"], row["is_audit"]) == (3, "accept", True)


def test_all_shown_masks_deleted_hide_a_track_of_which_some_frames_went_out(out: Out, queued: Path) -> None:
    task = export(out, queued, "around=1", "others=false")
    task.things = task.things[-1:]
    assert take(out, task) == 0
    assert {row["kind"] for row in out.corrections()} == {"hidden"}
    assert out.said() == {(CLIP, 3): "fix"}


def test_what_cannot_come_back_does_not_go_out(out: Out, queued: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [f"output={out.uri}", f"to={out.folder / 'never'}"]
    assert export_door([*said, "format=coco", f"queue={queued}"]) == 2
    assert "format=coco does not come back from reviews" in capsys.readouterr().err
    assert export_door([*said, "format=cvat_video", f"queue={queued}", "around=1"]) == 2
    assert "videos are looked at as a whole" in capsys.readouterr().err
    assert export_door([*said, "format=cvat_images", "around=1"]) == 2
    assert "around= needs queue=, top= or review=true" in capsys.readouterr().err
    assert export_door([*said, "format=cvat_images", "queue=no.parquet"]) == 2
    assert "queue=no.parquet: there is no such file" in capsys.readouterr().err
    rows = pq.read_table(queued).set_column(1, "video_id", pa.array(["of another job"]))
    pq.write_table(rows, out.folder / "other.parquet")
    assert export_door([*said, "format=cvat_images", f"queue={out.folder / 'other.parquet'}"]) == 2
    assert "queue= names no video that is finished in this job" in capsys.readouterr().err
