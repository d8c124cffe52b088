"""What a document does not say any more: it takes back what its reviewer said through its handout, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.mending.taking_back import last_correction, take_back
from pipeline.review_server.verdict_book import VerdictBook
from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.reviews.verdicts import read_verdicts, write_verdicts
from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask, polygon_shape
from tests.support.drawn_job import HEIGHT, WIDTH

CLIP = "clip-1"
SQUARE = polygon_shape(10, 10, 20, 10, 20, 20, 10, 20)
EARLIER, LATER, LAST = (datetime(2025, month, 4, tzinfo=UTC) for month in (1, 3, 5))  # than the first file, and between
FIRST_FILE, SECOND_FILE, THIRD_FILE = "2025-02-04 00:00:00+00:00", "2025-04-04 00:00:00+00:00", "2025-06-04T00:00:00Z"

Back = Callable[..., int]


@pytest.fixture
def task(out: Out) -> CvatTask:
    """The task of the first video."""
    made = CvatTask.of(out.folder / "cvat_video/labels.json", out.folder / f"cvat_video/train/{CLIP}/annotations.xml")
    made.updated = FIRST_FILE
    return made


@pytest.fixture
def back(out: Out, task: CvatTask, tmp_path: Path) -> Back:
    """Export the task from CVAT and take it in."""

    def run(*words: str) -> int:
        return out.take_in(task.export(tmp_path / "annotations.xml"), "cvat_video", *words)

    return run


def mask_of_bob(out: Out, at: datetime, frame: int = 2) -> dict[str, Any]:
    """Bob corrects object 3 on a frame, in the page."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[1:5, 1:5] = 1
    code = coco.encode(np.asfortranarray(mask))
    rle = {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode()}
    row = {"video_id": CLIP, "object_id": 3, "frame_index": frame, "kind": "mask", "mask_rle": rle, "reviewer": "bob"}
    write_corrections(out.storage, [row | {"reviewed_at": at}])
    return rle


def word_of_bob(out: Out, at: datetime, verdict: str = "accept") -> None:
    row = {"video_id": CLIP, "object_id": 3, "verdict": verdict, "reviewer": "bob", "reviewed_at": at}
    write_verdicts(out.storage, [row | {"comment": "fine", "category": "wolf"}])


def counting(out: Out) -> dict[tuple[int, int], str]:
    """Whose correction counts, by object and frame."""
    return {(one.object_id, one.frame_index): one.reviewer for one in read_corrections(out.storage).get(CLIP, ())}


def test_a_later_word_of_somebody_else_outlives_what_is_taken_back(out: Out, task: CvatTask, back: Back) -> None:
    track = task.of_object(3)
    was, track.shapes[2] = track.shapes[2], SQUARE
    assert back() == 0
    rle = mask_of_bob(out, LATER)
    word_of_bob(out, LATER)
    track.shapes[2], task.updated = was, SECOND_FILE
    assert back() == 0
    (found,) = read_corrections(out.storage)[CLIP]
    assert (found.frame_index, found.reviewer, found.rle) == (2, "bob", rle)
    opinion = read_verdicts(out.storage)[CLIP, 3]
    assert (opinion.verdict, opinion.reviewer) == ("accept", "bob")


@pytest.mark.slow
def test_an_earlier_word_of_somebody_else_counts_again(
    out: Out, task: CvatTask, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    rle = mask_of_bob(out, EARLIER)
    word_of_bob(out, EARLIER)
    track = task.of_object(3)
    was, track.shapes[2] = track.shapes[2], SQUARE
    assert back() == 0
    assert counting(out) == {(3, 2): "ann"}
    track.shapes[2], task.updated = was, SECOND_FILE
    assert back() == 0
    (found,) = read_corrections(out.storage)[CLIP]
    assert (found.frame_index, found.reviewer, found.rle) == (2, "bob", rle)
    opinion = read_verdicts(out.storage)[CLIP, 3]
    assert (opinion.verdict, opinion.reviewer, opinion.category) == ("accept", "bob", "wolf")
    assert opinion.labeled_at == EARLIER, "of the labels that bob saw"
    assert "what bob has said of object 3 on frame 2 counts again" in " ".join(capsys.readouterr().out.split())
    before = out.files()
    assert back() == 0
    assert out.files() == before
    track.shapes[2], task.updated = SQUARE, THIRD_FILE
    assert back() == 0
    assert counting(out) == {(3, 2): "ann"}, "she says it again"
    assert read_verdicts(out.storage)[CLIP, 3].verdict == "fix"


@pytest.mark.slow
def test_what_counts_again_can_be_taken_back_in_the_page(out: Out, task: CvatTask, back: Back) -> None:
    mask_of_bob(out, EARLIER)
    word_of_bob(out, EARLIER)
    track = task.of_object(3)
    was, track.shapes[2] = track.shapes[2], SQUARE
    assert back() == 0
    track.shapes[2], task.updated = was, SECOND_FILE
    assert back() == 0
    assert last_correction(out.storage, CLIP, 3, "ann") is None
    last = last_correction(out.storage, CLIP, 3, "bob")
    assert last is not None
    take_back(out.storage, last.path, (CLIP, 3), "bob")
    assert counting(out) == {}
    book = VerdictBook(out.storage)
    book.look()
    assert [one.said.row["reviewer"] for one in book.standing((CLIP, 3))] == ["bob"]


def test_what_was_taken_back_in_the_page_does_not_count_again(out: Out, task: CvatTask, back: Back) -> None:
    mask_of_bob(out, EARLIER)
    gone = {"video_id": CLIP, "object_id": 3, "frame_index": 2, "kind": "withdraw", "reviewer": "bob"}
    write_corrections(out.storage, [gone | {"reviewed_at": EARLIER.replace(day=5)}])
    word_of_bob(out, EARLIER)
    said = {"video_id": CLIP, "object_id": 3, "verdict": "withdraw", "reviewer": "bob"}
    write_verdicts(out.storage, [said | {"reviewed_at": EARLIER.replace(day=5)}])
    track = task.of_object(3)
    was, track.shapes[2] = track.shapes[2], SQUARE
    assert back() == 0
    track.shapes[2], task.updated = was, SECOND_FILE
    assert back() == 0
    assert counting(out) == {}
    assert (CLIP, 3) not in read_verdicts(out.storage)


def test_a_withdrawal_that_was_cut_short_is_completed(out: Out, task: CvatTask, back: Back) -> None:
    """Rows of an intake that ended between its files: bob's word waits for the next one."""
    mask_of_bob(out, EARLIER)
    track = task.of_object(3)
    was, track.shapes[2] = track.shapes[2], SQUARE
    assert back() == 0
    (mine,) = (row for row in out.corrections() if row["reviewer"] == "ann")
    gone = {**mine, "kind": "withdraw", "mask_rle": None, "reviewed_at": LATER}
    write_corrections(out.storage, [gone])
    track.shapes[2], task.updated = was, SECOND_FILE
    assert back() == 0
    assert counting(out) == {(3, 2): "bob"}


def write_job(task: CvatTask, first: int, last: int, to: Path) -> None:
    """Export a job of a task."""
    task.segments, task.job = (0, 2), (first, last)
    things = task.things
    cut = [{at: one for at, one in thing.shapes.items() if first <= at <= last} for thing in things]
    task.things = [replace(thing, shapes=shapes) for thing, shapes in zip(things, cut, strict=True) if shapes]
    task.export(to)
    task.things = things


def test_a_job_that_is_silent_leaves_what_its_sister_says(out: Out, task: CvatTask, tmp_path: Path) -> None:
    """Of object 3, which is rejected in job 0, and of object 7, which is corrected there, job 1 shows nothing new."""
    files = tmp_path / "jobs"
    files.mkdir()
    track = task.of_object(3)
    usual = track.attributes["verdict"]
    track.attributes["verdict"] = "reject"
    task.of_object(7).shapes[1] = SQUARE
    write_job(task, 0, 1, files / "job0.xml")
    track.attributes["verdict"] = usual
    write_job(task, 2, task.stop_frame, files / "job1.xml")
    assert out.take_in(files, "cvat_video") == 0
    assert out.said() == {(CLIP, 3): "reject", (CLIP, 7): "fix"}
    before = out.files()
    assert out.take_in(files, "cvat_video") == 0
    assert out.files() == before, "taken in again it changes nothing"


@pytest.mark.slow
def test_a_fix_goes_with_the_last_correction_that_jobs_take_back(out: Out, task: CvatTask, tmp_path: Path) -> None:
    track, file = task.of_object(7), tmp_path / "job.xml"
    first, later = track.shapes[1], track.shapes[3]
    track.shapes[1] = track.shapes[3] = SQUARE
    jobs = (0, 1), (2, task.stop_frame)
    for start, stop in jobs:
        write_job(task, start, stop, file)
        assert out.take_in(file, "cvat_video") == 0
    task.updated, track.shapes[1] = SECOND_FILE, first
    write_job(task, *jobs[0], file)
    assert out.take_in(file, "cvat_video") == 0
    assert (counting(out), out.said()) == ({(7, 3): "ann"}, {(CLIP, 7): "fix"})
    track.shapes[3] = later
    write_job(task, *jobs[1], file)
    assert out.take_in(file, "cvat_video") == 0
    assert (counting(out), out.said()) == ({}, {(CLIP, 7): "withdraw"})


def test_what_jobs_say_of_one_track_is_said_once(out: Out, task: CvatTask, tmp_path: Path) -> None:
    """Object 3 is corrected in both jobs, with a comment in each; of object 7 job 1 has a comment alone.

    Job 1 was done before job 0.
    """
    files = tmp_path / "jobs"
    files.mkdir()
    track, other = task.of_object(3), task.of_object(7)
    track.shapes[1] = track.shapes[3] = other.shapes[1] = SQUARE
    track.attributes["comment"] = "too wide"
    write_job(task, 0, 1, files / "job0.xml")
    track.attributes["comment"], other.attributes["comment"] = "too late", "a puma?"
    task.updated = "2025-02-03 00:00:00+00:00"
    write_job(task, 2, task.stop_frame, files / "job1.xml")
    assert out.take_in(files, "cvat_video") == 0
    newest = {row["object_id"]: (row["verdict"], row["comment"]) for row in out.verdicts()}
    assert newest == {3: ("fix", "too wide; too late"), 7: ("fix", "a puma?")}
    before = out.files()
    assert out.take_in(files, "cvat_video") == 0
    assert out.files() == before, "taken in again it changes nothing"


def test_a_mask_that_is_taken_back_is_none_that_an_object_could_be_followed_from(
    out: Out, task: CvatTask, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    """Object 3 has its prompt on frame 0: hidden there, it is followed from the mask on frame 2, while there is one."""
    track = task.of_object(3)
    was = track.shapes[2]
    track.shapes[0].outside, track.shapes[2] = True, SQUARE
    assert back() == 0
    assert counting(out) == {(3, 0): "ann", (3, 2): "ann"}
    track.shapes[2], task.updated = was, SECOND_FILE
    assert back() == 0
    assert counting(out) == {}, "it is left as it was"
    told = " ".join(capsys.readouterr().out.split())
    assert "object 3 of video 'clip-1' is hidden on every frame that says where it is (0)" in told


def test_another_label_of_an_added_object_is_its_category(out: Out, task: CvatTask, back: Back) -> None:
    new = task.draw("cat", {1: SQUARE})
    assert back() == 0
    new.label, task.updated = "dog", SECOND_FILE
    assert back() == 0
    (found,) = read_corrections(out.storage)[CLIP]
    assert (found.object_id, found.category) == (8, "dog")
    before = out.files()
    assert back() == 0
    assert out.files() == before


def test_objects_that_two_jobs_add_are_told_and_are_one_in_the_file_of_the_task(
    out: Out, task: CvatTask, back: Back, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "jobs"
    files.mkdir()
    task.draw("cat", dict.fromkeys(range(4), SQUARE))
    write_job(task, 0, 1, files / "job0.xml")
    write_job(task, 2, task.stop_frame, files / "job1.xml")
    assert out.take_in(files, "cvat_video") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "object 9 of video 'clip-1' was added on other frames than object 8 of the same label" in told
    assert "take in the file of the task" in told
    assert {one for one, _ in counting(out)} == {8, 9}
    task.job, task.updated = None, SECOND_FILE
    assert back() == 0
    assert {one for one, _ in counting(out)} == {8}
