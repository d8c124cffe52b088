"""What is measured: each step drives the real driver in a process of its own and returns its figures."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.commits.log import CommitLog
from pipeline.config import compose
from pipeline.config.job_config import JobConfig
from pipeline.driver import driver
from pipeline.driver.loop import Loop
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


@dataclass
class Stopwatch:
    """Seconds of wrapped functions, by name; the time of calls within others counts for both."""

    seconds: dict[str, float] = field(default_factory=dict)
    written_bytes: int = 0

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A write of `JobStorage`, with its bytes counted if they are the log's."""

        def call(storage: JobStorage, path: str, data: bytes) -> Any:
            self.written_bytes += len(data) if path.startswith("_log/") else 0
            return function(storage, path, data)

        return call

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time added up under `name`."""

        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

        return call


@contextlib.contextmanager
def fake_workers(executor: Any) -> Iterator[Stopwatch]:
    """The driver, with this executor in place of Ray, and its parts timed."""
    watch = Stopwatch()

    @contextlib.contextmanager
    def opened(job: driver.Job) -> Iterator[Any]:
        yield executor

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(driver, "open_executor", opened))
        stack.enter_context(mock.patch.object(driver, "_export_metrics"))
        for owner, name in (
            (driver, "open_job"),
            (driver, "plan_job"),
            (driver, "reconcile"),
            (Loop, "run"),
            (CommitLog, "roll_up"),
        ):
            stack.enter_context(mock.patch.object(owner, name, watch.timed(name, getattr(owner, name))))
        for name in ("create", "replace"):
            stack.enter_context(mock.patch.object(JobStorage, name, watch.counted(getattr(JobStorage, name))))
        yield watch


def label(folder: Path, num_videos: int) -> dict[str, Any]:
    """A whole job over `num_videos`: plan, dispatch, commit."""
    asked = config(folder)
    executor = ReceiptExecutor()
    started = time.perf_counter()
    with fake_workers(executor) as watch, contextlib.redirect_stderr(io.StringIO()):
        code = driver.run(asked)
    seconds = time.perf_counter() - started
    state = CommitLog(JobStorage(str(folder / "out")), "reader").load()
    assert (code, len(state.terminal), executor.num_offered) == (0, num_videos, num_videos)
    return {
        "plan_seconds": watch.seconds["plan_job"],
        "loop_seconds": watch.seconds["run"],
        "roll_up_seconds": watch.seconds.get("roll_up", 0.0),
        "seconds": seconds,
        "videos_per_second": num_videos / seconds,
        "num_entries": state.next_entry,
        "num_segments": len(state.segments),
        "written_megabytes": watch.written_bytes / (1 << 20),
    }


def plan(folder: Path, num_videos: int) -> dict[str, Any]:
    """The plan alone: read the tables, then hand out every item."""
    asked = config(folder, "unused")
    started = time.perf_counter()
    with fake_workers(None) as watch:
        planned = driver.plan_job(driver.open_job(asked))
        after_plan = peak_megabytes()
        assert sum(1 for _ in planned.items()) == num_videos
    return {
        "plan_seconds": watch.seconds["plan_job"],
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
    job = driver.open_job(config(folder))
    items = list(driver.plan_job(job).items())
    assert len(items) == REMAINING
    for number in range(ADOPTED):
        group = items[number * 20 : number * 20 + 20]
        videos = [labeled.labeled(item.video_id, prompt_hash=item.prompt_hash) for item in group]
        labeled.publish(job.storage, folder / "spool", *videos, fingerprint=job.record.config_hash)
    return {}


class _FirstOffer(Exception):
    """Raised when a worker would start to label."""


class _Starts(ReceiptExecutor):
    def work(self, worker_id: str, offers: Any) -> None:
        raise _FirstOffer


def resume(folder: Path, num_videos: int) -> dict[str, Any]:
    """A job with `num_videos` finished is started again with some more, until a worker gets its first video."""
    asked = config(folder)
    started = time.perf_counter()
    with fake_workers(_Starts()) as watch, contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(_FirstOffer):
        driver.run(asked)
        raise AssertionError("nothing was left to label")
    return {
        "seconds": time.perf_counter() - started,
        "log_seconds": watch.seconds["open_job"],
        "plan_seconds": watch.seconds["plan_job"],
        "reconcile_seconds": watch.seconds["reconcile"],
    }


def again(folder: Path, num_videos: int) -> dict[str, Any]:
    """The same command over a finished job: nothing is left to do."""
    asked = config(folder)
    started = time.perf_counter()
    with fake_workers(None):
        assert driver.run(asked) == 0
    return {"seconds": time.perf_counter() - started}
