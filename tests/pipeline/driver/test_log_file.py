"""What machines that watch a job are told."""

from __future__ import annotations

import io
import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.commits.job_record import read_record
from pipeline.driver.log_file import json_log, log_video
from pipeline.driver.remote_log import RemoteCopy
from pipeline.errors import ConfigError
from pipeline.records import ObjectNote, Outcome, OutcomeDetails, Status
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import open_filesystem
from tests.support.full_disk import FULL, full_disk
from tests.support.jobs import JobFolder
from tests.support.s3_server import S3Server
from tests.support.waiting import wait_until


@pytest.fixture
def terminal() -> Iterator[io.StringIO]:
    """What the log of the terminal shows."""
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    logging.getLogger().addHandler(handler)
    yield shown
    logging.getLogger().removeHandler(handler)


def test_records_are_json_lines_with_what_they_are_about(tmp_path: Path, terminal: io.StringIO) -> None:
    path = tmp_path / "logs" / "job.jsonl"
    log = logging.getLogger("pipeline.driver.loop")
    with json_log(str(path)):
        log_video(Outcome("a\nb", Status.FAILED, "p", 0, 3, "input", "no frames"), attempt=2)
        log.warning("GET %s failed", "s3://b/c?X-Amz-Signature=hidden", extra={"worker_id": "w0", "video_id": "c"})
    log.warning("afterwards")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert {"video_id": "a\nb", "attempt": 2, "status": "failed", "error_class": "input"}.items() <= first.items()
    assert (first["message"], second["message"]) == ("no frames", "GET s3://b/c?*** failed")
    assert (second["level"], second["worker_id"], second["video_id"]) == ("warning", "w0", "c")
    assert "afterwards" in terminal.getvalue()
    assert "no frames" not in terminal.getvalue(), "a line a video is not for people"


@pytest.mark.parametrize("package", ["pipeline", "model"])
def test_records_of_both_packages_are_kept(package: str, tmp_path: Path) -> None:
    """Weights that are fetched from the Hub are a matter of `model`, and of the log."""
    path = tmp_path / "job.jsonl"
    log = logging.getLogger(f"{package}.weights.hub")
    with json_log(str(path)):
        log.warning("fetching from the Hub")
    log.warning("afterwards")
    (line,) = (json.loads(line) for line in path.read_text().splitlines())
    assert (line["logger"], line["message"]) == (f"{package}.weights.hub", "fetching from the Hub")


def test_a_log_file_that_cannot_be_opened_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log_file=.*: cannot be written \(Is a directory\); name another"):
        json_log(str(tmp_path)).__enter__()


def test_a_full_disk_costs_the_log_one_warning_and_the_run_nothing(
    tmp_path: Path, terminal: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job writes a record for each video, and each of them would be a traceback on the terminal."""
    path = tmp_path / "job.jsonl"
    log = logging.getLogger("pipeline.driver.loop")
    with json_log(str(path)):
        log.warning("before")
        with full_disk():
            for number in range(3):
                log.warning("while the disk is full, %d", number)
        log.warning("afterwards")
        with full_disk():
            log.warning("full again")
    with json_log(str(path)), full_disk():
        log.warning("full to the end")
    warnings = [line for line in terminal.getvalue().splitlines() if "not up to date" in line]
    assert warnings == [f"log_file={path} is not up to date: {FULL}"] * 3
    assert "Traceback" not in capsys.readouterr().err
    messages = [json.loads(line)["message"] for line in path.read_text().splitlines()]
    assert {"before", "afterwards"} <= {*messages}


def test_a_log_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with json_log("~/my logs/[a], b.jsonl"):
        log_video(Outcome("a", Status.OK, "p", 1, 1), 1)
    assert "labeled" in (tmp_path / "my logs" / "[a], b.jsonl").read_text()


def test_without_a_file_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with json_log(None):
        log_video(Outcome("a", Status.OK, "p", 1, 1), 1)
    assert capsys.readouterr().err == ""


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_failed_is_a_warning_with_video_and_object(tmp_path: Path) -> None:
    notes = (ObjectNote(2, Status.FAILED, "box: 100% wrong"), ObjectNote(3, Status.OK, "box was clamped"))
    details = OutcomeDetails(num_tracks=3, num_tracks_failed=1, num_tracks_warned=1, notes=notes)
    with json_log(str(tmp_path / "job.jsonl")):
        log_video(Outcome("partly", Status.OK, "p", 1, 1, details=details), 1)
        log_video(Outcome("damaged", Status.OK, "p", 1, 1, message="7 of 24 frames could be read"), 1)
        log_video(Outcome("whole", Status.OK, "p", 1, 1), 1)
    found = [
        (record["level"], record["video_id"], record.get("object_id"), record["status"], record["message"])
        for record in records(tmp_path / "job.jsonl")
    ]
    assert found == [
        ("warning", "partly", 2, "failed", "box: 100% wrong"),
        ("warning", "partly", 3, "ok", "box was clamped"),
        ("debug", "partly", None, "ok", "labeled"),
        ("warning", "damaged", None, "ok", "7 of 24 frames could be read"),
        ("debug", "whole", None, "ok", "labeled"),
    ]
    assert records(tmp_path / "job.jsonl")[2]["num_objects_failed"] == 1


def test_a_log_in_a_store_goes_on_after_what_is_there() -> None:
    place = f"memory://logs/{uuid.uuid4().hex}.jsonl"
    for video_id in ("first run", "second run"):
        with json_log(place):
            log_video(Outcome(video_id, Status.OK, "p", 1, 1), 1)
    filesystem, path = open_filesystem(place)
    lines = filesystem.cat_file(path).decode().splitlines()
    assert [json.loads(line)["video_id"] for line in lines] == ["first run", "second run"]


def test_a_log_in_a_store_is_sent_while_the_job_runs(tmp_path: Path) -> None:
    place, local = f"memory://logs/{uuid.uuid4().hex}.jsonl", tmp_path / "log.jsonl"
    remote = RemoteCopy(place, local, every_seconds=0.01)
    remote.begin()
    filesystem, path = open_filesystem(place)
    with remote:
        local.write_bytes(b"a line\n")
        wait_until(lambda: filesystem.cat_file(path) == b"a line\n", "line in the store")


def test_a_store_that_takes_no_log_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"log_file=nothing://b/x\?\*\*\*: cannot be written .*; name another"):
        json_log("nothing://b/x?token=secret").__enter__()


@pytest.mark.slow
def test_a_log_on_s3(s3_server: S3Server) -> None:
    bucket = s3_server.new_folder()
    with json_log(f"{bucket}/x.jsonl", s3_server.options()):
        log_video(Outcome("a", Status.FAILED, "p", 0, 0, "input", "no frames"), 1)
    filesystem, path = open_filesystem(f"{bucket}/x.jsonl", s3_server.options())
    assert json.loads(filesystem.cat_file(path))["message"] == "no frames"
    with pytest.raises(ConfigError, match=r"log_file=s3://no-such-bucket/x\.jsonl: cannot be written"):
        json_log("s3://no-such-bucket/x.jsonl", s3_server.options()).__enter__()


@pytest.mark.slow
def test_every_run_has_a_first_and_a_last_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["one", "two"])
    (tmp_path / "in" / "two.mp4").write_bytes(bytes(100))
    log = tmp_path / "job.jsonl"

    def run(*words: str) -> list[dict[str, Any]]:
        log.unlink(missing_ok=True)
        code = job.run(f"log_file={log}", *words)
        found = records(log)
        assert (found[0]["event"], found[-1]["event"]) == ("run_started", "run_ended")
        assert found[-1]["exit_code"] == code
        assert found[0]["output"] == str(job.output)
        return found

    whole = run()
    first, last = whole[0], whole[-1]
    assert first["versions"].startswith("maskmill ")
    assert (last["exit_code"], last["level"], last["message"]) == (0, "info", "all videos processed")
    assert last["videos"] == {"ok": 1, "failed": 1, "quarantined": 0, "no_prompts": 0}
    assert last["this_run"]["failures"] == {"input": 1}
    record = read_record(JobStorage(str(job.output)))
    assert record is not None
    assert last["config_hash"] == record.config_hash
    (failed,) = [line for line in whole if line.get("video_id") == "two"]
    assert (failed["level"], failed["status"]) == ("warning", "failed")

    nothing_left = run()[-1]
    assert (nothing_left["exit_code"], nothing_left["num_planned"], "this_run" in nothing_left) == (0, 2, False)
    other_options = run("frames.stride=2")[-1]
    assert (other_options["exit_code"], other_options["level"]) == (2, "error")
    assert "frames.stride: 1 in the output, 2 now" in other_options["message"]
    unknown_key = run("frames.strid=2")[-1]
    assert (unknown_key["exit_code"], "did you mean frames.stride" in unknown_key["message"]) == (2, True)
    assert run("no key")[-1]["exit_code"] == 2
    capsys.readouterr()


@pytest.mark.slow
def test_a_job_writes_a_line_for_each_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["one", "two"])
    assert job.run(f"log_file={tmp_path / 'job.jsonl'}") == 0
    lines = [json.loads(line) for line in (tmp_path / "job.jsonl").read_text().splitlines()]
    videos = {line["video_id"]: line for line in lines if line["logger"] == "pipeline.videos"}
    assert {(name, line["attempt"], line["status"]) for name, line in videos.items()} == {
        ("one", 1, "ok"),
        ("two", 1, "ok"),
    }
    assert job.run(f"log_file={tmp_path}", "relabel=true", "frames.stride=2") == 2
    assert "log_file" in capsys.readouterr().err
