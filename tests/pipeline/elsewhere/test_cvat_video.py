"""Tracks that people changed in CVAT, as its task writes them, become reviews of the job."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.export import door as export_door
from pipeline.prompts import door as prompts_door
from pipeline.reviews.verdicts import write_verdicts
from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask, Shape, Thing, polygon_shape
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job

CLIP = "clip-1"


@pytest.fixture
def task(out: Out) -> CvatTask:
    """The task of the first video."""
    return CvatTask.of(out.folder / "cvat_video/labels.json", out.folder / f"cvat_video/train/{CLIP}/annotations.xml")


Back = Callable[..., int]


@pytest.fixture
def back(out: Out, task: CvatTask, tmp_path: Path) -> Back:
    """Export the task from CVAT and take it in."""

    def run(*words: str, reviewer: str = "ann") -> int:
        return out.take_in(task.export(tmp_path / "annotations.xml"), "cvat_video", *words, reviewer=reviewer)

    return run


def pixels(row: dict) -> np.ndarray:
    return coco.decode({"size": row["mask_rle"]["size"], "counts": row["mask_rle"]["counts"]}).astype(bool)


@pytest.mark.slow
def test_a_task_that_nobody_changed_says_nothing(out: Out, back: Back, capsys: pytest.CaptureFixture[str]) -> None:
    before = out.files()
    assert back() == 0
    assert out.files() == before
    assert "nothing new in the review of 1 video by ann" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["cvat_video", "cvat_images"])
def test_letters_that_xml_lacks_are_no_word_of_a_reviewer(
    tmp_path: Path, format_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("a\x01b", {1: "c\x07t"}),), broken=())
    to = tmp_path / format_name
    assert export_door([f"output={uri}", f"format={format_name}", f"to={to}", "review=true"]) == 0
    (file,) = to.rglob("*.xml")
    assert prompts_door([f"from={file}", f"format={format_name}", f"to_review={uri}", "reviewer=ann"]) == 0
    assert "nothing new in the review of 1 video by ann" in capsys.readouterr().out


def test_only_what_was_changed_of_a_polygon_changes_the_mask(out: Out, task: CvatTask, back: Back) -> None:
    """Object 3 is a ring whose hole a polygon cannot say, object 7 has two parts."""
    frame = 2
    mask = out.truth[CLIP, 3, frame]
    left, right = (int(one) for one in np.nonzero(mask.any(axis=0))[0][[0, -1]])
    top, bottom = (int(one) for one in np.nonzero(mask.any(axis=1))[0][[0, -1]])
    # The right border moves 5 pixels to the right.
    points = [left, top, right + 6, top, right + 6, bottom + 1, left, bottom + 1]
    task.of_object(3).shapes[frame] = polygon_shape(*points)
    assert back() == 0
    (row,) = out.corrections()
    expected = mask.copy()
    expected[top : bottom + 1, right + 1 : right + 6] = True
    np.testing.assert_array_equal(pixels(row), expected)
    assert not pixels(row)[20, left + 12], "the hole is still there"
    assert (row["object_id"], row["frame_index"], row["kind"], row["reviewer"]) == (3, frame, "mask", "ann")
    assert out.said() == {(CLIP, 3): "fix"}


def test_rows_say_when_it_was_done_and_of_which_labels(out: Out, task: CvatTask, back: Back) -> None:
    task.of_object(3).shapes[2].outside = True
    assert back() == 0
    (row,), (verdict,) = out.corrections(), out.verdicts()
    finished_at = tables.open(out.uri).videos([CLIP])["finished_at"][0].as_py()
    for said in (row, verdict):
        assert said["labeled_at"] == finished_at
        assert said["reviewed_at"].isoformat() == "2025-02-03T04:05:06.789000+00:00"


def test_a_shape_that_is_outside_is_hidden_on_its_frame(out: Out, task: CvatTask, back: Back) -> None:
    task.of_object(3).shapes[2].outside = True
    assert back() == 0
    assert [(row["object_id"], row["frame_index"], row["kind"]) for row in out.corrections()] == [(3, 2, "hidden")]


def test_an_object_that_was_hidden_can_be_drawn(out: Out, task: CvatTask, back: Back) -> None:
    assert not out.truth[CLIP, 3, 4].any()
    task.of_object(3).shapes[4] = polygon_shape(10, 10, 20, 10, 20, 20, 10, 20)
    assert back() == 0
    (row,) = out.corrections()
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:20, 10:20] = True
    np.testing.assert_array_equal(pixels(row), expected)


def test_what_cvat_interpolates_is_no_correction(out: Out, task: CvatTask, back: Back) -> None:
    """A person removes keyframes, and CVAT draws shapes of its own between the others."""
    track = task.of_object(3)
    for frame in (1, 2):
        del track.shapes[frame]
    assert back() == 0
    assert not out.corrections()
    assert not out.verdicts()


def test_where_cvat_shows_nothing_any_more_an_object_is_hidden(
    out: Out, task: CvatTask, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first keyframe of a track, and after one that is outside, CVAT shows nothing.

    Frame 0 alone says where object 3 is.
    """
    one, other = task.of_object(3), task.of_object(7)
    for frame in (0, 1, 4):
        del one.shapes[frame]
    one.shapes[2].outside = True
    del other.shapes[2]
    assert back() == 0
    rows = {(row["object_id"], row["frame_index"], row["kind"]) for row in out.corrections()}
    assert rows == {(3, 1, "hidden"), (3, 2, "hidden")}
    told = capsys.readouterr().out
    assert "object 3 of video 'clip-1' is hidden on every frame that says where it is (0)" in told
    before = out.files()
    assert back() == 0
    assert out.files() == before


def test_a_track_that_is_deleted_is_rejected(out: Out, task: CvatTask, back: Back) -> None:
    task.things.remove(task.of_object(3))
    assert back() == 0
    assert out.said() == {(CLIP, 3): "reject"}
    assert not out.corrections()
    assert tables.open(out.uri).tracks([CLIP])["object_id"].to_pylist() == [7]


def test_attributes_say_a_verdict_a_comment_and_the_label_a_category(out: Out, task: CvatTask, back: Back) -> None:
    task.of_object(3).attributes |= {"verdict": "reject", "comment": " two dogs "}
    task.of_object(7).label = "dog"
    task.of_object(7).attributes |= {"verdict": "accept"}
    assert back() == 0
    rows = {row["object_id"]: row for row in out.verdicts()}
    assert (rows[3]["verdict"], rows[3]["comment"], rows[3]["category"]) == ("reject", "two dogs", None)
    assert (rows[7]["verdict"], rows[7]["comment"], rows[7]["category"]) == ("accept", None, "dog")
    assert tables.open(out.uri).tracks([CLIP])["category"].to_pylist() == ["dog"]


def test_tracks_of_a_completed_task_that_nobody_changed_are_accepted(out: Out, task: CvatTask, back: Back) -> None:
    task.of_object(3).shapes[2].outside = True
    assert back("completed=true") == 0
    assert out.said() == {(CLIP, 3): "fix", (CLIP, 7): "accept"}


def test_a_new_track_is_an_object_with_an_id_that_nobody_else_gets(out: Out, task: CvatTask, back: Back) -> None:
    square = polygon_shape(40, 4, 50, 4, 50, 14, 40, 14)
    task.draw("cat", {1: square, 3: Shape("polygon", square.points, outside=True)})
    assert back() == 0
    rows = out.corrections()
    assert [(row["object_id"], row["frame_index"], row["kind"]) for row in rows] == [(8, 1, "mask"), (8, 3, "hidden")]
    assert {row["category"] for row in rows} == {"cat"}
    assert pixels(rows[0]).sum() == 100
    assert back() == 0
    assert len(out.corrections()) == 2, "taken in again it is the same object"
    task.things[-1].shapes[1] = polygon_shape(40, 4, 51, 4, 51, 14, 40, 14)
    task.updated = "2025-02-04 00:00:00+00:00"
    assert back() == 0
    assert [(row["object_id"], row["frame_index"]) for row in out.corrections()[2:]] == [(8, 1)]


def test_a_track_that_is_split_ends_where_another_object_begins(out: Out, task: CvatTask, back: Back) -> None:
    task.split(task.of_object(3), 2)
    assert back() == 0
    rows = out.corrections()
    assert [(row["object_id"], row["frame_index"], row["kind"]) for row in rows] == [(3, 2, "hidden"), (8, 2, "mask")]
    assert [row["split_from"] for row in rows] == [None, 3]
    np.testing.assert_array_equal(pixels(rows[1]), out.truth[CLIP, 3, 2], "its own mask, with the hole")


def test_where_cvat_cuts_tracks_between_jobs_nobody_has_split_them(out: Out, task: CvatTask, back: Back) -> None:
    task.segments = (0, 2)
    later = task.split(task.of_object(3), 2)
    del task.things[0].shapes[2]  # a cut leaves no shape outside
    assert later is task.things[-1]
    assert back() == 0
    assert not out.corrections()


def test_a_job_speaks_of_its_own_frames_alone(out: Out, task: CvatTask, back: Back) -> None:
    """Object 3 is deleted in the job of frames 2 and 3; the job has nothing of other frames."""
    task.job = (2, 3)
    task.things = [task.of_object(7)]
    task.things[0].shapes = {frame: one for frame, one in task.things[0].shapes.items() if frame in (2, 3)}
    assert back() == 0
    rows = [(row["object_id"], row["frame_index"], row["kind"]) for row in out.corrections()]
    assert rows == [(3, 2, "hidden"), (3, 3, "hidden")]


def test_tracks_that_lost_their_attributes_are_known_by_the_shapes_that_nobody_changed(
    out: Out, task: CvatTask, back: Back
) -> None:
    """The task was made with labels of its own, so that CVAT has dropped what tracks said of themselves."""
    task.of_object(3).shapes[2].outside = True
    for thing in task.things:
        thing.attributes.clear()
    task.things.append(Thing("cat", {}, {1: polygon_shape(40, 4, 50, 4, 50, 14, 40, 14)}))
    assert back() == 0
    rows = [(row["object_id"], row["frame_index"], row["kind"]) for row in out.corrections()]
    assert rows == [(3, 2, "hidden"), (8, 1, "mask")]


def test_the_same_file_taken_in_twice_changes_nothing(out: Out, task: CvatTask, back: Back) -> None:
    task.of_object(3).shapes[2] = polygon_shape(10, 10, 20, 10, 20, 20, 10, 20)
    task.of_object(7).attributes |= {"verdict": "accept", "comment": "fine"}
    task.split(task.of_object(7), 2)
    assert back() == 0
    before = out.files()
    assert back() == 0
    assert out.files() == before


def test_what_is_taken_back_in_cvat_is_withdrawn(out: Out, task: CvatTask, back: Back) -> None:
    track = task.of_object(3)
    was = track.shapes[2]
    track.shapes[2] = polygon_shape(10, 10, 20, 10, 20, 20, 10, 20)
    assert back() == 0
    track.shapes[2] = was
    task.updated = "2025-02-04 00:00:00+00:00"
    assert back() == 0
    assert out.corrections()[-1]["kind"] == "withdraw"
    assert out.said() == {(CLIP, 3): "withdraw"}


def test_an_older_file_does_not_undo_a_newer_one(
    out: Out, task: CvatTask, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    track = task.of_object(3)
    track.shapes[2] = polygon_shape(10, 10, 20, 10, 20, 20, 10, 20)
    assert back() == 0
    track.shapes[2] = polygon_shape(11, 10, 20, 10, 20, 20, 11, 20)
    task.updated = "2025-01-20 00:00:00+00:00"
    before = out.files()
    assert back() == 0
    assert out.files() == before
    assert "1 older than what was taken in already" in capsys.readouterr().out


def test_labels_that_changed_since_and_others_who_spoke_are_told(
    out: Out, task: CvatTask, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"video_id": CLIP, "object_id": 3, "verdict": "accept", "reviewer": "bob"}
    later = tables.open(out.uri).videos([CLIP])["finished_at"][0].as_py().replace(year=2026, month=11)
    write_verdicts(out.storage, [{**said, "reviewed_at": later}])
    task.of_object(3).shapes[2].outside = True
    assert back() == 0
    assert f"bob has spoken of object 3 of video '{CLIP}' later, and the later word counts" in capsys.readouterr().out
    assert tables.open(out.uri).opinions()[CLIP, 3].reviewer == "bob"


def test_the_assignee_is_the_reviewer_unless_one_is_named(out: Out, task: CvatTask, back: Back) -> None:
    task.assignee = "carla"
    task.of_object(3).attributes |= {"verdict": "accept"}
    assert back(reviewer="") == 0
    assert back(reviewer="dan") == 0
    assert {row["reviewer"] for row in out.verdicts()} == {"carla", "dan"}


def nothing_of_ours(task: CvatTask) -> None:
    task.things = [task.draw("cat", {1: polygon_shape(1, 1, 9, 1, 9, 9)})]


def another_object(task: CvatTask) -> None:
    task.of_object(3).attributes["object_id"] = "4"


def no_number(task: CvatTask) -> None:
    task.of_object(3).attributes["object_id"] = "the dog"


def another_size(task: CvatTask) -> None:
    task.size_hw = (2 * HEIGHT, 2 * WIDTH)


def unknown_video(task: CvatTask) -> None:
    for thing in task.things:
        thing.attributes["video_id"] = "clip-9"


def unknown_handout(task: CvatTask) -> None:
    for thing in task.things:
        thing.attributes["handout"] = "ffff"


def unknown_verdict(task: CvatTask) -> None:
    task.of_object(3).attributes["verdict"] = "nice"


def an_ellipse(task: CvatTask) -> None:
    task.of_object(3).shapes[2] = Shape("polyline", [1, 1, 5, 5])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nothing_of_ours, "no object in it says from which export it comes.*labels.json"),
        (another_object, "track 0: object 4 of video 'clip-1' did not go out, but 3, 7: leave object_id empty"),
        (no_number, "object_id 'the dog' is no number"),
        (another_size, r"its frames have \[96, 128\] pixels \(height, width\), and video 'clip-1' has \[48, 64\]"),
        (unknown_video, "video 'clip-9' did not go out in this export"),
        (unknown_handout, "nothing was handed out of it as ffff"),
        (unknown_verdict, "verdict 'nice': there are unseen, accept, reject, fix, skip"),
        (an_ellipse, "track 0, frame 2: polyline says no mask"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    out: Out,
    task: CvatTask,
    back: Back,
    spoil: Callable[[CvatTask], None],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = out.files()
    task.of_object(7).shapes[1].outside = True
    spoil(task)
    assert back() == 2
    assert re.search(told, " ".join(capsys.readouterr().err.split()))
    assert out.files() == before


def test_a_file_of_which_no_track_came_back_rejects_none_unless_asked(out: Out, task: CvatTask, back: Back) -> None:
    for object_id in (3, 7):
        task.of_object(object_id).attributes["object_id"] = ""
    assert back() == 0
    assert not out.verdicts()
    assert back("deleted=true") == 0
    assert set(out.said().values()) == {"reject"}
