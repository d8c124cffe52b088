"""Runs with all that is around them, in this process: what follows, what is written, and who is told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.executor import Executor
from pipeline.commits.history import Kind
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import Ownership
from pipeline.commits.read_history import read_history
from pipeline.commits.run_document import RunDocument, keep_run
from pipeline.driver import driver
from pipeline.driver.job import Job
from pipeline.run import main
from pipeline.schedule import schedule
from pipeline.schedule.notify import Tries
from pipeline.storage.job_storage import JobStorage
from tests.support.jobs import JobFolder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
SECRET = "T0P-secret"


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> JobFolder:
    """A job of two videos that has ended well, by a plain run."""
    job = JobFolder(tmp_path_factory.mktemp("labeled"), small_checkpoint).write(["one", "two"], num_frames=2)
    assert job.run() == 0
    return job


@pytest.fixture
def job(labeled: JobFolder, tmp_path: Path) -> JobFolder:
    """A copy of it."""
    shutil.copytree(labeled.folder, tmp_path, dirs_exist_ok=True)
    return JobFolder(tmp_path, labeled.checkpoint)


def words(job: JobFolder, *overrides: str) -> list[str]:
    return ["conf=nightly", *job.arguments("cluster=serial", f"notify=cat > {job.folder}/told", *overrides)]


def told(job: JobFolder) -> dict[str, Any] | None:
    """What somebody was told; it is told once."""
    path = job.folder / "told"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return found


def document(job: JobFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.output / "last_run.json").read_text())
    return found


def codes(document: dict[str, Any]) -> dict[str, int | None]:
    return {step["step"]: step["exit_code"] for step in document["after"]}


def new_video(job: JobFolder, name: str = "three") -> None:
    """One more row in both tables, whose file is that of another video."""
    shutil.copy(job.folder / "in" / "one.mp4", job.folder / "in" / f"{name}.mp4")
    videos, prompts = job.rows("videos"), job.rows("prompts")
    job.rewrite("videos", [*videos, videos[0] | {"video_id": name, "uri": f"{name}.mp4"}])
    job.rewrite("prompts", [*prompts, prompts[0] | {"video_id": name}])


def test_videos_whose_rows_went_wrong_after_they_were_labeled_are_told_each_night(job: JobFolder) -> None:
    """A second row of a finished id is a video that nobody labels: it was told by a warning alone."""
    videos = job.rows("videos")
    job.rewrite("videos", [*videos, videos[0]])
    for _ in range(2):
        assert main(words(job, "notify_on=always")) == 0
        found = document(job)
        assert (found["state"], found["videos"]["ok"]) == ("done", 2)
        expected = "all videos processed; 1 video with wrong rows in the tables stays as it was"
        assert found["message"] == expected
    job.rewrite("videos", videos)
    assert main(words(job, "notify_on=always")) == 0
    assert document(job)["message"] == "all videos processed"


def test_the_end_document_of_a_run_has_its_counts(job: JobFolder) -> None:
    (job.folder / "in" / "bad.mp4").write_bytes(b"no film")
    new_video(job)
    videos, prompts = job.rows("videos"), job.rows("prompts")
    job.rewrite("videos", [*videos, videos[0] | {"video_id": "bad", "uri": "bad.mp4"}])
    job.rewrite("prompts", [*prompts, prompts[0] | {"video_id": "bad"}])
    assert main(words(job, "price_per_hour=2.5", "notify_on=always")) == 0
    found = document(job)
    assert found == told(job)
    assert (found["state"], found["exit_code"], found["message"]) == ("done", 0, "all videos processed")
    assert found["num_ended"] == {"ok": 1, "failed": 1, "quarantined": 0, "no_prompts": 0}
    assert found["videos"] == {"ok": 3, "failed": 1, "quarantined": 0, "no_prompts": 0}
    assert (found["num_planned"], found["num_before_this_run"], found["num_waiting"]) == (4, 2, 0)
    assert (found["num_frames"], found["num_masks"], found["failures"]) == (2, 2, {"input": 1})
    (cause,) = found["causes"]
    assert (cause["kind"], cause["error_class"], cause["count"]) == ("failed", "input", 1)
    assert found["cost"] == pytest.approx(found["worker_seconds"] / 3600 * 2.5, abs=1e-3)
    assert datetime.fromisoformat(found["started_at"]) <= datetime.fromisoformat(found["ended_at"])
    assert found["doubt"]["num_videos"] == 1
    night = read_history(JobStorage(str(job.output)), found["entry"])
    assert sorted(one.video_id for one in night.of_kind(Kind.ADDED)) == ["bad", "three"], "those of this run alone"
    assert len(list((job.output / "_runs").iterdir())) == 2, "a plain run and this one"


def test_a_run_with_nothing_to_do_needs_neither_torch_nor_ray_and_says_that_it_was_there(job: JobFolder) -> None:
    script = (
        "import sys\nfrom pipeline.run import main\ncode = main(sys.argv[1:])\n"
        "print(sorted({'torch', 'ray'} & set(sys.modules)))\nsys.exit(code)"
    )
    hook = f"after.hooks=date >> {job.folder}/hooked"
    assert main(words(job, hook)) == 0, "it takes the step, which no run has taken"
    night = words(job, hook, "stop_after=4h", "cluster=local")
    done = subprocess.run([sys.executable, "-c", script, *night], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert len((job.folder / "hooked").read_text().splitlines()) == 1
    assert document(job)["after"][0]["message"] == "nothing new"


def test_a_plain_run_with_nothing_to_do_changes_no_file(job: JobFolder) -> None:
    before = job.files()
    assert job.run() == 0
    assert job.files() == before


def test_a_step_that_fails_is_told_and_comes_again_until_it_succeeds(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file = job.folder / "night.yaml"
    place = job.folder / "published"
    job_file.write_text(
        f"""
model: mini
cluster: serial
notify: cat > {job.folder}/told
notify_on: failure
after:
  export: [{{format: coco, to: {job.folder}/coco, where: nonsense > 1}}]
  hooks:
    - "cat > {place}"
"""
    )
    night = [f"conf={job_file}", *job.arguments()]
    new_video(job)
    assert main(night) == 5
    assert len(job.tables().videos) == 3
    assert "1 step after the run failed: export coco" in capsys.readouterr().err
    found = told(job)
    assert found is not None
    assert found == document(job)
    assert codes(found) == {f"export coco {job.folder}/coco": 2, "hook 1": None}
    assert "nonsense" in found["after"][0]["message"]
    assert not place.exists(), "a hook waits for all steps before it"

    job_file.write_text(job_file.read_text().replace("nonsense", "area_mean"))
    assert main(night) == 0
    assert told(job) is None
    assert codes(document(job)) == {f"export coco {job.folder}/coco": 0, "hook 1": 0}
    assert (job.folder / "coco" / "manifest.json").exists()
    assert codes(json.loads(place.read_text())) == {f"export coco {job.folder}/coco": 0}

    job_file.write_text(job_file.read_text().replace("hooks:\n", "hooks:\n    - exit 7\n"))
    num_kept = len(list((job.output / "_runs").iterdir()))
    assert main(night) == 5
    assert document(job)["num_ended"] == {}, "nothing was left to do"
    assert len(list((job.output / "_runs").iterdir())) == num_kept + 1, "why a step failed is kept"
    job_file.write_text(job_file.read_text().replace("exit 7", "exit 0"))
    assert main(night) == 0

    place.unlink()
    assert main(night) == 0
    assert set(codes(document(job)).values()) == {None}
    assert not place.exists()


def test_after_a_night_of_failures_the_report_alone_is_written(job: JobFolder) -> None:
    new_video(job)
    (job.folder / "in" / "three.mp4").write_bytes(b"no video")
    steps = [f"after.report={job.folder}/report.html", f"after.hooks=touch {job.folder}/hook"]
    assert main(words(job, "max_failed_fraction=0", *steps)) == 4
    found = document(job)
    assert (found["exit_code"], found["state"]) == (4, "failures")
    assert codes(found) == {f"report {job.folder}/report.html": 0}
    assert "three" in (job.folder / "report.html").read_text()
    assert not (job.folder / "hook").exists()
    assert told(job) == found


def test_steps_are_taken_again_when_the_labels_have_changed_or_when_that_is_asked_for(job: JobFolder) -> None:
    hook = [f"after.hooks=echo x >> {job.folder}/hooked"]
    counts = []
    for more in ([], [], ["after.always=true"]):
        assert main(words(job, *hook, *more)) == 0
        counts.append((job.folder / "hooked").read_text().count("x"))
    new_video(job)
    assert main(words(job, *hook)) == 0
    counts.append((job.folder / "hooked").read_text().count("x"))
    assert counts == [1, 1, 2, 3]


def test_a_signal_in_a_step_ends_it_and_the_next_run_takes_it_again(job: JobFolder) -> None:
    stopped = (
        f"after.hooks=test -e {job.folder}/second || (touch {job.folder}/second; kill -TERM {os.getpid()}; sleep 1000)"
    )
    assert main(words(job, stopped, "notify_on=always")) == 143
    found = document(job)
    assert (found["exit_code"], found["state"]) == (143, "stopped")
    assert "a step after the run" in found["message"]
    assert main(words(job, stopped)) == 0
    assert codes(document(job)) == {"hook 1": 0}


@contextlib.contextmanager
def somebody_at_work(job: JobFolder) -> Iterator[str]:
    """Another driver holds the job."""
    storage = JobStorage(str(job.output))
    log = CommitLog(storage, "the-other-one")
    log.load()
    owner = Ownership(storage, log)
    owner.acquire()
    try:
        yield "the-other-one"
    finally:
        owner.release()


@pytest.mark.parametrize("is_new", [True, False], ids=["at work", "in the steps after its run"])
def test_a_second_start_says_who_owns_the_job_and_leaves_the_document_alone(
    is_new: bool, job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = document(job)
    if is_new:
        new_video(job)
    with somebody_at_work(job) as owner:
        assert main(words(job, f"after.hooks=touch {job.folder}/hooked", "notify_on=always")) == 3
    assert f"driver {owner} is at work on this output" in capsys.readouterr().err
    assert document(job) == before
    found = told(job)
    assert found is not None
    assert (found["state"], found["exit_code"]) == ("owned", 3)
    assert not (job.folder / "hooked").exists()


def test_a_run_that_is_refused_is_told_and_written_down(job: JobFolder) -> None:
    before = document(job)
    with somebody_at_work(job):
        assert main(words(job, "frames.stride=2", "notify_on=failure")) == 2
    assert told(job) is not None
    assert document(job) == before, "the other one has the last word"
    assert main(words(job, "frames.stride=2", "notify_on=failure")) == 2
    found = document(job)
    assert (found["state"], found["exit_code"]) == ("refused", 2)
    assert "frames.stride: 1 in the output, 2 now" in found["message"]


def test_a_run_that_is_refused_at_its_first_night_makes_no_output(job: JobFolder) -> None:
    shutil.rmtree(job.output)
    assert main(words(job, "model.checkpoint=/nowhere/at/all")) == 2
    assert not job.output.exists()
    found = told(job)
    assert found is not None
    assert found["state"] == "refused"


def test_a_fault_of_the_program_is_told_too(job: JobFolder) -> None:
    def broken(_: Job) -> contextlib.AbstractContextManager[Executor]:
        raise RuntimeError("nobody has thought of this")

    new_video(job)
    config = job.config("cluster=serial", f"notify=cat > {job.folder}/told", "notify_on=failure")
    with pytest.raises(RuntimeError):
        schedule.run(config, schedule.Parts(driver.Parts(broken)))
    found = told(job)
    assert found is not None
    assert (found["state"], found["exit_code"]) == ("crashed", 1)
    assert "nobody has thought of this" in found["message"]
    assert document(job) == found


def test_a_night_that_is_worse_than_the_week_is_told_although_it_ended_well(job: JobFolder) -> None:
    for day in range(1, 8):
        ended = {"ok": 300, "failed": 1}
        earlier = NOW - timedelta(days=day)
        facts = {"output": "", "ended_at": "", "seconds": 1.0, "state": "done", "exit_code": 0, "message": ""}
        keep_run(JobStorage(str(job.output)), RunDocument(started_at=earlier.isoformat(), num_ended=ended, **facts))
    new_video(job)
    for name in ("bad", "worse"):
        new_video(job, name)
        (job.folder / "in" / f"{name}.mp4").write_bytes(b"no film")
    parts = schedule.Parts(now=lambda: NOW)
    config = job.config(
        "cluster=serial",
        f"notify=cat > {job.folder}/told",
        "notify_on=worse",
        "max_failed_fraction=0.9",
        f"after.hooks=cat > {job.folder}/given",
    )
    assert schedule.run(config, parts) == 0
    found = told(job)
    assert found is not None
    assert found["worse"] == ["66.7% of its videos failed, 0.3% in the week before"]
    assert json.loads((job.folder / "given").read_text())["worse"] == found["worse"], (
        "hooks may publish good nights only"
    )
    assert found["started_at"] == NOW.isoformat()


def test_secrets_are_in_no_file_and_in_no_line(
    job: JobFolder, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    new_video(job)
    secrets = [
        f"notify=echo {SECRET} >&2; exit 3",
        f"after.hooks=true {SECRET}",
        f"storage_options.secret={SECRET}",
        f"log_file={job.folder}/log.jsonl",
    ]
    parts = schedule.Parts(tries=Tries(sleep=lambda seconds: None))
    assert schedule.run(job.config("cluster=serial", *secrets), parts) == 0
    printed = capfd.readouterr()
    assert "notify=: not delivered, try 3 of 3: the command ended with 3" in caplog.text
    texts = [path.read_bytes().decode(errors="replace") for path in job.folder.rglob("*") if path.is_file()]
    assert [text[:100] for text in (printed.out, printed.err, caplog.text, *texts) if SECRET in text] == []
