"""What a person sees of a running job."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import ClassVar, TextIO

import pytest

from pipeline.driver.progress import Progress
from pipeline.driver.summary import JobCounts, summary
from pipeline.errors import StorageError
from pipeline.records import ObjectCounts, ObjectNote, Outcome, OutcomeDetails, Retries, Status, WorkDone
from pipeline.storage.job_storage import JobStorage
from tests.support.fake_workers import Clock, FakeExecutor


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(video_id: str, status: Status = Status.OK, error_class: str = "", message: str = "") -> Outcome:
    return Outcome(video_id, status, "hash", 10 if status is Status.OK else 0, 5, error_class, message)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress_of(storage: JobStorage, clock: Clock, stream: TextIO | None = None) -> Progress:
    return Progress(40, 10, storage, stream or io.StringIO(), clock)


def test_the_line_shows_videos_rate_time_left_failures_and_workers(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    progress.worked(WorkDone(600, {}))
    progress.committed([ended(f"v{number}") for number in range(9)] + [ended("bad", Status.FAILED, "input")])
    clock.sleep(20)
    assert progress.line(2) == "20/40 videos (10 before) · 600 frames · 30.0 frames/s · ETA 0:40 · 1 failed · 2 workers"
    assert progress.line(1, num_starting=3).endswith(" · 1 worker (3 starting)")


def test_rows_that_the_driver_writes_itself_promise_no_end(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    progress.committed([ended(f"v{number}", Status.NO_PROMPTS) for number in range(20)])
    clock.sleep(1)
    progress.follow(FakeExecutor(1, lambda item: Status.OK))
    assert "ETA –" in progress.line(1)
    clock.sleep(10)
    progress.committed([ended("labeled")])
    assert "ETA 1:30" in progress.line(1)


def test_failed_videos_are_no_labeled_ones_per_minute(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    progress.committed([ended("good"), *(ended(f"bad {number}", Status.FAILED, "input") for number in range(9))])
    clock.sleep(10)
    progress.write_status("running", 1, num_starting=2)
    status = json.loads(disk_storage.read("_status.json"))
    assert status["videos_per_second"] == 0.1
    assert (status["num_workers"], status["num_workers_starting"]) == (1, 2)


def test_before_anything_is_done_no_time_is_promised(disk_storage: JobStorage, clock: Clock) -> None:
    assert "ETA –" in progress_of(disk_storage, clock).line(1)


def test_the_rate_is_that_of_the_last_two_minutes(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    for _ in range(100):
        clock.sleep(10)
        progress.tick("running", 1)
    progress.worked(WorkDone(1200, {}))
    assert "10.0 frames/s" in progress.line(1)


def test_frames_that_are_computed_again_are_counted_once_and_are_work_all_the_same(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    progress.worked(WorkDone(100, {}))
    progress.worked(WorkDone(0, {}, num_again=100))
    clock.sleep(20)
    assert " · 100 frames · 10.0 frames/s · " in progress.line(1)


def test_a_log_gets_a_line_every_ten_seconds_and_a_terminal_one_that_moves(
    disk_storage: JobStorage, clock: Clock
) -> None:
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        progress = progress_of(disk_storage, clock, stream)
        for _ in range(21):
            progress.tick("running", 1)
            clock.sleep(1)
    assert log.getvalue().count("\n") == 3
    assert terminal.getvalue().count("\r") == 21
    assert "\n" not in terminal.getvalue()


def test_the_status_file_holds_counts_rates_and_the_last_error(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    progress.worked(WorkDone(600, {"propagate": 1.5}))
    progress.worked(WorkDone(0, {"propagate": 0.5}))
    progress.committed([ended("a"), ended("b", Status.FAILED, "input", "no such file")])
    progress.last_error = "worker w1 died"
    clock.sleep(10)
    progress.has_workers(3)
    progress.write_status("running", 3)
    status = json.loads(disk_storage.read("_status.json"))
    assert status["worker_seconds"] == 30.0
    assert status["state"] == "running"
    assert status["num_ended"] == {"ok": 1, "failed": 1, "quarantined": 0, "no_prompts": 0}
    assert (status["num_frames"], status["frames_per_second"], status["num_workers"]) == (600, 60.0, 3)
    assert status["stage_seconds"] == {"propagate": 2.0}
    assert status["failures"] == {"input": 1}
    assert status["last_error"] == "worker w1 died"


class Away(JobStorage):
    """A store that answers no write."""

    def replace(self, path: str, data: bytes) -> None:
        raise StorageError("away")


def test_a_store_that_is_away_does_not_hold_the_job_up(clock: Clock, tmp_path: Path) -> None:
    progress = progress_of(Away(str(tmp_path)), clock)
    progress.tick("running", 1)
    progress.write_status("running", 1)
    assert progress.last_error == "away"


class Hanging(JobStorage):
    """A store that takes a document when it is told to; `seen` are those that it took, in their order."""

    may_go: ClassVar[threading.Event]
    seen: ClassVar[list[int]]

    def replace(self, path: str, data: bytes) -> None:
        assert self.may_go.wait(100)
        self.seen.append(json.loads(data)["num_workers"])


def test_a_store_that_hangs_does_not_hold_the_loop(clock: Clock, tmp_path: Path) -> None:
    """What was to be written meanwhile is left out, and the last document is the last one that is written."""
    Hanging.may_go, Hanging.seen = threading.Event(), []
    progress = progress_of(Hanging(str(tmp_path)), clock)
    for num_workers in (1, 2, 3):
        progress.tick("running", num_workers)
        clock.sleep(10)
    assert Hanging.seen == []
    Hanging.may_go.set()
    progress.write_status("done", 0)
    assert Hanging.seen == [1, 0]


def test_a_terminal_that_has_gone_does_not_hold_the_job_up(disk_storage: JobStorage, clock: Clock) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads")

    progress = progress_of(disk_storage, clock, Gone())
    progress.tick("running", 1)
    progress.end_line()
    progress.write_status("running", 1)
    assert disk_storage.read("_status.json")


def test_the_summary_groups_failures_and_names_the_command_that_retries_them(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    progress.committed([ended(f"v{number}", Status.FAILED, "input", "no such file") for number in range(5)])
    progress.committed([ended("p", Status.QUARANTINED, "crash", "in flight at 3 deaths"), ended("fine")])
    printed = summary(progress, JobCounts(progress.by_status), "s3://k:secret@b/out?sig=1", "maskmill: done")
    assert "videos   7 (1 ok, 5 failed, 1 quarantined)" in printed
    assert "failed      5 × input: no such file\n            v0, v1, v2, …\n" in printed
    assert "quarantined 1 × crash: in flight at 3 deaths\n            p\n" in printed
    assert "fix the cause, then run the same command with 'retry=[failed,quarantined]'" in printed
    assert "label the 5 failed and 1 quarantined videos again" in printed
    assert "masks    s3://***@b/out" in printed
    assert "secret" not in printed


def test_the_summary_of_one_video_is_in_the_singular_and_says_how_to_try_again(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    progress.worked(WorkDone(1, {}))
    progress.committed([Outcome("v", Status.FAILED, "hash", 1, 5, "input", "no such file")])
    printed = summary(progress, JobCounts(progress.by_status), "out", "maskmill: all videos processed")
    assert "this run 1 video, 1 frame, 1 mask in" in printed
    assert "fix the cause, then run the same command with retry=failed to label" in printed


def test_masks_that_objects_keep_in_a_round_are_not_counted_as_those_of_the_run(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    progress.committed([Outcome("v", Status.OK, "hash", 58, 5, details=OutcomeDetails(2, 0, 0, num_masks_kept=44))])
    printed = summary(progress, JobCounts(progress.by_status), "out", "maskmill: all videos processed")
    assert "1 video, 0 frames, 14 masks in" in printed


def test_the_summary_names_labeled_videos_with_a_warning(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    progress.committed([ended("whole"), ended("half", message="7 of 24 frames could be read")])
    progress.committed([ended(f"more {number}", message="7 of 30 frames could be read") for number in range(3)])
    progress.committed([ended("other", message="cut off")])
    printed = summary(progress, JobCounts(progress.by_status), "out", "maskmill: all videos processed").splitlines()
    assert printed[3:7] == [
        "warned      4, such as 7 of 24 frames could be read",
        "            half, more 0, more 1, …",
        "warned      1 × cut off",
        "            other",
    ]


def test_the_summary_of_a_job_with_nothing_left_to_do_names_the_command_that_says_why_videos_failed() -> None:
    printed = summary(None, JobCounts({Status.OK: 2, Status.FAILED: 1}), "out/", "maskmill: all videos processed")
    assert "this run nothing was left to do\n" in printed
    assert "why      python -m pipeline.status output=out\n" in printed
    assert "retry=failed to label the 1 failed video again" in printed
    assert "why" not in summary(None, JobCounts({Status.OK: 2}), "out/", "maskmill: all videos processed")


def test_the_summary_of_an_output_that_does_not_stay_names_neither_tables_nor_commands(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    progress.committed([ended("fine"), ended("v", Status.FAILED, "input", "no such file")])
    printed = summary(progress, JobCounts(progress.by_status), None, "maskmill: done")
    assert printed.splitlines()[-2:] == ["failed      1 × input: no such file", "            v"]


def test_the_summary_of_a_run_that_only_removed_videos_gives_no_rates(disk_storage: JobStorage, clock: Clock) -> None:
    printed = summary(
        progress_of(disk_storage, clock), JobCounts({Status.OK: 2}, num_planned=2), "out", "maskmill: done"
    )
    assert "this run nothing was left to label\n" in printed
    assert "frames/s" not in printed


def test_the_summary_of_a_stopped_job_says_how_many_videos_there_are(disk_storage: JobStorage, clock: Clock) -> None:
    progress = progress_of(disk_storage, clock)
    stopped = summary(progress, JobCounts({Status.OK: 4}, num_planned=4, num_former=1), "out", "maskmill: stopped")
    assert "videos   4 of 5 (4 ok)\nformer   1 of them" in stopped
    assert "this run 0 videos, 0 frames" in stopped
    ended = summary(progress, JobCounts({Status.OK: 5}, num_planned=4, num_former=1), "out", "maskmill: done")
    assert "videos   5 (5 ok)\n" in ended
    round_ = summary(progress, JobCounts({Status.OK: 4}, num_planned=4, num_again=2), "out", "maskmill: stopped")
    assert "videos   4 (4 ok)\nround    2 videos still have their former masks\nthis run 0 videos, 0 frames" in round_


def test_the_summary_names_videos_that_keep_their_masks_and_how_they_are_tried_again(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    one = summary(progress, JobCounts({Status.OK: 4}, num_set_back={Status.FAILED: 1}), "out", "maskmill: done")
    assert (
        "kept     1 video could not be labeled again and keeps its former masks; other corrections, or retry=failed, "
        "let it be tried again\n"
    ) in one
    counts = JobCounts({Status.OK: 4}, num_set_back={Status.FAILED: 1})
    set_already = summary(progress, counts, "out", "maskmill: done", Retries(("failed",), 5))
    assert "; other corrections, or the next run (retry=failed is set, max_attempts=5), let it be tried" in set_already
    used_up = summary(progress, counts, "out", "maskmill: done", Retries(("failed",), 5, 0, 7, 1))
    assert "; other corrections, or a max_attempts= above 7 (retry=failed is set), let it be tried again\n" in used_up
    used_up = summary(progress, counts, "out", "maskmill: done", Retries((), 5, 0, 7, 1))
    assert "; other corrections, or retry=failed with a max_attempts= above 7, let it be tried again\n" in used_up
    both = {Status.FAILED: 1, Status.QUARANTINED: 2}
    some = summary(progress, JobCounts({Status.OK: 4}, num_set_back=both), "out", "done", Retries((), 5, 0, 7, 1))
    assert "let them be tried again; 1 of them needs also a max_attempts= above 7\n" in some
    three = summary(progress, JobCounts({Status.OK: 4}, num_set_back=both), "out", "maskmill: done")
    assert "kept     3 videos could not be labeled again and keep their former masks;" in three
    assert "or 'retry=[failed,quarantined]', let them be tried again\n" in three


def test_objects_that_failed_in_this_run_are_grouped_and_counted(disk_storage: JobStorage, clock: Clock) -> None:
    notes = (
        *(ObjectNote(n, Status.FAILED, f"object {n}, frame 0: box: x0 < x1") for n in range(2, 8)),
        ObjectNote(1, Status.OK, "frame 0: the model sees no object at the prompt; check where it is"),
    )
    details = OutcomeDetails(num_tracks=7, num_tracks_failed=6, num_tracks_warned=1, notes=notes)
    progress = progress_of(disk_storage, clock)
    progress.committed([Outcome("v", Status.OK, "hash", 1, 5, details=details)])
    counts = JobCounts(progress.by_status, ObjectCounts(7, 6, 1, num_videos_partly=1))
    printed = summary(progress, counts, "out", "maskmill: all videos processed")
    assert "objects  1 of 7 labeled, 6 failed, 1 with a warning (in ok videos)\n" in printed
    assert (
        "object      6, such as object 2, frame 0: box: x0 < x1\n"
        "            v object 2, v object 3, v object 4, …" in printed
    )
    assert "warned      1 × frame 0: the model sees no object at the prompt" in printed
    assert "retry=failed to label the 1 partly labeled video again" in printed
    progress.write_status("running", 1)
    status = json.loads(disk_storage.read("_status.json"))
    assert (status["num_objects_failed"], status["num_objects_warned"]) == (6, 1)


def test_a_stream_that_is_not_utf_8_gets_the_line_too(disk_storage: JobStorage, clock: Clock) -> None:
    written = io.BytesIO()
    progress = progress_of(disk_storage, clock, io.TextIOWrapper(written, "ascii", write_through=True))
    progress.tick("running", 1)
    assert b"10/40 videos (10 before) | 0 frames" in written.getvalue()


def test_seconds_of_workers_count_from_when_they_have_loaded_their_model(
    disk_storage: JobStorage, clock: Clock
) -> None:
    progress = progress_of(disk_storage, clock)
    clock.sleep(100)
    progress.follow(FakeExecutor(3, lambda item: Status.OK))
    clock.sleep(60)
    progress.tick("running", 0, 3)
    assert progress.worker_seconds == 0
    clock.sleep(10)
    progress.tick("running", 2, 1)
    clock.sleep(5)
    progress.has_workers(3)
    assert progress.worker_seconds == 2 * 10 + 3 * 5
