"""What machines that watch a job are told."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.driver.log_file import json_log, log_video
from pipeline.errors import ConfigError
from pipeline.records import Outcome, Status
from tests.support.jobs import JobFolder


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
