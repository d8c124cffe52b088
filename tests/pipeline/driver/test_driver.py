"""Whole jobs in this process with the small model: results, mistakes, going on, changes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.cluster.executor import Executor
from pipeline.commits.job_record import read_record, write_record
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import Ownership
from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.driver import driver
from pipeline.driver.executors import open_executor
from pipeline.driver.job import Job, check_device, open_job, plan_job
from pipeline.driver.run_record import RunRecord
from pipeline.driver.signals import StopSignals
from pipeline.errors import ConfigError, StoppedAtStart
from pipeline.inputs.plan import Plan
from pipeline.output.layout import log_entry
from pipeline.records import Report, WorkItem
from pipeline.run import main
from pipeline.standing import read_status
from pipeline.status import as_text
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.jobs import JobFolder, read_plainly
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def job(tmp_path: Path, small_checkpoint: Path) -> JobFolder:
    return JobFolder(tmp_path, small_checkpoint)


def noting() -> tuple[driver.Parts, list[str]]:
    """Parts of a job whose workers note which videos they are offered, and the notes."""
    seen: list[str] = []

    class Noting(Worker):
        def work(self, offers: Sequence[WorkItem]) -> Report:
            seen.extend(item.video_id for item in offers)
            return super().work(offers)

    return driver.Parts(partial(open_executor, make_worker=Noting)), seen


def noted(job: JobFolder, *overrides: str) -> tuple[int, list[str]]:
    """Run a job; its exit code, and which videos were labeled."""
    parts, seen = noting()
    return driver.run(job.config("cluster=serial", *overrides), parts), seen


def opened(job: JobFolder, *overrides: str) -> tuple[Job, Plan]:
    """A job as a driver sees it before it takes the job."""
    found = open_job(job.config("cluster=serial", *overrides))
    return found, plan_job(found)


def driven(planned: tuple[Job, Plan], parts: driver.Parts = driver.DEFAULT_PARTS) -> int:
    """Take a job that was opened before and carry out its plan; the exit code."""
    return driver.drive(*planned, RunRecord(None), parts).code


def test_a_job_from_tables_to_masks_that_a_notebook_can_read(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.write(["one", "two"], num_frames=4, num_objects=2).run() == 0
    masks = pq.read_table(job.output / "masks").to_pylist()
    assert len(masks) == 2 * 2 * 4
    assert {row["video_id"] for row in masks} == {"one", "two"}
    first = coco.decode(next(row for row in masks if row["frame_index"] == 0)["rle"])
    assert first.shape == (96, 128)
    assert 0.02 < first.mean() < 0.5
    videos = pq.read_table(job.output / "videos").to_pylist()
    assert [(row["status"], row["num_masks"], row["num_tracks"]) for row in videos] == [("ok", 8, 2)] * 2
    assert {row["segment"] for row in videos} == {path.stem for path in (job.output / "videos").iterdir()}
    record = read_record(JobStorage(str(job.output)))
    assert record is not None
    assert {row["config_hash"] for row in videos} == {record.config_hash}
    status = json.loads((job.output / "_status.json").read_text())
    assert (status["state"], status["num_ended"]["ok"], status["num_masks"]) == ("done", 2, 16)
    printed = capsys.readouterr().out
    assert "videos   2 (2 ok)" in printed
    assert f"{job.output}/masks/*.parquet" in printed


def test_a_signal_while_ray_starts_ends_the_job_as_any_stopped_one(
    job: JobFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: Job) -> contextlib.AbstractContextManager[Executor]:
        raise StoppedAtStart

    config = job.write(["one"]).config("cluster=serial", f"log_file={tmp_path / 'job.jsonl'}")
    assert driver.run(config, driver.Parts(stopped)) == 143
    assert "maskmill: stopped by a signal: the same command goes on from here" in capsys.readouterr().out
    assert json.loads((job.output / "_status.json").read_text())["state"] == "stopped"
    assert json.loads((tmp_path / "job.jsonl").read_text().splitlines()[-1])["exit_code"] == 143
    assert job.run() == 0


def test_a_finished_job_is_left_alone_without_torch_and_ray(job: JobFolder) -> None:
    assert job.write(["one"]).run() == 0
    before = job.files()
    script = (
        "import sys\nfrom pipeline.run import main\nfrom tests.support.calls import num_calls\n"
        "print(num_calls(lambda: globals().update(code=main(sys.argv[1:]))))\n"
        "print(sorted({'torch', 'ray'} & set(sys.modules)))\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *job.arguments()], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, num_called, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert int(num_called) < 4_000_000, "a million takes about a second"
    assert job.files() == before


BROKEN = {"text": "input", "missing": "input", "truncated": "input", "outside": "input"}


def test_four_broken_clips_of_twelve_are_failed_rows_and_the_others_are_labeled(job: JobFolder) -> None:
    good = [f"good{number}" for number in range(8)]
    job.write([*good, *BROKEN])
    folder = job.folder / "in"
    (folder / "text.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    (folder / "missing.mp4").unlink()
    whole = (folder / "truncated.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 3])
    prompts = job.rows("prompts")
    for row in prompts:
        if row["video_id"] == "outside":
            row["box_xyxy"] = [500.0, 500.0, 600.0, 600.0]
    job.rewrite("prompts", prompts)
    assert job.run() == 0
    found = job.tables()
    assert found.statuses == dict.fromkeys(good, "ok") | dict.fromkeys(BROKEN, "failed")
    assert {video_id: found.videos[video_id]["error_class"] for video_id in BROKEN} == BROKEN
    said = {video_id: found.videos[video_id]["message"] for video_id in BROKEN}
    assert "there is no such file" in said["missing"]
    assert "is of a format that is not read" in said["text"]
    assert "lies outside of the frame" in said["outside"]
    assert "truncated.mp4" in said["truncated"]
    assert set(found.masks["video_id"].to_pylist()) == set(good)
    tracks = {row["video_id"]: row["status"] for row in found.tracks.to_pylist()}
    assert tracks == found.statuses


def test_one_bad_object_of_a_video_does_not_lose_the_others(job: JobFolder) -> None:
    job.write(["clip"], num_objects=2)
    rows = job.rows("prompts")
    bad = {**rows[0], "object_id": 9, "box_xyxy": None, "points_xy": [[float("nan"), 3.0]], "point_labels": [1]}
    late = {**rows[0], "object_id": 10, "frame_index": 77}
    job.rewrite("prompts", [*rows, bad, late])
    assert job.run() == 0
    found = job.tables()
    assert found.statuses == {"clip": "ok"}
    assert dict(zip(found.tracks["object_id"].to_pylist(), found.tracks["status"].to_pylist(), strict=True)) == {
        1: "ok",
        2: "ok",
        9: "failed",
        10: "failed",
    }
    assert set(found.masks["object_id"].to_pylist()) == {1, 2}


def test_videos_without_prompts_and_duplicates_have_a_row(job: JobFolder, caplog: pytest.LogCaptureFixture) -> None:
    job.write(["one", "bare", "twice"])
    prompts = [row for row in job.rows("prompts") if row["video_id"] != "bare"]
    job.rewrite("prompts", [*prompts, {**prompts[0], "video_id": "unknown"}])
    videos = job.rows("videos")
    job.rewrite("videos", [*videos, {**videos[-1], "uri": "other.mp4"}])
    assert job.run() == 0
    assert job.tables().statuses == {"one": "ok", "bare": "no_prompts", "twice": "failed"}
    assert "'unknown'" in caplog.text
    before = job.files()
    assert job.run() == 0
    assert job.files() == before


def test_too_many_failed_videos_are_exit_code_4(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    job.write(["one", "two", "three"])
    for name in ("two", "three"):
        (job.folder / "in" / f"{name}.mp4").unlink()
    assert job.run() == 4
    assert "too many failures (2 of 3 videos, max_failed_fraction=0.5)" in capsys.readouterr().out
    assert json.loads((job.output / "_status.json").read_text())["state"] == "failures"
    assert job.run() == 4
    assert job.run("max_failed_fraction=0.7") == 0


def test_a_table_that_is_overwritten_under_a_job_costs_no_second_command_than_the_same(job: JobFolder) -> None:
    rows = job.write(["one", "two", "three"]).rows("prompts")
    planned = opened(job)
    job.rewrite("prompts", [*rows[1:], rows[0]])
    assert driven(planned) == 4
    code, seen = noted(job)
    assert (code, set(seen)) == (0, {"one", "two", "three"})
    assert noted(job) == (0, [])
    undisturbed = JobFolder(job.folder / "undisturbed", job.checkpoint).write(["one", "two", "three"])
    assert undisturbed.run() == 0
    assert job.tables().equals(undisturbed.tables())


def test_failed_videos_are_labeled_again_when_asked(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    job.write(["one", "two"])
    clip = job.folder / "in" / "two.mp4"
    whole = clip.read_bytes()
    clip.unlink()
    assert job.run() == 0
    assert "retry=failed" in capsys.readouterr().out
    clip.write_bytes(whole)
    assert job.run() == 0
    assert job.tables().statuses == {"one": "ok", "two": "failed"}
    entry = job.next_entry()
    assert noted(job, "retry=failed") == (0, ["two"])
    assert job.changes(entry) == {"two": ("again", "retry")}
    assert job.tables().statuses == {"one": "ok", "two": "ok"}
    assert job.tables().masks.equals(read_plainly(job.output))
    assert {name: row["attempts"] for name, row in job.tables().videos.items()} == {"one": 1, "two": 2}


def test_retry_takes_videos_with_objects_that_failed_until_that_has_happened_too_often(
    job: JobFolder, caplog: pytest.LogCaptureFixture
) -> None:
    rows = job.write(["one", "two"]).rows("prompts")
    wrong = [rows[0] | {"object_id": 9, "box_xyxy": [50.0, 50.0, 10.0, 10.0]}]
    job.rewrite("prompts", rows + wrong)
    assert noted(job) == (0, ["one", "two"])
    for attempt in (2, 3):
        assert noted(job, "retry=failed") == (0, ["one"])
        assert job.tables().videos["one"]["attempts"] == attempt
    assert noted(job, "retry=failed") == (0, [])
    assert "1 video not tried again, because 3 attempts with the same prompts and file ended badly" in caplog.text
    assert "Another file, other prompts or a higher max_attempts= lets them be tried again" in caplog.text
    assert "again    give a max_attempts= above 3, another file or other prompts to label the 1 partly" in as_text(
        read_status(JobStorage(str(job.output)))
    )
    clip = job.folder / "in" / "one.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    assert noted(job, "retry=failed") == (0, ["one"]), "another file is tried anew"
    assert noted(job, "retry=failed", "max_attempts=1") == (0, [])
    job.rewrite("prompts", [*rows, wrong[0] | {"box_xyxy": [60.0, 50.0, 10.0, 10.0]}])
    assert noted(job, "retry=failed") == (0, ["one"])
    assert job.tables().videos["one"]["attempts"] == 1, "other prompts are tried anew"
    assert noted(job, "retry=failed") == (0, ["one"])


def test_a_night_in_which_every_new_video_fails_is_not_lost_among_good_nights(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a", "b", "c", "d"]
    job.write([*names, "new"])
    rows = job.rows("prompts")
    job.rewrite("prompts", rows[:4])
    videos = job.rows("videos")
    job.rewrite("videos", videos[:4])
    assert job.run() == 0
    (job.folder / "in" / "new.mp4").write_bytes(bytes(100))
    job.rewrite("prompts", rows)
    job.rewrite("videos", videos)
    capsys.readouterr()
    assert job.run() == 4
    assert "too many failures (1 of the 1 video of this run, max_failed_fraction=0.5)" in capsys.readouterr().out
    assert read_status(JobStorage(str(job.output))).standing.exit_code == 4
    assert job.run() == 0, "this run had no videos of its own, and of all of them few failed"
    assert read_status(JobStorage(str(job.output))).standing.exit_code == 0
    assert job.run("retry=failed") == 0, "a video that is tried again was chosen for having failed"


def test_new_videos_and_changed_prompts_are_labeled_and_nothing_else(job: JobFolder, tmp_path: Path) -> None:
    job.write(["one", "two", "three"])
    assert job.run() == 0
    before = job.tables()
    job.write(["one", "two", "three", "four"])
    prompts = job.rows("prompts")
    for row in prompts:
        if row["video_id"] == "two":
            row["box_xyxy"] = [value + 2.0 for value in row["box_xyxy"]]
        row["category"] = "does not matter"
    job.rewrite("prompts", prompts[::-1])
    entry = job.next_entry()
    code, seen = noted(job)
    assert (code, sorted(seen)) == (0, ["four", "two"])
    assert job.changes(entry) == {"four": ("added", ""), "two": ("again", "prompts")}
    after = job.tables()
    assert set(after.statuses) == {"one", "two", "three", "four"}
    assert after.masks.num_rows == 4 * 3
    same = after.masks.filter(pa.compute.is_in(after.masks["video_id"], pa.array(["one", "three"])))
    assert same.equals(before.masks.filter(pa.compute.is_in(before.masks["video_id"], pa.array(["one", "three"]))))
    fresh = JobFolder(tmp_path / "fresh")
    assert fresh.run(*job.arguments(f"output={fresh.output}")) == 0
    # Videos that are not labeled again keep the category that they had.
    assert after.masks.drop_columns("category").equals(fresh.tables().masks.drop_columns("category"))
    assert after.masks.equals(read_plainly(job.output))


def test_other_options_are_refused_with_the_difference_unless_asked_for(
    job: JobFolder, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    job.write(["one", "two"], num_frames=4)
    assert job.run() == 0
    before = job.files()
    assert job.run("frames.stride=2") == 2
    said = capsys.readouterr().err
    assert "frames.stride: 1 in the output, 2 now" in said
    assert "relabel=true" in said
    assert job.files() == before
    entry = job.next_entry()
    assert job.run("frames.stride=2", "relabel=true") == 0
    assert job.changes(entry) == dict.fromkeys(("one", "two"), ("again", "relabel"))
    assert "the rows of 2 videos are removed" in caplog.text
    assert job.tables().masks["frame_index"].to_pylist() == [0, 2] * 2
    assert job.tables().masks.equals(read_plainly(job.output))
    relabeled = job.files()
    assert job.run("frames.stride=2", "relabel=true") == 0
    assert job.files() == relabeled


def test_an_output_that_was_made_by_discovery_is_refused_for_prompts_by_that_reason(tmp_path: Path) -> None:
    output = f"output={tmp_path / 'out'}"
    found = open_job(job_config("discover", ["videos=v", "discover.points_per_side=16", output]))
    write_record(found.storage, found.record)
    with pytest.raises(ConfigError) as caught:
        open_job(job_config("label", ["prompts=p", output]))
    (said,) = str(caught.value).splitlines()
    assert said.startswith(f"{output} was made by discovery: ")
    assert "give conf=discover discover.points_per_side=16 and leave prompts= out. To keep both, name another" in said
    with pytest.raises(ConfigError, match=r"discover\.points_per_side: 16 in the output, 32 now"):
        open_job(job_config("discover", ["videos=v", output]))


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_directions_cover_the_frames_that_they_promise(direction: str, job: JobFolder) -> None:
    job.write(["clip"], num_frames=5)
    prompts = [{**row, "frame_index": 2} for row in job.rows("prompts")]
    job.rewrite("prompts", prompts)
    assert job.run(f"propagate.direction={direction}") == 0
    expected = {"forward": [2, 3, 4], "backward": [0, 1, 2], "both": [0, 1, 2, 3, 4]}[direction]
    assert job.tables().masks["frame_index"].to_pylist() == expected


def test_a_running_driver_is_not_disturbed(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    job.write(["one"])
    storage = JobStorage(str(job.output))
    log = CommitLog(storage, "other")
    log.load()
    ownership = Ownership(storage, log)
    ownership.acquire()
    try:
        assert job.run() == 3
        assert "is at work on this output" in capsys.readouterr().err
    finally:
        ownership.release()
    assert job.run() == 0


def test_a_plan_is_made_anew_if_another_driver_was_at_work_meanwhile(job: JobFolder) -> None:
    """It labeled everything between our plan and our taking the job."""
    job.write(["one", "two"])
    planned = opened(job)
    assert noted(job) == (0, ["one", "two"])
    parts, seen = noting()
    assert driven(planned, parts) == 0
    assert seen == []
    assert job.tables().statuses == {"one": "ok", "two": "ok"}


def test_a_job_that_goes_on_with_a_single_driver_says_so_to_compactions(job: JobFolder) -> None:
    prompts = job.write(["one", "two"]).rows("prompts")
    job.rewrite("prompts", [])
    assert job.run() == 0
    job.rewrite("prompts", prompts[:1])
    assert job.run("single_driver=true") == 0
    record = read_record(JobStorage(str(job.output)))
    assert record is not None
    assert record.has_single_driver


def test_other_options_of_a_job_without_a_finished_video_are_told_that_it_may_begin_anew(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has stopped a wrong command at once read that the output held masks, of which there were none."""
    job.write(["a"])
    assert job.run("stop_after=0.001") == 0
    assert job.run("frames.stride=2") == 2
    said = capsys.readouterr().err
    assert "was begun with another model or with other options, and no video is finished yet" in said
    assert "frames.stride: 1 in the output, 2 now" in said
    assert "relabel=true begins it anew" in said
    assert job.run("frames.stride=2", "relabel=true") == 0


def test_another_drivers_other_options_are_noticed_after_taking_the_job(job: JobFolder) -> None:
    job.write(["one"])
    planned = opened(job)
    assert job.run("frames.stride=2") == 0
    with pytest.raises(ConfigError, match=r"frames\.stride: 2 in the output, 1 now"):
        driven(planned)


def test_relabeling_notices_another_drivers_first_run(job: JobFolder) -> None:
    job.write(["one"], num_frames=6)
    planned = opened(job, "relabel=true", "frames.stride=3")
    assert job.run() == 0
    assert driven(planned) == 0
    assert job.tables().masks["frame_index"].to_pylist() == [0, 3]


def test_an_output_inside_the_input_is_refused(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tables would be input of the next run."""
    job.write(["one"])
    folder = job.folder / "in"
    assert job.run(f"videos={folder}", f"output={folder / 'out'}") == 2
    assert (
        f"lies in videos={folder}, and the tables of a job there would be input of the next run"
        in capsys.readouterr().err
    )
    assert not (folder / "out").exists()
    assert job.run(f"videos={folder}/videos*", f"output={folder / 'out'}") == 0


def test_an_output_is_inside_or_beside_the_input_however_it_is_written(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write(["one"])
    folder = job.folder / "in"
    for place in (str(folder), f"{folder}/../in/out", f"file://{folder}/out"):
        assert job.run(f"videos={folder}", f"output={place}", "check=true") == 2
        assert "lies in videos=" in capsys.readouterr().err
    assert job.run(f"videos={folder}", f"output={folder}/../beside", "check=true") == 0


class StopOnceRowsAreThere(StopSignals):
    """A signal that comes when the job has published its first rows."""

    def __init__(self, output: Path) -> None:
        self._output = output
        super().__init__()

    @property
    def requested(self) -> bool:
        return any((self._output / "videos").glob("*"))

    @requested.setter
    def requested(self, value: bool) -> None:
        assert not value, "nobody else stops this job"


def test_a_stop_while_rows_without_work_are_recorded_ends_with_143(job: JobFolder) -> None:
    """2,500 videos have no prompts; the driver publishes the rows of 2,000 at a time."""
    job.write(["one"])
    (one,) = job.rows("videos")
    job.rewrite("videos", [one, *({**one, "video_id": f"bare-{number}"} for number in range(2500))])
    parts = driver.Parts(open_signals=partial(StopOnceRowsAreThere, job.output))
    assert driver.run(job.config("cluster=serial"), parts) == 143
    assert Counter(job.tables().statuses.values()) == {"no_prompts": 2000}
    assert job.run() == 0
    assert Counter(job.tables().statuses.values()) == {"no_prompts": 2500, "ok": 1}


@contextlib.contextmanager
def stopped_with_work_in_flight(job: Job) -> Iterator[Executor]:
    """The signal comes when a worker has been given its video and has not yet labeled it."""
    with open_executor(job) as executor, pytest.MonkeyPatch.context() as patch:
        work = executor.work

        def give_and_stop(worker_id: str, offers: Sequence[WorkItem]) -> None:
            work(worker_id, offers)
            os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(executor, "work", give_and_stop)
        yield executor


def test_a_stop_after_which_nothing_is_left_is_the_end_of_the_job(job: JobFolder) -> None:
    job.write(["one"])
    assert driver.run(job.config("cluster=serial"), driver.Parts(stopped_with_work_in_flight)) == 0
    assert job.tables().statuses == {"one": "ok"}
    assert json.loads((job.output / "_status.json").read_text())["state"] == "done"


class DiesAfterItsSecondSegment(Worker):
    """Takes the driver's process along, between its second publication and the driver's log entry of it.

    It labels one video a call, and goes on when the segment before is in the log: one segment a report and one in each
    entry, however fast the threads that publish and commit are.
    """

    num_segments = 0
    inbox: Sequence[WorkItem] = ()

    def work(self, offers: Sequence[WorkItem]) -> Report:
        output = str(self.settings.job.storage)
        wait_until(lambda: tables.open(output).videos().num_rows == self.num_segments, "commit of the segment before")
        item, *self.inbox = (*self.inbox, *offers)
        report = super().work([item])
        while not report.segments:
            report = super().work(())
        self.num_segments += 1
        if self.num_segments == 2:
            raise SystemExit("killed here")
        return report


def test_published_segments_of_a_killed_driver_are_adopted(job: JobFolder) -> None:
    job.write(["one", "two", "three"])
    parts = driver.Parts(partial(open_executor, make_worker=DiesAfterItsSecondSegment))
    with pytest.raises(SystemExit):
        driver.run(job.config("cluster=serial", "flush.seconds=0", "worker.beat_seconds=0.01"), parts)
    num_published = len(list((job.output / "videos").iterdir()))
    assert num_published == 2
    assert len(job.tables().videos) == 1
    assert noted(job) == (0, ["three"])
    assert set(job.tables().statuses.values()) == {"ok"}
    assert job.tables().masks.equals(read_plainly(job.output))


class StoppedAtTheFourth(Worker):
    """The signal comes when the worker is given the fourth of its videos."""

    num_offered = 0

    def work(self, offers: Sequence[WorkItem]) -> Report:
        is_stopped = self.num_offered < 4 <= self.num_offered + len(offers)
        self.num_offered += len(offers)
        if is_stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().work(offers)


def test_a_stop_signal_ends_with_143_and_the_same_command_goes_on(job: JobFolder) -> None:
    job.write([f"clip{number}" for number in range(6)])
    parts = driver.Parts(partial(open_executor, make_worker=StoppedAtTheFourth))
    assert driver.run(job.config("cluster=serial", "worker.beat_seconds=0.01"), parts) == 143
    finished = set(job.tables().statuses)
    assert 2 <= len(finished) < 6
    assert json.loads((job.output / "_status.json").read_text())["state"] == "stopped"
    code, seen = noted(job)
    assert code == 0
    assert not finished & set(seen)
    assert len(job.tables().statuses) == 6


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "videos.parquet").unlink(), "videos.parquet does not exist"),
        (lambda folder: (folder / "prompts.parquet").write_bytes(b"no"), "cannot be read as Parquet"),
        (lambda folder: pq.write_table(pa.table({"a": [1]}), folder / "prompts.parquet"), "has no column video_id"),
    ],
)
def test_a_table_that_cannot_be_used_is_exit_code_2_and_writes_nothing(
    spoil, said: str, job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    spoil(job.write(["one"]).folder / "in")
    assert job.run() == 2
    assert said in capsys.readouterr().err
    assert not job.output.exists()


def test_an_empty_table_is_a_job_without_videos(job: JobFolder) -> None:
    job.write(["one"])
    job.rewrite("videos", [])
    assert job.run() == 0
    assert job.output.exists()


def test_a_model_that_does_not_load_ends_the_job_resumably(
    job: JobFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"no weights")
    job.write(["one"])
    assert job.run(f"model.checkpoint={folder}") == 1
    assert "no worker could start" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["serial", "local"])
def test_a_gpu_that_this_machine_does_not_have_is_exit_code_2_before_anything_starts(
    kind: str, job: JobFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job.write(["one"])
    assert main(job.arguments(f"cluster={kind}", "model.device=cuda")) == 2
    said = capsys.readouterr().err
    assert "model.device=cuda, but torch finds no GPU here" in said
    assert "leave model.device out" in said
    assert not job.output.exists()


def test_a_driver_without_a_gpu_may_have_workers_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model, cluster = ModelConfig(name="mini", checkpoint="mini", device="cuda"), ClusterConfig(kind="existing")
    check_device(JobConfig(model=model, cluster=cluster))


def test_prompts_alone_can_name_the_videos(job: JobFolder) -> None:
    videos, prompts = write_job_inputs(job.folder / "in", [moving_clip("clip", num_frames=2, num_objects=1)])
    rows = pq.read_table(prompts).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "uri": str(videos.parent / "clip.mp4")} for row in rows]), prompts)
    arguments = [f"prompts={prompts}", f"output={job.output}", "cluster=serial"]
    assert main(arguments) == 0
    assert job.tables().statuses == {"clip": "ok"}


def test_a_job_of_a_newer_version_is_refused_in_one_line(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    storage = JobStorage(str(job.output))
    CommitLog(storage, "newer").claim()
    storage.replace(log_entry(0), json.dumps(json.loads(storage.read(log_entry(0))) | {"schema_version": 99}).encode())
    assert job.write(["a"], num_frames=1).run() == 2
    assert capsys.readouterr().err.splitlines() == [
        f"maskmill: {storage}/{log_entry(0)} was written by a newer maskmill, in version 99; this one reads versions "
        "up to 1. Use the newer maskmill for this output."
    ]
