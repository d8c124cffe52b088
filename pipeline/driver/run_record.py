"""What `log_file=` says of a run as a whole: a first record, what is planned, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from pipeline.command import ExitCode
from pipeline.commits.job_record import versions
from pipeline.commits.run_document import utc_now
from pipeline.config.job_config import JobConfig
from pipeline.driver.clock import SystemClock
from pipeline.driver.job import Job
from pipeline.driver.log_file import json_log, log_run
from pipeline.driver.progress import Progress
from pipeline.driver.run_budget import RunBudget
from pipeline.driver.summary import as_facts
from pipeline.errors import ConfigError, OwnedByAnother, StorageError
from pipeline.inputs.plan import Plan
from pipeline.redact import redact_uri
from pipeline.storage.uris import StorageOptions


class RunRecord:
    """Collects what the last record says. Whoever runs the job tells it what is known by then.

    `job`, `plan` and `progress` are None until they are known. `budget` is what the run may spend.
    """

    def __init__(self, output: str | None, *, is_check: bool = False, now: Callable[[], datetime] = utc_now) -> None:
        self.now = now
        self.started_at = now()
        self.budget = RunBudget(SystemClock(), 0.0)
        self.job: Job | None = None
        self.plan: Plan | None = None
        self.progress: Progress | None = None
        self._started = time.monotonic()
        self._facts: dict[str, Any] = {"output": None if output is None else redact_uri(output), "check": is_check}
        self._counts: Callable[[], dict[str, Any]] = dict

    def start(self) -> None:
        """Write the first record: which output, with which program, where."""
        where = {"host": socket.gethostname(), "process_id": os.getpid()}
        log_run(logging.INFO, "the run starts", "run_started", **self._facts, **where, versions=versions())

    def planned(self, job: Job, plan: Plan) -> None:
        """Write what the job is and what is left of it."""
        self._facts |= {"output": str(job.storage), "config_hash": job.record.config_hash}
        self.follow(job, plan, None)
        left = {"num_done": plan.num_done, "num_to_label": plan.num_to_label}
        log_run(logging.INFO, "the run is planned", "run_planned", **self._facts, **self._counts(), **left)

    def follow(self, job: Job, plan: Plan, progress: Progress | None) -> None:
        """The last record will have the counts of this job, and of this run if it has anything to do."""
        self.job, self.plan, self.progress = job, plan, progress
        self._counts = partial(as_facts, job, plan, progress)

    def end(self, code: int, message: str) -> None:
        """Write the last record. An end that needs somebody is an error."""
        level = logging.INFO if code in (ExitCode.DONE, ExitCode.STOPPED) else logging.ERROR
        seconds = round(time.monotonic() - self._started, 3)
        about = self._facts | self._counts()
        log_run(level, message, "run_ended", exit_code=int(code), seconds=seconds, **about)


@contextlib.contextmanager
def recorded_run(config: JobConfig, now: Callable[[], datetime] = utc_now) -> Iterator[RunRecord]:
    """Write the log of one run, from its first record on. The last one is written by `end`, or for an error here.

    `now` tells the time of day by which the run is dated.
    """
    with json_log(config.log_file, config.storage_options):
        record = RunRecord(config.output, is_check=config.check, now=now)
        record.start()
        try:
            yield record
        except BaseException as error:
            record.end(exit_code_of(error), told(error))
            raise


def record_refusal(place: str | None, output: str | None, options: StorageOptions, error: Exception) -> None:
    """Write the log of a run that was refused before its config was whole. `place` is `log_file=`, if it is known."""
    with contextlib.suppress(ConfigError, StorageError), json_log(place, options):
        record = RunRecord(output)
        record.start()
        record.end(exit_code_of(error), str(error))


def exit_code_of(error: BaseException) -> ExitCode:
    """How a run ends that raises this."""
    if isinstance(error, ConfigError):
        return ExitCode.REFUSED
    if isinstance(error, OwnedByAnother):
        return ExitCode.OWNED
    return ExitCode.STOPPED if isinstance(error, KeyboardInterrupt) else ExitCode.ENVIRONMENT


def told(error: BaseException) -> str:
    """An error in a line; with its class if it is none that the program expects."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped by a signal: the same command goes on from here"
    is_expected = isinstance(error, ConfigError | OwnedByAnother | StorageError)
    return str(error) if is_expected else f"{type(error).__name__}: {error}"
