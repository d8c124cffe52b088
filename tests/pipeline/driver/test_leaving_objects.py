"""Whole jobs from whose tables objects leave between two runs: each run leaves exactly the rows that are wanted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
import pytest

from pipeline import plan as plan_door
from pipeline import rounds as rounds_door
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
from tests.support.labeling_workers import KilledWorker
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


@pytest.fixture(scope="module")
def labeled_with_added(tmp_path_factory: pytest.TempPathFactory, labeled: JobFolder) -> JobFolder:
    """The same after its second round: reviewers have added object 7 to both."""
    job = copy_of(labeled, tmp_path_factory.mktemp("added"))
    add(job)
    add(job, "two")
    assert made_anew(labeled.tables(), ran(job)) == {("bare", 7), ("two", 7)}
    return job


@pytest.fixture
def job(tmp_path: Path, labeled: JobFolder) -> JobFolder:
    """A copy of the job after its first round."""
    return copy_of(labeled, tmp_path)


@pytest.fixture
def added(tmp_path: Path, labeled_with_added: JobFolder) -> JobFolder:
    """A copy of the job after its second round."""
    return copy_of(labeled_with_added, tmp_path)


def copy_of(job: JobFolder, folder: Path) -> JobFolder:
    shutil.copytree(job.folder, folder, dirs_exist_ok=True)
    return JobFolder(folder, job.checkpoint)


def without_bare(found: Tables) -> Tables:
    """The tables that a job has when all objects of `bare` have left."""
    masks, tracks = (rows.filter(pc.field("video_id") != "bare") for rows in (found.masks, found.tracks))
    return Tables(masks, tracks, found.videos)


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
    return read_status(JobStorage(str(job.output))).reviews.waiting.num


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
    added: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    second = added.tables()
    take_back(added)
    assert num_waiting(added) == 1
    capsys.readouterr()
    assert plan_door.door(added.arguments()) == ExitCode.DONE
    told = capsys.readouterr().out
    assert "0 to label, 1 finished before, 1 without prompts" in told
    assert "reviews  0 objects of 1 video would be labeled again, 1 that reviewers took back would leave" in told

    entry = added.next_entry()
    third = ran(added)
    assert third.equals(without_bare(second))
    assert (third.statuses["bare"], third.videos["bare"]["message"]) == ("no_prompts", GONE)
    assert added.changes(entry) == {"bare": ("again", "review")}
    capsys.readouterr()
    assert rounds_door.door([f"output={added.output}"]) == ExitCode.DONE
    assert "  gone      1 object: 1 without masks now" in capsys.readouterr().out.splitlines()
    assert of(tables.open(str(added.output), round=2).tracks(), "bare", 7).num_rows == 1, "the round before has it"

    add(added)
    assert made_anew(third, ran(added)) == {("bare", 7)}, "and it comes back when it is added once more"


def test_a_run_that_is_killed_while_such_an_object_leaves_is_gone_on_with(
    added: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = added.tables()
    take_back(added)

    def killed(_ledger: JobLedger, _outcomes: Sequence[Outcome], *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JobLedger, "record", killed)
        assert added.run() != 0
    assert added.tables().equals(second), "its former rows are there until it is recorded"
    assert read_status(JobStorage(str(added.output))).reviews.num_again == 1
    assert ran(added).equals(without_bare(second))
    assert read_status(JobStorage(str(added.output))).reviews.num_again == 0
    assert read_status(JobStorage(str(added.output))).reviews.round == 3


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


def test_an_object_is_whole_again_when_its_split_is_taken_back_and_a_plan_counts_it(
    added: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both halves of one split; of the other one the new half alone, whose old one somebody has corrected since."""
    second = added.tables()
    for video_id, object_id in (("bare", 7), ("two", 1)):
        correct(added.output, video_id, object_id, 2)
        correct(added.output, video_id, 9, 2, mask_rle=square(SIZE_HW, 60, 40), split_from=object_id)
    correct(added.output, "two", 1, 2, mask_rle=square(SIZE_HW, 30, 30, 20), reviewed_at=a_second_later())
    third = ran(added)
    assert made_anew(second, third) == {("bare", 7), ("bare", 9), ("two", 1), ("two", 9)}
    assert of(third.masks, "two", 1)["frame_index"].to_pylist() == [0, 1, 2]
    for video_id, object_id in (("bare", 7), ("bare", 9), ("two", 9)):
        take_back(added, video_id, object_id, frame_index=2)
    capsys.readouterr()
    assert plan_door.door(added.arguments()) == ExitCode.DONE
    assert "reviews  2 objects of 2 videos would be labeled again, 2 that reviewers" in capsys.readouterr().out
    fourth = ran(added)
    assert made_anew(third, fourth) == {("bare", 7), ("two", 1)}
    assert tracks_of(fourth) == tracks_of(second)
    assert of(fourth.masks, "bare", 7).equals(of(second.masks, "bare", 7))
    assert of(fourth.masks, "two", 1)["frame_index"].to_pylist() == [0, 1, 2, 3]
    take_back(added)
    assert ran(added).equals(without_bare(fourth))


def test_tracks_that_were_judged_after_their_addition_was_taken_back_keep_their_rows(added: JobFolder) -> None:
    second = added.tables()
    for video_id, verdict in (("bare", Verdict.ACCEPT), ("two", Verdict.REJECT)):
        take_back(added, video_id)
        judge(added.output, video_id, 7, verdict, at=a_second_later())
    assert ran(added).equals(second)


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


def test_what_reviewers_added_stays_where_a_run_leaves_later_reviews_alone_and_labels_its_video_again(
    added: JobFolder,
) -> None:
    def spoil(file: str) -> None:
        with (added.folder / "in" / file).open("ab") as film:
            film.write(b"\0" * 8)  # another file with the same frames

    second = added.tables()
    add(added, "two", 8)
    add(added, "bare", 8)
    take_back(added, "two")
    spoil("two.mp4")
    assert added.run("changed=relabel", "reviews=false") == 0
    third = added.tables()
    assert made_anew(second, third) == {("two", 1), ("two", 2), ("two", 7)}, "what is saved since waits"
    assert of(third.tracks, "two", 7)["correction"].to_pylist() == ["added"]
    assert num_waiting(added) == 2
    assert tracks_of(ran(added)) == [("bare", 7), ("bare", 8), ("two", 1), ("two", 2), ("two", 8)]


def test_a_video_that_leaves_the_tables_in_the_middle_of_a_round_is_labeled_again_no_more_when_that_ends(
    added: JobFolder, caplog: pytest.LogCaptureFixture
) -> None:
    second = added.tables()
    correct(added.output, "two", 1, 2)
    parts = driver.Parts(partial(open_executor, make_worker=KilledWorker))
    assert driver.run(added.config("cluster=serial"), parts) != 0
    rows = {table: added.rows(table) for table in ("videos", "prompts")}
    for table in rows:
        added.rewrite(table, [row for row in rows[table] if row["video_id"] != "two"])
    storage = JobStorage(str(added.output))
    assert read_status(storage).reviews.num_again == 1
    assert added.run() == 0
    assert (
        "round 3: 1 video left the tables in the middle of it, and keeps the masks of the round before" in caplog.text
    )
    reviews = read_status(storage).reviews
    assert (reviews.num_again, reviews.waiting.num, reviews.waiting.gone) == (0, 0, ("two",))
    assert tables.open(str(added.output)).labeled_again() == []
    assert added.tables().equals(second)
    files = added.files()
    assert added.run() == 0
    assert added.files() == files

    for table in rows:
        added.rewrite(table, rows[table])
    assert made_anew(second, ran(added)) == {("two", 1)}, "its corrections waited"
    assert read_status(storage).reviews.round == 4


def test_corrections_of_a_video_that_left_the_tables_are_named_only_while_they_wait(
    added: JobFolder, caplog: pytest.LogCaptureFixture
) -> None:
    second = added.tables()
    for table in ("videos", "prompts"):
        added.rewrite(table, [row for row in added.rows(table) if row["video_id"] != "two"])
    caplog.clear()
    assert ran(added).equals(second)
    assert "that no table has" not in caplog.text
    take_back(added, "two")
    assert read_status(JobStorage(str(added.output))).reviews.waiting.gone == ("two",), "the run before found it gone"
    assert added.run() == 0
    assert "corrections of 1 video that no table has wait until one has them: 'two'" in caplog.text
    reviews = read_status(JobStorage(str(added.output))).reviews
    assert (reviews.waiting.num, reviews.waiting.gone) == (0, ("two",))
    assert "1 corrected video is gone, in no table of the last run ('two'): put it back" in reviews.in_words()
    assert "wait for the next run" not in reviews.in_words()
    assert reviews.counts()["num_gone"] == 1
    assert added.tables().equals(second)
    found = ran(added, "prune=true")
    assert list(found.videos) == ["bare"]
