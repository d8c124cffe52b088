"""One job on Ray whose worker is killed, whose driver is stopped, and which the same command finishes.

`make chaos` does this many times, at random moments and with a clock.
"""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_jobs import RunningJob, kill
from tests.support.jobs import JobFolder, read_plainly
from tests.support.media_server import media_server
from tests.support.sessions import save_small

pytestmark = pytest.mark.slow

HERE, SERVED = ["one", "two"], ["three", "four"]


@pytest.fixture
def undisturbed(tmp_path: Path) -> JobFolder:
    """Four short clips, labeled in one process by a network of random weights."""
    save_small(tmp_path / "small")
    job = JobFolder(tmp_path / "undisturbed", tmp_path / "small").write([*HERE, *SERVED], num_frames=2)
    assert job.run() == 0
    return job


def test_a_killed_worker_and_a_stopped_driver_cost_no_row_and_the_same_command_goes_on(
    undisturbed: JobFolder, tmp_path: Path
) -> None:
    """A server does not answer for the last videos before the driver has ended, however fast the workers are."""
    job, answers = (
        JobFolder(tmp_path / "job", undisturbed.checkpoint).write([*HERE, *SERVED], num_frames=2),
        threading.Event(),
    )
    log_file = tmp_path / "log.jsonl"
    words = ["input.hosts=127.0.0.1", f"log_file={log_file}", "worker.beat_seconds=1", "flush.seconds=1"]
    with media_server(job.folder / "in") as media:
        rows = job.rows("videos")
        for row in rows[len(HERE) :]:
            media.harm[Path(row["uri"]).name] = lambda _: answers.wait()
            row["uri"] = media.uri(row["uri"])
        job.rewrite("videos", rows)
        try:
            killed_and_stopped(job, *words)
        finally:
            answers.set()
        struck = {line["video_id"] for line in read(log_file) if "strikes" in line}
        assert struck
        assert struck <= set(SERVED)
        assert job.run(*words) == 0
    assert job.tables().equals(undisturbed.tables())
    assert job.tables().masks.equals(read_plainly(job.output))
    attempts = {line["video_id"]: line["attempt"] for line in read(log_file) if "status" in line}
    assert attempts == dict.fromkeys(HERE, 1) | dict.fromkeys(struck, 2) | dict.fromkeys(set(SERVED) - struck, 1)


def killed_and_stopped(job: JobFolder, *words: str) -> None:
    """The job on Ray until it is stopped, as it would be in mid-work."""
    with RunningJob(job.folder, *job.arguments("cluster.actors=1", *words)) as running:
        (first,) = running.wait_for_work(lambda: num_committed(job) == len(HERE), "work on the others")
        kill(first, signal.SIGKILL)
        running.wait_until(lambda: running.count("was in flight: strike 1"), "the death noticed")
        running.wait_until(lambda: set(running.busy_actors()) - {first}, "another worker at work")
        running.signal(signal.SIGTERM)
        assert running.wait() == 143, running.log
    assert set(job.tables().statuses) == set(HERE)
    assert not list(job.output.glob("_owner.json"))


def num_committed(job: JobFolder) -> int:
    """Videos in the log, as its entries say."""
    return sum(entry.read_text().count('"ok"') for entry in job.output.glob("_log/*.json"))


def read(log_file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_file.read_text().splitlines()]
