"""How a job stands, from another shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
from pipeline.status import group_by_cause, read_status
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


def failed(video_id: str, message: str, kind: Status = Status.FAILED, error_class: str = "input") -> LabeledVideo:
    video = labeled(video_id, status=kind)
    row = video.video.to_pylist()[0] | {"error_class": error_class, "message": message}
    return LabeledVideo(
        video.masks, video.tracks, pa.Table.from_pylist([row], video.video.schema), video.outcome, video.expected_masks
    )


@pytest.fixture
def job(disk_storage: JobStorage, tmp_path: Path) -> JobStorage:
    """Five videos: two good, two failed alike, one quarantined; one suspect."""
    spool = tmp_path / "spool"
    _, keeper = driver(disk_storage, spool)
    videos = [labeled("good 1"), labeled("good 2")]
    videos += [failed(f"bad {n}", f"/data/clips/bad-{n}.mp4: no frames in 'bad-{n}.mp4'") for n in (1, 2)]
    videos += [failed("killer", "in flight at 3 deaths of its worker", Status.QUARANTINED, "crash")]
    keeper.commit([publish(disk_storage, spool, *videos)], strikes={"slow": 1})
    disk_storage.replace("_status.json", json.dumps(PROGRESS).encode())
    return disk_storage


def test_says_what_is_done_why_videos_failed_and_what_labels_them_again(job: JobStorage) -> None:
    text = read_status(job)
    assert "5 of 40 in the tables (2 ok, 2 failed, 1 quarantined)" in text
    assert "failed      2 × input: /data/clips/bad-1.mp4: no frames" in text
    assert "bad 1, bad 2" in text
    assert "quarantined 1 × crash: in flight at 3 deaths of its worker" in text
    assert "retry=failed to label the 2 failed videos again" in text
    assert "retry=quarantined to label the 1 quarantined video again" in text
    assert "suspects 1 video in flight when a worker died (how often): slow (1)" in text
    assert "rates    1 frame in this run, 12.3 frames/s, 30.0 videos/min, 3 workers" in text
    assert "propagate 61 s" in text
    assert "hidden" not in text


def test_tells_a_running_driver_from_one_that_was_killed(job: JobStorage) -> None:
    assert "state    interrupted: the last driver was killed; the same command goes on" in read_status(job)
    log = CommitLog(job, "driver-7")
    log.load()
    ownership = Ownership(job, log, Heartbeat(every_seconds=60))
    ownership.acquire()
    assert "state    running: driver driver-7" in read_status(job)

    document = json.loads(job.read("_owner.json"))
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    job.replace("_owner.json", json.dumps(document | {"process_id": process.pid}).encode())
    assert "interrupted: driver driver-7" in read_status(job)
    job.replace("_status.json", json.dumps(PROGRESS | {"state": "done"}).encode())
    assert "state    finished: all videos processed\n" in read_status(job)

    elsewhere = document | {"machine": "another", "beat_at": "2020-01-01T00:00:00+00:00"}
    job.replace("_owner.json", json.dumps(elsewhere).encode())
    assert "unclear: no sign of driver driver-7" in read_status(job)
    ownership.release()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("done", "finished: all videos processed"),
        ("stopped", "stopped by a signal; the same command goes on from here"),
        ("failures", "stopped: too many videos failed; the same command goes on from here"),
        ("storage", "stopped: storage did not answer; the same command goes on from here"),
        ("of a later version", "no driver; the last run wrote: of a later version"),
    ],
)
def test_says_in_words_how_the_last_driver_ended(job: JobStorage, state: str, says: str) -> None:
    job.replace("_status.json", json.dumps(PROGRESS | {"state": state}).encode())
    assert f"state    {says}\n" in read_status(job)


def test_tells_how_many_videos_are_saved_in_their_middle(job: JobStorage) -> None:
    assert "saved" not in read_status(job)
    for video_id in ("long 1", "long 2"):
        job.replace(f"{session_folder(video_id)}/part.arrow", b"")  # with no document it is of no use yet
    assert "saved" not in read_status(job)
    job.replace(f"{session_folder('long 1')}/latest.json", b"{}")
    assert "saved    1 unfinished video; the next run goes on from their middle" in read_status(job)
    job.replace(f"{session_folder('long 2')}/latest.json", b"{}")
    assert "saved    2 unfinished videos; the next run goes on from their middle" in read_status(job)


def test_reads_only(job: JobStorage) -> None:
    root = Path(job.uri)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    read_status(job)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_job_that_has_just_begun(disk_storage: JobStorage) -> None:
    log = CommitLog(disk_storage, "driver-1")
    log.load()
    log.claim()
    text = read_status(disk_storage)
    assert "no driver, nothing written yet" in text
    assert "0 in the tables (none)" in text


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"{}"])
def test_a_broken_status_file_is_no_obstacle(job: JobStorage, content: bytes) -> None:
    job.replace("_status.json", content)
    assert "5 in the tables" in read_status(job)


def test_a_status_file_of_a_later_program_is_read_unless_its_version_is_newer(job: JobStorage) -> None:
    job.replace("_status.json", json.dumps(PROGRESS | {"found_later": [1]}).encode())
    assert "5 of 40 in the tables" in read_status(job)
    job.replace("_status.json", json.dumps(PROGRESS | {"version": 2}).encode())
    text = read_status(job)
    (line,) = [line for line in text.splitlines() if "_status.json was written by a newer maskmill" in line]
    assert "in version 2; this one reads versions up to 1." in line
    assert "5 in the tables (2 ok, 2 failed, 1 quarantined)" in text, "the log is told in any case"


def test_causes_differ_by_status_class_and_words_not_by_names_and_numbers() -> None:
    def row(video_id: str, status: str, error_class: str, message: str) -> dict[str, str]:
        return {"video_id": video_id, "status": status, "error_class": error_class, "message": message}

    causes = group_by_cause(
        [row(f"v{n}", "failed", "input", f"s3://b/{n}.mp4: 404") for n in range(5)]
        + [row("w", "failed", "input", "frame -3 is negative"), row("x", "failed", "input", "frame 12 is negative")]
        + [
            row("y", "failed", "memory", "frame 12 is negative"),
            row("z", "quarantined", "input", "frame 1 is negative"),
        ]
    )
    assert [(cause.num_videos, cause.status, cause.error_class) for cause in causes] == [
        (5, Status.FAILED, "input"),
        (2, Status.FAILED, "input"),
        (1, Status.FAILED, "memory"),
        (1, Status.QUARANTINED, "input"),
    ]
    assert causes[0].video_ids == ("v0", "v1", "v2")


def test_many_causes_and_strange_ids_stay_readable() -> None:
    rows = [
        {"video_id": f"{letter}\n\x1b[2J" + "x" * 500, "status": "failed", "error_class": "input", "message": letter}
        for letter in "abcdefghijklmnop"
    ]
    lines = status.describe_causes(group_by_cause(rows))
    assert all(len(line) < 400 and line.isprintable() for line in lines)
    assert any("4 more videos of other causes" in line for line in lines)


def test_the_command(job: JobStorage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "pipeline.status", f"output={job.uri}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 of 40" in done.stdout
    assert job_command.main(status.HELP, status.run, [f"output={tmp_path / 'nothing'}"]) == 2
    assert "holds no job" in capsys.readouterr().err
