"""One job from its config to its tables. The main path is `run` and `label`: read them from top to bottom."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from pipeline.cluster.executor import Executor, SerialExecutor, make_worker
from pipeline.cluster.ray_metrics import RayMetrics
from pipeline.command import ExitCode
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.owner import Ownership
from pipeline.config.job_config import JobConfig
from pipeline.driver.blame import Blame
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.job import Job, check_device, is_finished, judged, open_job, plan_job, reconcile
from pipeline.driver.limits import Limits
from pipeline.driver.log_file import json_log
from pipeline.driver.loop import Interrupts, Loop
from pipeline.driver.progress import Progress, summary
from pipeline.driver.results import JobLedger
from pipeline.driver.signals import StopSignals
from pipeline.errors import ConfigError, InputError, NewerVersion, OwnedByAnother, StorageError, UnusableStore
from pipeline.inputs.plan import Plan
from pipeline.output.rows import Provenance
from pipeline.output.saved_sessions import delete_all
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import SegmentWriter
from pipeline.records import Ending
from pipeline.redact import redact
from pipeline.storage.scratch import WorkerFolder
from pipeline.text import counted, say
from pipeline.worker.settings import JobFacts, WorkerSettings

_log = logging.getLogger(__name__)

_EXIT_CODES = {
    Ending.DONE: ExitCode.DONE,
    Ending.STOPPED: ExitCode.STOPPED,
    Ending.FAILURES: ExitCode.FAILURES,
    Ending.ENVIRONMENT: ExitCode.ENVIRONMENT,
    Ending.STORAGE: ExitCode.ENVIRONMENT,
}


def run(config: JobConfig) -> int:
    """Labels what remains to be labelled and returns the exit code. Raises `ConfigError` if the job cannot start."""
    try:
        job = open_job(config)
        plan = plan_job(job)
        for warning in plan.warnings:
            _log.warning("%s", warning)
        if is_finished(job, plan):
            return report(job, None, *judged(job))
        if plan.num_to_label:
            check_device(config)
        with _log_file(config), StopSignals() as signals, _owned(job) as ownership:
            return label(job, plan, ownership, signals)
    except (InputError, NewerVersion, UnusableStore) as error:
        raise ConfigError(str(error)) from error
    except OwnedByAnother as error:
        return _stopped(error, ExitCode.OWNED)
    except StorageError as error:
        return _stopped(error, ExitCode.ENVIRONMENT)
    except KeyboardInterrupt:
        return ExitCode.STOPPED


def label(job: Job, plan: Plan, ownership: Ownership, signals: StopSignals) -> int:
    """Runs a job that this process owns to its end, and returns the exit code."""
    with contextlib.closing(_spool_folder(job.config)) as folder:
        keeper = SegmentKeeper(job.storage, job.log, folder.path)
        plan = reconcile(job, plan, keeper)
        ledger = _ledger(job, keeper, folder.path)
        progress = Progress(plan.num_videos, plan.num_done, job.storage)
        for recorded in ledger.record(chain(plan.no_prompts(), plan.refused()), lambda: signals.requested):
            progress.committed(recorded)
        ending, reason = Ending.STOPPED if signals.requested else Ending.DONE, ""
        if plan.num_to_label and ending is Ending.DONE:
            items = plan.items()  # asks stores for sizes while Ray starts
            with open_executor(job) as executor:
                signals.install()
                _export_metrics(progress, executor)
                worker = job.config.worker
                blame = Blame(job.log.state.strikes, worker.max_strikes, worker.storage_patience_seconds)
                dispatcher = Dispatcher(items, blame, worker.videos_in_flight)
                interrupts = Interrupts(lambda: signals.requested, ownership.check)
                loop = Loop(executor, dispatcher, ledger, progress, _limits(job.config), interrupts)
                ending, reason = loop.run(), loop.last_failure
            signals.install()
        progress.end_line()
        if ending is Ending.DONE:
            keeper.sweep()
            delete_all(job.storage)
            ending, reason = judged(job)
        progress.write_status(ending.name.lower(), 0)
    return report(job, progress, ending, reason)


@contextlib.contextmanager
def open_executor(job: Job) -> Iterator[Executor]:
    """Workers as `cluster=` says. Imports Ray only if it is wanted."""
    config = job.config
    cluster, worker = config.cluster, config.worker
    facts = JobFacts(
        weights=job.checkpoint,
        storage=job.storage,
        storage_options=config.storage_options,
        epoch=job.log.state.epoch,
        config_hash=job.record.config_hash,
        versions=job.record.versions,
    )
    settings = WorkerSettings(
        job=facts,
        model=config.model,
        propagate=config.propagate,
        frames=config.frames,
        flush=config.flush,
        checkpoint=config.checkpoint,
        worker=worker,
        cpus=cluster.cpus_per_actor,
    )
    make = partial(make_worker, settings)
    executor: Executor
    if cluster.kind == "serial":
        executor = SerialExecutor(make)
    else:
        from pipeline.cluster.ray_executor import RayExecutor

        executor = RayExecutor(make, cluster, worker.hang_seconds, worker.setup_seconds, config.model.device)
    workers, cpus = counted(executor.capacity, "worker"), counted(cluster.cpus_per_actor, "CPU")
    _log.info("cluster=%s: up to %s, %s each", cluster.kind, workers, cpus)
    try:
        yield executor
    finally:
        executor.close()


def _limits(config: JobConfig) -> Limits:
    """When the loop gives up. Videos that failed before and are tried again say nothing of how the job goes."""
    return Limits.of(config.worker, 1.0 if config.retry else config.max_failed_fraction)


def _spool_folder(config: JobConfig) -> WorkerFolder:
    try:
        return WorkerFolder(config.worker.spool_dir)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"worker.spool_dir={config.worker.spool_dir}: cannot be written ({reason}); name another"
        ) from error


def _export_metrics(progress: Progress, executor: Executor) -> None:
    """Counts as Ray metrics, where there is Ray."""
    if not isinstance(executor, SerialExecutor):
        progress.observers.append(RayMetrics())
        progress.gpus_per_worker = getattr(executor, "gpus_per_worker", 0.0)


@contextlib.contextmanager
def _log_file(config: JobConfig) -> Iterator[None]:
    try:
        opened = json_log(config.log_file)
        opened.__enter__()
    except OSError as error:
        raise ConfigError(f"log_file={config.log_file}: cannot be written ({error.strerror}); name another") from error
    with contextlib.ExitStack() as stack:
        stack.push(opened.__exit__)
        yield


def report(job: Job, progress: Progress | None, ending: Ending, reason: str = "") -> int:
    """Prints the summary and returns the exit code."""
    by_status = job.log.state.terminal.num_by_status
    heading = f"maskmill: {ending.value}"
    if ending is Ending.FAILURES:
        heading += f" ({reason}, max_failed_fraction={job.config.max_failed_fraction:g})"
    elif ending is not Ending.DONE:
        heading += f"{f' ({reason})' if reason else ''}: the same command goes on from here"
    say(summary(progress, by_status, job.storage.uri, heading))
    return _EXIT_CODES[ending]


@contextlib.contextmanager
def _owned(job: Job) -> Iterator[Ownership]:
    ownership = Ownership(job.storage, job.log)
    ownership.acquire()
    try:
        yield ownership
    finally:
        ownership.release()


def _ledger(job: Job, keeper: SegmentKeeper, folder: Path) -> JobLedger:
    origin = SegmentOrigin(job.log.state.epoch, "driver", job.record.config_hash)
    writer = SegmentWriter(job.storage, folder, origin)
    provenance = Provenance("driver", str(job.checkpoint), job.record.config_hash, job.record.versions)
    return JobLedger(keeper, writer, provenance)


def _stopped(error: Exception, code: ExitCode) -> ExitCode:
    print(f"maskmill: {redact(str(error))}", file=sys.stderr)
    return code
