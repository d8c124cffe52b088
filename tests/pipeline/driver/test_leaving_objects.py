"""Whole jobs from whose tables objects leave between two runs: each run leaves exactly the rows that are wanted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from pipeline import plan as plan_door
from pipeline import tables
from pipeline.command import ExitCode
from pipeline.driver import driver
from pipeline.driver.executors import open_executor
from pipeline.driver.results import JobLedger
from pipeline.records import Outcome, Report, WorkItem
from pipeline.reviews.verdicts import Verdict
from pipeline.standing import read_status
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.worker import Worker
from tests.support.jobs import JobFolder, Tables, read_plainly
from tests.support.rounds import Key, correct, judge, made_anew, of, square, tracks_of

pytestmark = pytest.mark.slow

SIZE_HW = (96, 128)
GONE = "the prompts table has no row for this video"


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> JobFolder:
    """A clip with two objects, and one that has no prompts."""
    folder = JobFolder(tmp_path_factory.mktemp("labeled"), small_checkpoint)
    folder.write(["bare", "two"], num_frames=4, num_objects=2)
    folder.rewrite("prompts", [row for row in folder.rows("prompts") if row["video_id"] == "two"])
    assert folder.run() == 0
    return folder


@pytest.fixture
def job(tmp_path: Path, labeled: JobFolder) -> JobFolder:
    """A copy of that job."""
    shutil.copytree(labeled.folder, tmp_path, dirs_exist_ok=True)
    return JobFolder(tmp_path, labeled.checkpoint)


def add(job: JobFolder, video_id: str = "bare", object_id: int = 7, frame_index: int = 1) -> None:
    """A reviewer adds an object."""
    correct(job.output, video_id, object_id, frame_index, mask_rle=square(SIZE_HW, 30, 30, 20))


def take_back(job: JobFolder, video_id: str = "bare", object_id: int = 7, frame_index: int = 1) -> None:
    correct(job.output, video_id, object_id, frame_index, kind="withdraw")


def a_second_later() -> datetime:
    """A time after all that was said: two things that are said in one millisecond have no order."""
    return datetime.now(UTC) + timedelta(seconds=1)


def drop_prompts(job: JobFolder, *keys: Key) -> None:
    """Take the prompts of these objects out of their table."""
    job.rewrite("prompts", [row for row in job.rows("prompts") if (row["video_id"], row["object_id"]) not in keys])


def num_waiting(job: JobFolder) -> int:
    """Of how many videos `status` says that corrections wait."""
    return read_status(JobStorage(str(job.output))).reviews.num_waiting


def ran(job: JobFolder, *overrides: str) -> Tables:
    """The tables after a run that succeeds, has taken in all corrections, and leaves nothing to the next one."""
    assert job.run(*overrides) == 0
    found = job.tables()
    assert read_plainly(job.output).equals(found.masks), "files of masks without the log have no other rows"
    assert set(zip(*(found.masks[name].to_pylist() for name in ("video_id", "object_id")), strict=True)) <= {
        *tracks_of(found)
    }
    assert num_waiting(job) == 0
    files = job.files()
    assert job.run(*overrides) == 0
    assert job.files() == files
    return found


def test_the_only_object_of_a_video_leaves_when_its_addition_is_taken_back(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    first = job.tables()
    add(job)
    second = ran(job)
    assert tracks_of(second) == [("bare", 7), ("two", 1), ("two", 2)]
    take_back(job)
    assert num_waiting(job) == 1
    capsys.readouterr()
    assert plan_door.door(job.arguments()) == ExitCode.DONE
    told = capsys.readouterr().out
    assert "0 to label, 1 finished before, 1 without prompts" in told
    assert "reviews  0 objects of 1 video would be labeled again, 1 that reviewers took back would leave" in told

    entry = job.next_entry()
    third = ran(job)
    assert third.equals(first)
    assert (third.statuses["bare"], third.videos["bare"]["message"]) == ("no_prompts", GONE)
    assert job.changes(entry) == {"bare": ("again", "review")}
    assert of(tables.open(str(job.output), round=2).tracks(), "bare", 7).num_rows == 1, "the round before has it"

    add(job)
    assert made_anew(first, ran(job)) == {("bare", 7)}, "and it comes back when it is added once more"


def test_a_run_that_is_killed_while_such_an_object_leaves_is_gone_on_with(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job.tables()
    add(job)
    second = ran(job)
    take_back(job)

    def killed(_ledger: JobLedger, _outcomes: Sequence[Outcome], *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JobLedger, "record", killed)
        assert job.run() != 0
    assert job.tables().equals(second), "its former rows are there until it is recorded"
    assert read_status(JobStorage(str(job.output))).reviews.num_again == 1
    assert ran(job).equals(first)
    assert read_status(JobStorage(str(job.output))).reviews.num_again == 0
    assert read_status(JobStorage(str(job.output))).reviews.round == 3


def test_a_video_that_failed_with_its_only_object_has_no_prompts_when_that_is_taken_back(job: JobFolder) -> None:
    class Broken(Worker):
        def work(self, offers: Sequence[WorkItem]) -> Report:
            for item in offers:
                Path(item.source.uri or "").write_bytes(b"no video")
            return super().work(offers)

    first = job.tables()
    add(job)
    parts = driver.Parts(partial(open_executor, make_worker=Broken))
    assert driver.run(job.config("cluster=serial", "max_failed_fraction=1"), parts) == 0
    assert job.tables().statuses["bare"] == "failed"
    take_back(job)
    entry = job.next_entry()
    found = ran(job)
    assert found.equals(first)
    assert found.statuses["bare"] == "no_prompts"
    assert job.changes(entry) == {"bare": ("again", "review")}


def test_a_split_and_then_the_object_that_was_split_are_taken_back(job: JobFolder) -> None:
    first = job.tables()
    add(job, frame_index=0)
    second = ran(job)
    correct(job.output, "bare", 7, 2)
    correct(job.output, "bare", 9, 2, mask_rle=square(SIZE_HW, 60, 40), split_from=7)
    assert made_anew(second, ran(job)) == {("bare", 7), ("bare", 9)}
    for object_id in (7, 9):
        take_back(job, object_id=object_id, frame_index=2)
    third = ran(job)
    assert of(third.masks, "bare", 7).equals(of(second.masks, "bare", 7))
    assert ("bare", 9) not in tracks_of(third)
    take_back(job, frame_index=0)
    assert ran(job).equals(first)


def test_an_object_is_whole_again_when_the_new_half_of_its_split_is_taken_back_alone(job: JobFolder) -> None:
    """Somebody has corrected the old one on that frame since, so that nothing of it is taken back."""
    first = job.tables()
    correct(job.output, "two", 1, 2)
    correct(job.output, "two", 9, 2, mask_rle=square(SIZE_HW, 60, 40), split_from=1)
    correct(job.output, "two", 1, 2, mask_rle=square(SIZE_HW, 30, 30, 20), reviewed_at=a_second_later())
    second = ran(job)
    assert of(second.masks, "two", 1)["frame_index"].to_pylist() == [0, 1, 2]
    take_back(job, "two", 9, 2)
    third = ran(job)
    assert of(third.masks, "two", 1)["frame_index"].to_pylist() == [0, 1, 2, 3]
    assert made_anew(first, third) == {("two", 1)}


@pytest.mark.parametrize("verdict", [Verdict.ACCEPT, Verdict.REJECT])
def test_a_track_that_was_judged_after_its_addition_was_taken_back_keeps_its_rows(
    job: JobFolder, verdict: Verdict
) -> None:
    for video_id in ("bare", "two"):
        add(job, video_id)
    second = ran(job)
    for video_id in ("bare", "two"):
        take_back(job, video_id)
        judge(job.output, video_id, 7, verdict, at=a_second_later())
    assert ran(job).equals(second)


def test_an_object_whose_mask_alone_was_taken_back_keeps_its_masks_and_says_why_until_all_is(job: JobFolder) -> None:
    """Also where another object that is hidden only has none, and no run can label it."""
    first = job.tables()
    add(job)
    correct(job.output, "bare", 7, 2)
    correct(job.output, "bare", 8, 2)
    second = ran(job)
    assert of(second.tracks, "bare", 8)["status"].to_pylist() == ["failed"]
    take_back(job)
    third = ran(job)
    assert third.masks.equals(second.masks)
    (message,) = of(third.tracks, "bare", 7)["message"].to_pylist()
    assert message.startswith("keeps its masks, because its corrections do not fit: object 7, frame 2: ")
    take_back(job, frame_index=2)
    fourth = ran(job)
    assert fourth.equals(first)
    assert (fourth.statuses["bare"], fourth.videos["bare"]["message"]) == ("no_prompts", GONE)


def test_what_is_hidden_in_a_video_without_objects_waits_for_nothing(job: JobFolder) -> None:
    files = job.files()
    correct(job.output, "bare", 7, 2)
    ran(job)
    assert {path: job.files()[path] for path in files} == files


def test_an_object_that_reviewers_showed_stays_when_its_prompts_leave_the_table(job: JobFolder) -> None:
    correct(job.output, "two", 1, 1, mask_rle=square(SIZE_HW, 30, 30, 20))
    drop_prompts(job, ("two", 2))
    assert ran(job, "prune=true").videos["two"]["num_tracks"] == 1
    drop_prompts(job, ("two", 1))
    entry = job.next_entry()
    second = ran(job)
    assert job.changes(entry) == {"two": ("again", "prompts")}
    assert of(second.tracks, "two", 1).select(["prompt_frames", "num_masks"]).to_pylist() == [
        {"prompt_frames": [1], "num_masks": 3}
    ]
    take_back(job, "two", 1)
    third = ran(job)
    assert (third.statuses["two"], third.masks.num_rows, third.tracks.num_rows) == ("no_prompts", 0, 0)


def test_masks_of_an_object_that_reviewers_only_hid_do_not_go_unasked_when_its_prompts_leave_the_table(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    correct(job.output, "two", 1, 2)
    second = ran(job)
    drop_prompts(job, ("two", 1))
    assert job.run() == ExitCode.REFUSED
    assert "1 object of the output has no prompts any more: 'two' (object 1)" in capsys.readouterr().err
    assert job.tables().equals(second)
    take_back(job, "two", 1, 2)
    third = ran(job, "prune=true")
    assert tracks_of(third) == [("two", 2)]


def test_an_object_that_is_taken_back_leaves_also_where_the_prompts_of_others_have_changed(
    job: JobFolder, caplog: pytest.LogCaptureFixture
) -> None:
    add(job, "two")
    correct(job.output, "two", 1, 2)
    correct(job.output, "two", 2, 2)
    assert ("two", 7) in tracks_of(ran(job))
    take_back(job, "two")
    take_back(job, "two", 2, 2)
    rows = [row | {"box_xyxy": [edge + 1.0 for edge in row["box_xyxy"]]} for row in job.rows("prompts")]
    job.rewrite("prompts", rows)
    assert tracks_of(ran(job)) == [("two", 1), ("two", 2)]
    assert "fewer prompts" not in caplog.text, "the table has as many as before"


def test_corrections_of_a_video_that_left_the_tables_are_named_only_while_they_wait(
    job: JobFolder, caplog: pytest.LogCaptureFixture
) -> None:
    add(job, "two")
    second = ran(job)
    for table in ("videos", "prompts"):
        job.rewrite(table, [row for row in job.rows(table) if row["video_id"] != "two"])
    caplog.clear()
    assert ran(job).equals(second)
    assert "that no table has" not in caplog.text
    take_back(job, "two")
    assert job.run() == 0
    assert "corrections of 1 video that no table has wait until one has them: 'two'" in caplog.text
    assert num_waiting(job) == 1
    assert job.tables().equals(second)
    found = ran(job, "prune=true")
    assert list(found.videos) == ["bare"]
