"""Real jobs for the chaos tests: `python -m pipeline.run` with Ray in another process, hurt from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from pipeline import tables
from pipeline.output.schema import SORT_KEYS

WAIT_SECONDS = 240.0


@dataclass(frozen=True)
class Tables:
    """What two runs are compared on."""

    masks: pa.Table
    tracks: pa.Table


def read_tables(output: str, storage_options: dict[str, Any] | None = None) -> Tables:
    """Masks and tracks of a job through its log, sorted, without times."""
    job = tables.open(output, storage_options)
    masks = job.masks().to_table().sort_by([(key, "ascending") for key in SORT_KEYS["masks"]])
    return Tables(masks, job.tracks().drop_columns(["labeled_at"]))


def assert_same(found: Tables, expected: Tables) -> None:
    """Equal row by row; nothing lost, nothing doubled."""
    for name in ("masks", "tracks"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        keys = [tuple(row.values()) for row in ours.select(SORT_KEYS[name]).to_pylist()]
        wanted = [tuple(row.values()) for row in theirs.select(SORT_KEYS[name]).to_pylist()]
        assert len(keys) == len(set(keys)), f"{name}: {len(keys) - len(set(keys))} rows are doubled"
        assert set(keys) == set(wanted), f"{name}: lost {sorted(set(wanted) - set(keys))[:5]}"
        assert ours.equals(theirs), f"{name}: values differ"


def statuses(output: str, storage_options: dict[str, Any] | None = None) -> dict[str, str]:
    """Status of every finished video."""
    rows = tables.open(output, storage_options).videos().select(["video_id", "status"]).to_pylist()
    return {row["video_id"]: row["status"] for row in rows}


class RunningJob:
    """One run of the command. `log` is what it has printed so far."""

    def __init__(self, folder: Path, *arguments: str, under: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"run-{time.monotonic_ns()}.log"
        self.started = time.monotonic()
        with self._log.open("wb") as file:
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", "pipeline.run", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                cwd=Path(__file__).resolve().parents[2],
                start_new_session=True,
            )

    def __enter__(self) -> RunningJob:
        return self

    def __exit__(self, *exception: object) -> None:
        """End it, and every process that it has left."""
        others = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in others:
            kill(pid, signal.SIGKILL)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def count(self, pattern: str) -> int:
        """How often a regular expression is in the log."""
        return len(re.findall(pattern, self.log))

    def actors(self) -> list[int]:
        """Processes of workers, busy or not, that have got past their start."""
        return [pid for pid in descendants(self.process.pid) if command_line(pid).startswith("ray::ActorWorker")]

    def busy_actors(self) -> list[int]:
        """Those inside `work`: Ray writes the method into the process's title."""
        return [pid for pid in descendants(self.process.pid) if command_line(pid).startswith("ray::ActorWorker.work")]

    def wait(self, timeout_seconds: float = WAIT_SECONDS) -> int:
        """Its exit code. Fails the test, with what it printed, when it takes too long."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the job did not end within {timeout_seconds:g} s:\n{self.log[-4000:]}") from None

    def wait_until(self, condition: Callable[[], object], what: str, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Wait for something to happen while the job runs; fails the test if the job ends before."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert self.process.poll() is None, f"the job ended before {what}:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"no {what} within {timeout_seconds:g} s:\n{self.log[-4000:]}"
            time.sleep(0.02)

    def wait_for_work(self, also: Callable[[], object], what: str) -> list[int]:
        """The busy actors, once there are some while the condition holds.

        An actor is not busy between two calls of `work`, so that whoever looks once more may find none.
        """
        found: list[int] = []

        def is_at_work() -> bool:
            found[:] = self.busy_actors() if also() else []
            return bool(found)

        self.wait_until(is_at_work, what)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send the driver a signal."""
        self.process.send_signal(number)


def run(folder: Path, *arguments: str) -> RunningJob:
    """A run to its end; `process.returncode` is its exit code."""
    with RunningJob(folder, *arguments) as job:
        job.wait()
    return job


def descendants(pid: int) -> list[int]:
    """Processes below a process."""
    try:
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def command_line(pid: int) -> str:
    """Title of a process; empty if it is gone."""
    try:
        return " ".join(psutil.Process(pid).cmdline()).strip()
    except psutil.Error:
        return ""


def kill(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False if the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def log_entries(output: str) -> int:
    """Entries in the commit log of a job on local disk."""
    return len(list(Path(output, "_log").glob("*.json")))
