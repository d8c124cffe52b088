"""How a job stands, from another shell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import command as job_command
from pipeline import status
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import Heartbeat, Ownership
from pipeline.output.layout import session_folder
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import Status
from pipeline.status import as_document, as_text, read_status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish

PROGRESS = {
    "state": "running",
    "written_at": "2026-01-02T03:04:05+00:00",
    "num_planned": 40,
    "num_frames": 1,
    "frames_per_second": 12.34,
    "videos_per_second": 0.5,
    "num_workers": 3,
    "stage_seconds": {"decode": 4.2, "propagate": 61.0},
    "last_error": "GET s3://bucket/clip.mp4?X-Amz-Signature=hidden: timed out",
}


def bad_video(video_id: str, message: str, kind: Status = Status.FAILED, error_class: str = "input") -> LabeledVideo:
    video = labeled(video_id, status=kind)
    row = video.video.to_pylist()[0] | {"error_class": error_class, "message": message}
    return LabeledVideo(
        video.masks, video.tracks, pa.Table.from_pylist([row], video.video.schema), video.outcome, video.expected_masks
    )


def text_of(storage: JobStorage) -> str:
    return as_text(read_status(storage))


@pytest.fixture
def job(disk_storage: JobStorage, tmp_path: Path) -> JobStorage:
    """Five videos: two good, two failed alike, one quarantined; one suspect."""
    spool = tmp_path / "spool"
    _, keeper = driver(disk_storage, spool)
    videos = [labeled("good 1"), labeled("good 2")]
    videos += [bad_video(f"bad {n}", f"/data/clips/bad-{n}.mp4: no frames in 'bad-{n}.mp4'") for n in (1, 2)]
    videos += [bad_video("killer", "in flight at 3 deaths of its worker", Status.QUARANTINED, "crash")]
    keeper.commit([publish(disk_storage, spool, *videos)], strikes={"slow": 1})
    disk_storage.replace("_status.json", json.dumps(PROGRESS).encode())
    return disk_storage


def test_says_what_is_done_why_videos_failed_and_what_labels_them_again(job: JobStorage) -> None:
    text = text_of(job)
    assert "5 of 40 in the tables (2 ok, 2 failed, 1 quarantined)" in text
    assert "failed      2, such as input: /data/clips/bad-1.mp4: no frames" in text
    assert "bad 1, bad 2" in text
    assert "quarantined 1 × crash: in flight at 3 deaths of its worker" in text
    assert "'retry=[failed,quarantined]' to label the 2 failed and 1 quarantined videos again" in text
    assert "suspects 1 video in flight when a worker died (how often): slow (1)" in text
    assert "rates    1 frame in this run, 12.3 frames/s, 30.0 videos/min, 3 workers" in text
    assert "propagate 61 s" in text
    assert "hidden" not in text


def test_retry_is_no_remedy_where_the_last_run_had_it(job: JobStorage) -> None:
    job.replace("_status.json", json.dumps(PROGRESS | {"retry": ["failed", "quarantined"], "max_attempts": 2}).encode())
    *_, last = text_of(job).splitlines()
    assert "run the same command, which has retry= already, to label the 2 failed and 1 quarantined videos" in last
    assert "max_attempts" not in last
    job.replace("_status.json", json.dumps(PROGRESS | {"retry": ["failed", "quarantined"], "max_attempts": 1}).encode())
    *_, last = text_of(job).splitlines()
    assert last.endswith("; 1 of them needs also a max_attempts= above 1, another file or other prompts")


def test_tells_a_running_driver_from_one_that_was_killed(job: JobStorage) -> None:
    assert "state    interrupted: the last driver was killed; the same command goes on" in text_of(job)
    log = CommitLog(job, "driver-7")
    log.load()
    ownership = Ownership(job, log, Heartbeat(every_seconds=60))
    ownership.acquire()
    assert "state    running: driver driver-7" in text_of(job)

    document = json.loads(job.read("_owner.json"))
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    job.replace("_owner.json", json.dumps(document | {"process_id": process.pid}).encode())
    assert "interrupted: driver driver-7" in text_of(job)
    job.replace("_status.json", json.dumps(PROGRESS | {"state": "done"}).encode())
    assert "state    finished: all videos processed\n" in text_of(job)

    elsewhere = document | {"machine": "another", "beat_at": "2020-01-01T00:00:00+00:00"}
    job.replace("_owner.json", json.dumps(elsewhere).encode())
    assert "unclear: no sign of driver driver-7" in text_of(job)
    ownership.release()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("done", "finished: all videos processed"),
        ("stopped", "stopped by a signal; the same command goes on from here"),
        ("failures", "stopped: too many failures; the same command goes on from here"),
        ("storage", "stopped: storage did not answer; the same command goes on from here"),
        ("of a later version", "no driver; the last run wrote: of a later version"),
    ],
)
def test_says_in_words_how_the_last_driver_ended(job: JobStorage, state: str, says: str) -> None:
    job.replace("_status.json", json.dumps(PROGRESS | {"state": state}).encode())
    assert f"state    {says}\n" in text_of(job)


def test_tells_how_many_videos_are_saved_in_their_middle(job: JobStorage) -> None:
    assert "saved" not in text_of(job)
    for video_id in ("long 1", "long 2"):
        job.replace(f"{session_folder(video_id)}/part.arrow", b"")  # with no document it is of no use yet
    assert "saved" not in text_of(job)
    job.replace(f"{session_folder('long 1')}/latest.json", b"{}")
    assert "saved    1 unfinished video; the next run goes on from their middle" in text_of(job)
    job.replace(f"{session_folder('long 2')}/latest.json", b"{}")
    assert "saved    2 unfinished videos; the next run goes on from their middle" in text_of(job)


def test_reads_only(job: JobStorage) -> None:
    root = Path(job.uri)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    text_of(job)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_job_that_has_just_begun(disk_storage: JobStorage) -> None:
    log = CommitLog(disk_storage, "driver-1")
    log.load()
    log.claim()
    text = text_of(disk_storage)
    assert "no driver, nothing written yet" in text
    assert "0 in the tables (none)" in text


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"{}"])
def test_a_broken_status_file_is_no_obstacle(job: JobStorage, content: bytes) -> None:
    job.replace("_status.json", content)
    assert "5 in the tables" in text_of(job)


def test_a_status_file_of_a_later_program_is_read_unless_its_version_is_newer(job: JobStorage) -> None:
    job.replace("_status.json", json.dumps(PROGRESS | {"found_later": [1]}).encode())
    assert "5 of 40 in the tables" in text_of(job)
    job.replace("_status.json", json.dumps(PROGRESS | {"version": 2}).encode())
    text = text_of(job)
    (line,) = [line for line in text.splitlines() if "_status.json was written by a newer maskmill" in line]
    assert "in version 2; this one reads versions up to 1." in line
    assert "5 in the tables (2 ok, 2 failed, 1 quarantined)" in text, "the log is told in any case"


def test_the_command_tells_how_far_a_job_is_or_that_there_is_none(
    job: JobStorage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door = partial(job_command.main, status.HELP, status.StatusArguments, status.run)
    assert door([f"output={job.uri}"]) == 0
    assert "5 of 40" in capsys.readouterr().out
    assert door([f"output={tmp_path / 'nothing'}"]) == 2
    assert "holds no job" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_is_a_module_that_python_runs(job: JobStorage) -> None:
    command = [sys.executable, "-m", "pipeline.status", f"output={job.uri}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 of 40" in done.stdout


def ended(storage: JobStorage, **fields: object) -> None:
    storage.replace("_status.json", json.dumps(PROGRESS | {"state": "done"} | fields).encode())


@pytest.fixture
def partly(disk_storage: JobStorage, tmp_path: Path) -> JobStorage:
    """A finished job of two `ok` videos, one with two objects that failed for one reason."""
    spool = tmp_path / "spool"
    _, keeper = driver(disk_storage, spool)
    wrong = {7: "object 7, frame 0: box: x0 < x1", 8: "object 8, frame 3: box: x0 < x1"}
    keeper.commit([publish(disk_storage, spool, labeled("whole"), labeled("partly", wrong=wrong))])
    ended(disk_storage, num_planned=2)
    return disk_storage


def test_objects_that_failed_inside_an_ok_video_are_counted_named_and_can_be_tried_again(partly: JobStorage) -> None:
    text = text_of(partly)
    assert "objects  4 of 6 labeled, 2 failed (in ok videos)\n" in text
    assert "object      2, such as object 7, frame 0: box: x0 < x1\n" in text
    assert "\n            partly object 7, partly object 8\n" in text
    assert "with retry=failed to label the 1 partly labeled video again\n" in f"{text}\n"
    document = as_document(read_status(partly))
    assert document["objects"] == {
        "num": 6,
        "num_failed": 2,
        "num_warned": 0,
        "num_videos_partly": 1,
        "num_videos_uncounted": 0,
    }
    assert document["causes"] == [
        {
            "kind": "object",
            "error_class": "",
            "message": "object 7, frame 0: box: x0 < x1",
            "count": 2,
            "named": ["partly object 7", "partly object 8"],
            "is_of_all": False,
        }
    ]


def test_failed_objects_of_a_job_that_did_not_count_them_are_found_in_its_tables(partly: JobStorage) -> None:
    """The log of an earlier version has seven values an outcome."""
    for path in partly.tree("_log"):
        document = json.loads(partly.read(path))
        for segment in document["add"]:
            segment["outcomes"] = [values[:7] for values in segment["outcomes"]]
        partly.replace(path, json.dumps(document).encode())
    text = text_of(partly)
    assert "objects  4 of 6 labeled, 2 failed (in ok videos)\n" in text
    assert "partly object 7, partly object 8" in text


def test_videos_that_left_the_input_tables_are_told_apart_from_planned_ones(job: JobStorage) -> None:
    ended(job, num_planned=4, num_former=1)
    text = text_of(job)
    assert "videos   4 of 4 in the tables, and 1 former (2 ok, 2 failed, 1 quarantined)\n" in text
    assert "former   1 of them is in no table any more" in text
    document = as_document(read_status(job))
    assert (document["num_planned"], document["num_former"]) == (4, 1)
    assert document["videos"] == {"ok": 2, "failed": 2, "quarantined": 1, "no_prompts": 0}
    ended(job, num_planned=4)  # as an earlier version wrote it
    assert "videos   5 in the tables" in text_of(job), "never more videos than planned ones"


@pytest.mark.fast_core(2)
@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("done", 0),
        ("stopped", 143),
        ("failures", 4),
        ("storage", 1),
        ("environment", 1),
        ("running", 1),  # no driver is there any more
        ("of a later version", 1),
    ],
)
def test_the_exit_code_is_that_of_the_state_when_it_is_asked_for(
    job: JobStorage, state: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(job, state=state)

    def exit_code(*words: str) -> int:
        return job_command.main(status.HELP, status.StatusArguments, status.run, [f"output={job.uri}", *words])

    assert exit_code() == 0
    assert exit_code("--fail-if-unfinished") == exit_code("fail_if_unfinished=true") == code
    capsys.readouterr()
    assert exit_code("--json", "--fail-if-unfinished") == code
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["num_planned"]) == (code, 40)
    assert document["state"] == ("interrupted" if state == "running" else state)
    assert "hidden" not in json.dumps(document)


def test_a_job_that_a_driver_works_on_is_unfinished(job: JobStorage) -> None:
    log = CommitLog(job, "driver-7")
    log.load()
    ownership = Ownership(job, log, Heartbeat(every_seconds=60))
    ownership.acquire()
    words = [f"output={job.uri}", "--fail-if-unfinished"]
    assert job_command.main(status.HELP, status.StatusArguments, status.run, words) == 3
    ownership.release()


def test_help_names_the_keys_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert job_command.main(status.HELP, status.StatusArguments, status.run, ["--help"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^  (\w+)=", printed, flags=re.MULTILINE) == [
        "output",
        "storage_options",
        "json",
        "fail_if_unfinished",
    ]
