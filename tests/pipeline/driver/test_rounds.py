"""Whole jobs that take reviews in: what reviewers corrected is labeled again, everything else stays bit for bit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from pipeline import plan as plan_door
from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.log import CommitLog
from pipeline.commits.snapshot import JobState
from pipeline.driver import driver
from pipeline.driver.executors import open_executor
from pipeline.records import Outcome, Report, Segment, WorkItem
from pipeline.reviews.verdicts import Verdict
from pipeline.status import as_text, read_status
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.worker import Worker
from tests.support.jobs import JobFolder, read_plainly
from tests.support.labeling_workers import KilledWorker
from tests.support.rounds import Key, correct, judge, made_anew, of, square, tracks_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> JobFolder:
    """Two clips with two objects each, labeled for the first time."""
    folder = JobFolder(tmp_path_factory.mktemp("labeled"), small_checkpoint)
    assert folder.write(["one", "two"], num_frames=4, num_objects=2).run() == 0
    return folder


@pytest.fixture
def job(tmp_path: Path, labeled: JobFolder) -> JobFolder:
    """A copy of that job."""
    shutil.copytree(labeled.folder, tmp_path, dirs_exist_ok=True)
    return JobFolder(tmp_path, labeled.checkpoint)


def size_of(masks: pa.Table) -> tuple[int, int]:
    height, width = masks["rle"][0].as_py()["size"]
    return height, width


def test_a_run_labels_corrected_added_and_split_objects_again_and_no_others(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    first = job.tables()
    size_hw = size_of(first.masks)
    assert set(first.tracks["round"].to_pylist()) == {1}
    assert set(first.tracks["prompts"].to_pylist()) == {"table"}

    correct(job.output, "one", 1, 2, mask_rle=square(size_hw, 20, 30, 48))
    correct(job.output, "two", 7, 1, mask_rle=square(size_hw, 40, 10), category="late", reviewer="bob")
    entry = job.next_entry()
    capsys.readouterr()
    # An object that reviewers have added counts as one on all four frames.
    assert plan_door.door(job.arguments()) == 0
    assert "2 objects, about 8 frames and 8 masks, by what 2 opened" in capsys.readouterr().out
    assert job.run("check=true") == 0
    assert "frames   about 8 to label, 8 masks, by what 2 opened" in capsys.readouterr().out
    assert job.run() == 0
    assert ", 7 masks in " in capsys.readouterr().out, "those of four frames and of three, and none that is kept"
    second = job.tables()
    assert made_anew(first, second) == {("one", 1), ("two", 7)}
    assert tracks_of(second) == [("one", 1), ("one", 2), ("two", 1), ("two", 2), ("two", 7)]
    assert read_plainly(job.output).equals(second.masks)
    assert job.changes(entry) == {"one": ("again", "review"), "two": ("again", "review")}
    (fixed,) = of(second.tracks, "one", 1).to_pylist()
    (added,) = of(second.tracks, "two", 7).to_pylist()
    assert (fixed["round"], fixed["correction"], fixed["corrected_by"]) == (2, "fix", "ann")
    assert (added["round"], added["correction"], added["corrected_by"]) == (2, "added", "bob")
    assert (added["category"], added["num_masks"], added["first_visible_frame"]) == ("late", 3, 1)
    assert fixed["prompts"].startswith("review:")
    assert fixed["prompts"] != added["prompts"]
    assert fixed["prompt_frames"] == [0, 2]
    (corrected,) = of(second.masks, "one", 1).slice(2, 1).to_pylist()
    wanted = coco.decode(square(size_hw, 20, 30, 48))
    found = coco.decode(corrected["rle"])
    assert (wanted & found).sum() / (wanted | found).sum() > 0.8

    before = job.files()
    assert job.run() == 0
    assert job.files() == before  # nothing is left to do

    correct(job.output, "two", 1, 2)
    correct(job.output, "two", 9, 2, mask_rle=square(size_hw, 60, 40), split_from=1)
    assert job.run() == 0
    third = job.tables()
    assert made_anew(second, third) == {("two", 1), ("two", 9)}
    (ended,), (split,) = of(third.tracks, "two", 1).to_pylist(), of(third.tracks, "two", 9).to_pylist()
    assert (ended["round"], ended["message"], split["round"], split["correction"]) == (3, "", 3, "split")
    hidden = of(third.masks, "two", 1).to_pylist()[2]
    assert of(third.masks, "two", 1)["frame_index"].to_pylist() == [0, 1, 2]
    assert (hidden["area"], hidden["object_score"], hidden["is_prompt"]) == (0, -10.0, True)
    assert of(third.masks, "two", 9)["frame_index"].to_pylist() == [2, 3]


def tracks_at(job: JobFolder, number: int) -> list[Key]:
    """The tracks at the end of a round of which the masks can be read."""
    found = tables.open(str(job.output), round=number)
    columns = found.tracks().select(["video_id", "object_id", "num_masks"]).to_pylist()
    masks = found.masks(columns=["object_id"]).to_table()
    assert masks.num_rows == sum(row["num_masks"] for row in columns)
    return [(row["video_id"], row["object_id"]) for row in columns]


def state_of(job: JobFolder) -> JobState:
    return CommitLog(JobStorage(str(job.output)), "reader").load()


def broken(clip: Path) -> Callable[[], None]:
    """Put no video in the place of a film. What is returned puts the film back, with its times."""
    content, times = clip.read_bytes(), clip.stat()
    clip.write_bytes(b"no video")

    def put_back() -> None:
        clip.write_bytes(content)
        os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))

    return put_back


def test_a_driver_that_dies_in_a_round_goes_on_with_it_and_what_is_saved_while_it_runs_counts_next_time(
    job: JobFolder,
) -> None:
    begun: list[WorkItem] = []
    published: list[Segment] = []

    class Dying(Worker):
        def work(self, offers: Sequence[WorkItem]) -> Report:
            if published:
                wait_until(lambda: len(state_of(job).set_aside()) == 1, "commit")
                raise KeyboardInterrupt
            # One video alone, so that the other one is never finished before this one is published.
            taken, left = ([], offers) if begun else (offers[:1], offers[1:])
            begun.extend(taken)
            report = super().work(taken)
            published.extend(report.segments)
            return replace(report, returned=(*report.returned, *left))

    class Watched(Worker):
        def work(self, offers: Sequence[WorkItem]) -> Report:
            if offers:
                correct(job.output, unfinished, 2, 1)  # the driver has planned
            return super().work(offers)

    def run_with(worker: type[Worker]) -> int:
        parts = driver.Parts(partial(open_executor, make_worker=worker))
        return driver.run(job.config("cluster=serial", "worker.beat_seconds=0.01"), parts)

    first = job.tables()
    for name in ("one", "two"):
        correct(job.output, name, 1, 2)
    assert run_with(Dying) != 0
    state = state_of(job)
    (unfinished,) = state.formers
    assert (state.round, state.set_aside()) == (2, {unfinished})
    between = job.tables()
    (done,) = {"one", "two"} - {unfinished}
    assert made_anew(first, between) == {(done, 1)}, "the other one has the rows of before until its new ones are there"
    assert run_with(Watched) == 0
    second = job.tables()
    assert made_anew(first, second) == {("one", 1), ("two", 1)}
    assert {of(second.tracks, name, 1)["round"][0].as_py() for name in ("one", "two")} == {2}
    assert job.run() == 0
    assert made_anew(second, job.tables()) == {(unfinished, 2)}
    assert of(job.tables().tracks, unfinished, 2)["round"].to_pylist() == [3]


def test_what_does_not_fit_is_said_and_loses_nothing(job: JobFolder) -> None:
    first = job.tables()
    size_hw = size_of(first.masks)
    correct(job.output, "one", 1, 99, mask_rle=square(size_hw, 20, 30))
    correct(job.output, "one", 2, 1, mask_rle=square((8, 8), 2, 2, 3))
    correct(job.output, "two", 5, 1)
    correct(job.output, "nowhere", 1, 1)
    assert job.run() == 0
    found = job.tables()
    assert found.masks.equals(first.masks)
    messages = {(row["video_id"], row["object_id"]): row["message"] for row in found.tracks.to_pylist()}
    assert messages["one", 1].startswith("keeps its masks, because its corrections do not fit: object 1, frame 99: ")
    assert "size is [8, 8] (height, width), but the video is [" in messages["one", 2]
    assert messages["two", 5].startswith("object 5, frame 1: reviewers say only where it is not visible")
    assert messages["two", 1] == ""


def test_a_retry_labels_what_failed_and_everything_else_stays_also_while_it_is_killed_and_when_it_fails(
    job: JobFolder,
) -> None:
    def shown(number: int | None = None) -> list[Key]:
        found = tables.open(str(job.output), round=number).tracks().select(["video_id", "object_id"]).to_pylist()
        return [(row["video_id"], row["object_id"]) for row in found]

    correct(job.output, "one", 1, 99, mask_rle=square((96, 128), 20, 30))
    correct(job.output, "one", 7, 1)
    judge(job.output, "one", 2, Verdict.REJECT)
    judge(job.output, "two", 1, Verdict.ACCEPT)
    assert job.run() == 0
    second = job.tables()
    assert second.videos["one"]["num_tracks_failed"] == 1
    assert shown() == [("one", 1), ("one", 7), ("two", 1), ("two", 2)]

    retry = ("retry=failed", "max_attempts=9")
    killed = driver.Parts(partial(open_executor, make_worker=KilledWorker))
    assert driver.run(job.config("cluster=serial", *retry), killed) != 0
    assert (state_of(job).round, state_of(job).set_aside()) == (3, {"one"})
    assert tracks_at(job, 2) == tracks_of(second)
    assert job.tables().equals(second)
    correct(job.output, "two", 2, 1)
    assert job.run() == 0  # goes on with the round, although it is not told again to retry
    third = job.tables()
    assert made_anew(second, third) == {("one", 7), ("two", 2)}
    assert state_of(job).round == 3
    assert of(third.tracks, "one", 7)["round"].to_pylist() == [3]
    assert shown() == [("one", 1), ("one", 7), ("two", 1), ("two", 2)]
    assert tracks_at(job, 2) == tracks_of(second)

    clip = job.folder / "in" / "one.mp4"
    put_back = broken(clip)
    assert job.run(*retry) == 0
    assert job.tables().equals(third), "they are what the next try keeps, and what people see"
    told = as_text(read_status(JobStorage(str(job.output))))
    assert "kept     1 video could not be labeled again and keeps its former masks; other" in told
    assert "failed      1 × input: " in told
    assert tracks_at(job, 3) == tracks_of(third)
    entry = job.next_entry()
    assert job.run() == 0
    assert job.next_entry() == entry, "nothing is tried again unless somebody asks for it"
    put_back()
    assert job.run(*retry, "reviews=false") == 0
    assert made_anew(third, job.tables()) == {("one", 7)}


def test_a_round_has_all_its_rows_after_the_run_that_opens_the_next_one(job: JobFolder) -> None:
    first = job.tables()
    correct(job.output, "one", 1, 2)
    prompts = job.rows("prompts")
    for row in prompts:
        if row["video_id"] == "two":
            row["box_xyxy"] = [edge + 1.0 for edge in row["box_xyxy"]]
    job.rewrite("prompts", prompts)
    assert job.run() == 0
    assert made_anew(first, job.tables()) == {("one", 1), ("two", 1), ("two", 2)}
    assert tracks_at(job, 1) == tracks_of(first)


def test_accepted_tracks_keep_their_masks_also_under_another_model(job: JobFolder) -> None:
    first = job.tables()
    judge(job.output, "one", 1, Verdict.ACCEPT)
    judge(job.output, "two", 2, Verdict.REJECT)
    assert job.run("frames.stride=2") == 2
    assert job.run("frames.stride=2", "relabel=true") == 0
    second = job.tables()
    assert made_anew(first, second) == {("one", 2), ("two", 1)}
    assert job.run("frames.stride=1", "relabel=all") == 0
    assert np.array_equal(job.tables().masks["rle"].to_pylist(), first.masks["rle"].to_pylist())


def test_corrections_wait_where_a_run_is_told_so_and_are_gone_when_they_are_withdrawn(job: JobFolder) -> None:
    first = job.tables()
    correct(job.output, "one", 1, 0)
    correct(job.output, "one", 1, 1, mask_rle=square(size_of(first.masks), 20, 30))
    assert job.run("reviews=false") == 0
    assert job.tables().equals(first)
    assert job.run() == 0
    assert made_anew(first, job.tables()) == {("one", 1)}
    for frame_index in (0, 1):
        correct(job.output, "one", 1, frame_index, kind="withdraw")
    assert job.run() == 0
    again = job.tables()
    scores = (one.masks["object_score"].to_numpy() for one in (first, again))
    assert np.allclose(*scores, atol=1e-3)  # its video was labeled with another number of objects at a time
    assert of(again.tracks, "one", 1)["prompts"].to_pylist() == ["table"]
    assert of(again.tracks, "one", 1)["round"].to_pylist() == [3]


def test_a_video_with_a_broken_file_keeps_its_rows_when_it_is_tried_too_often_and_is_tried_when_its_file_is_back(
    job: JobFolder,
) -> None:
    first = job.tables()
    correct(job.output, "one", 1, 2)
    clip = job.folder / "in" / "one.mp4"
    put_back = broken(clip)
    once = ("max_failed_fraction=1", "max_attempts=1")
    assert job.run(*once) == 0
    entry = job.next_entry()
    assert job.run(*once, "retry=failed") == 0
    assert job.next_entry() == entry, "it would end in the same way again"
    assert job.tables().equals(first)
    clip.write_bytes(b"no video either")
    assert job.run(*once, "retry=failed") == 0
    assert job.next_entry() > entry
    assert job.tables().equals(first)
    put_back()
    assert job.run(*once, "retry=failed") == 0
    assert made_anew(first, job.tables()) == {("one", 1)}


def test_corrections_that_failed_and_were_withdrawn_are_told_and_tried_no_more(
    job: JobFolder, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = job.tables()
    correct(job.output, "one", 1, 2)
    clip = job.folder / "in" / "one.mp4"
    put_back = broken(clip)
    once = ("max_failed_fraction=1", "max_attempts=1")
    assert job.run(*once) == 0
    assert job.run(*once, "retry=failed") == 0
    told = capsys.readouterr().out
    assert "kept     1 video could not be labeled again and keeps its former masks; other corrections, or a " in told
    assert "or a max_attempts= above 1 (retry=failed is set), let it be tried again" in told
    assert "1 video not tried again, because 1 attempt with the same" in caplog.text
    caplog.clear()
    put_back()

    correct(job.output, "one", 1, 2, kind="withdraw")
    entry = job.next_entry()
    for more in ((), ("retry=failed",), ("retry=failed", "max_attempts=9"), ("retry=failed", "reviews=false")):
        assert job.run("max_failed_fraction=1", *more) == 0
    assert "could not be labeled again" not in capsys.readouterr().out
    assert "not tried again" not in caplog.text
    assert job.next_entry() == entry, "its masks are what people want"
    assert job.tables().equals(first)


def test_a_failure_that_a_killed_run_published_is_not_tried_again_at_once(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(SegmentKeeper):
        def commit(self, segments: Iterable[Segment], strikes: Mapping[str, int] | None = None) -> list[Outcome]:
            if list(segments):
                raise KeyboardInterrupt
            return super().commit(segments, strikes)

    first = job.tables()
    correct(job.output, "one", 1, 2)
    (job.folder / "in" / "one.mp4").write_bytes(b"no video")
    with monkeypatch.context() as patch:
        patch.setattr(driver, "SegmentKeeper", Dying)
        assert job.run() != 0
    assert (state_of(job).round, state_of(job).set_aside()) == (2, {"one"})
    assert job.run() == 0
    assert job.tables().equals(first)
    assert (state_of(job).round, state_of(job).finished.setbacks["one"].num_failures) == (2, 1)
