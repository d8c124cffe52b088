"""What is measured: each step drives the real driver in a process of its own and returns its figures."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cluster.executor import Executor
from pipeline.commits.log import CommitLog
from pipeline.config import compose
from pipeline.config.job_config import JobConfig
from pipeline.driver import driver
from pipeline.driver.job import open_job, plan_job
from pipeline.driver.run_record import RunRecord
from pipeline.output.layout import segment_object
from pipeline.output.schema import TABLES
from pipeline.storage.job_storage import JobStorage
from tests.scale.executor import ReceiptExecutor
from tests.scale.inputs import write_tables
from tests.support import labeled

REMAINING = 400  # videos that a killed run had not committed …
ADOPTED = 8  # … and segments of them that it had published


def peak_megabytes() -> float:
    """The most memory that this process has had resident, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) / 1024, 1)
    raise OSError("this system does not say how much memory a process has had")


def config(folder: Path, output: str = "out") -> JobConfig:
    """A job over the tables of `write_tables`."""
    return compose.job_config(
        "label",
        [
            f"videos={folder / 'in' / 'videos.parquet'}",
            f"prompts={folder / 'in' / 'prompts.parquet'}",
            f"output={folder / output}",
            f"worker.spool_dir={folder / 'spool'}",
        ],
    )


class CountingStorage(JobStorage):
    """A job's storage that adds up the bytes written into the log."""

    num_log_bytes = 0

    def create(self, path: str, data: bytes) -> None:
        self._count(path, data)
        super().create(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._count(path, data)
        super().replace(path, data)

    def _count(self, path: str, data: bytes) -> None:
        self.num_log_bytes += len(data) if path.startswith("_log/") else 0


class TimedLog(CommitLog):
    """A job's log that adds up the seconds of its roll-ups."""

    roll_up_seconds = 0.0

    def roll_up(self) -> None:
        started = time.perf_counter()
        super().roll_up()
        self.roll_up_seconds += time.perf_counter() - started


def on(executor: Executor) -> driver.Parts:
    """A job's parts, with this executor in place of Ray."""
    return driver.Parts(open_executor=lambda _: contextlib.nullcontext(executor))


def label(folder: Path, num_videos: int) -> dict[str, Any]:
    """A whole job over `num_videos`: plan, dispatch, commit."""
    executor = ReceiptExecutor()
    started = time.perf_counter()
    opened = open_job(config(folder))
    storage = CountingStorage(opened.storage.uri)
    log = TimedLog(storage, opened.log.writer_id)
    log.load()
    job = replace(opened, storage=storage, log=log)
    before_plan = time.perf_counter()
    planned = plan_job(job)
    plan_seconds = time.perf_counter() - before_plan
    with contextlib.redirect_stderr(io.StringIO()):
        code = driver.drive(job, planned, RunRecord(None), on(executor)).code
    seconds = time.perf_counter() - started
    state = CommitLog(JobStorage(str(folder / "out")), "reader").load()
    assert (code, len(state.finished), executor.num_offered) == (0, num_videos, num_videos)
    return {
        "plan_seconds": plan_seconds,
        "roll_up_seconds": log.roll_up_seconds,
        "seconds": seconds,
        "videos_per_second": num_videos / seconds,
        "num_entries": state.next_entry,
        "num_segments": len(state.segments),
        "written_megabytes": storage.num_log_bytes / (1 << 20),
    }


def plan(folder: Path, num_videos: int) -> dict[str, Any]:
    """The plan alone: read the tables, then hand out every item."""
    started = time.perf_counter()
    job = open_job(config(folder, "unused"))
    before_plan = time.perf_counter()
    planned = plan_job(job)
    plan_seconds, after_plan = time.perf_counter() - before_plan, peak_megabytes()
    assert sum(1 for _ in planned.items()) == num_videos
    return {
        "plan_seconds": plan_seconds,
        "seconds": time.perf_counter() - started,
        "peak_megabytes_of_plan": after_plan,
    }


def stage(folder: Path, num_videos: int) -> dict[str, Any]:
    """Objects of every segment, empty ones: a job that goes on lists them and opens none."""
    state = CommitLog(JobStorage(str(folder / "out")), "reader").load()
    for table in TABLES:
        (folder / "out" / table).mkdir(exist_ok=True)
        for name in state.segments:
            (folder / "out" / segment_object(table, name)).touch()
    return {"num_objects": len(TABLES) * (len(state.segments) + ADOPTED)}


def more(folder: Path, num_videos: int) -> dict[str, Any]:
    """What a killed run leaves: videos to label, and a few whole segments of them that no log entry names."""
    write_tables(folder / "in", num_videos + REMAINING)
    job = open_job(config(folder))
    items = list(plan_job(job).items())
    assert len(items) == REMAINING
    for number in range(ADOPTED):
        group = items[number * 20 : number * 20 + 20]
        videos = [labeled.labeled(item.video_id, prompt_hash=item.prompt_hash) for item in group]
        labeled.publish(job.storage, folder / "spool", *videos, fingerprint=job.record.config_hash)
    return {}


class FirstOffer(Exception):
    """Raised when a worker would start to label."""


class Starts(ReceiptExecutor):
    """Raises `FirstOffer` instead of labeling."""

    def work(self, worker_id: str, offers: Any) -> None:
        raise FirstOffer


def resume(folder: Path, num_videos: int) -> dict[str, Any]:
    """A job with `num_videos` finished is started again with some more, until a worker gets its first video."""
    started = time.perf_counter()
    job = open_job(config(folder))
    log_seconds = time.perf_counter() - started
    planned = plan_job(job)
    plan_seconds = time.perf_counter() - started - log_seconds
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(FirstOffer):
        driver.drive(job, planned, RunRecord(None), on(Starts()))
        raise AssertionError("nothing was left to label")
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "log_seconds": log_seconds,
        "plan_seconds": plan_seconds,
        "reconcile_seconds": seconds - log_seconds - plan_seconds,
    }


def again(folder: Path, num_videos: int) -> dict[str, Any]:
    """The same command over a finished job: nothing is left to do."""
    started = time.perf_counter()
    assert driver.run(config(folder)) == 0
    return {"seconds": time.perf_counter() - started}
