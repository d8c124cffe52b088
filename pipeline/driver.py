"""One job from its config to its tables. The main path is `run` and `label`: read them from top to bottom."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from pipeline.commits import CommitLog, OwnedByAnother
from pipeline.config import ConfigError, JobConfig
from pipeline.dispatch import Dispatcher
from pipeline.executors import Executor, SerialExecutor
from pipeline.faults import StorageError
from pipeline.fingerprint import (
    Checkpoint,
    JobRecord,
    difference,
    make_record,
    read_record,
    resolve_checkpoint,
    write_record,
)
from pipeline.inputs import InputError, InputTables
from pipeline.ledger import JobLedger
from pipeline.loop import Ending, Limits, Loop
from pipeline.owner import Ownership, new_writer_id
from pipeline.plan import Plan, make_plan
from pipeline.printing import counted, say
from pipeline.progress import Progress, summary
from pipeline.reconcile import SegmentKeeper
from pipeline.redact import redact, redact_uri
from pipeline.refusals import Refusals
from pipeline.rows import Provenance
from pipeline.saved_sessions import delete_all
from pipeline.schema import NewerVersion
from pipeline.segment_files import SegmentOrigin, list_segments
from pipeline.segments import FlushPolicy, SegmentWriter
from pipeline.signals import StopSignals
from pipeline.storage import JobStorage, UnusableStore
from pipeline.uris import is_local, local_path
from pipeline.watch import RayMetrics, json_log
from pipeline.work import Status
from pipeline.worker_files import WorkerFolder
from pipeline.worker_settings import WorkerSettings, make_worker

_log = logging.getLogger(__name__)

EXIT_DONE, EXIT_ENVIRONMENT, EXIT_OWNED, EXIT_FAILURES, EXIT_STOPPED = 0, 1, 3, 4, 143

_EXIT_CODES = {
    Ending.DONE: EXIT_DONE,
    Ending.STOPPED: EXIT_STOPPED,
    Ending.FAILURES: EXIT_FAILURES,
    Ending.ENVIRONMENT: EXIT_ENVIRONMENT,
    Ending.STORAGE: EXIT_ENVIRONMENT,
}


@dataclass(frozen=True)
class Job:
    """A job as it was found: where it lies, what its log says, what this run is and what earlier ones were.

    `num_entries` is the length of the log then: if it has grown by more than our claim, another driver was at work.
    """

    config: JobConfig
    storage: JobStorage
    log: CommitLog
    checkpoint: Checkpoint
    record: JobRecord
    record_before: JobRecord | None
    num_entries: int

    @property
    def relabels_all(self) -> bool:
        """Whether earlier masks are of another model or other options."""
        return self.record_before is not None and self.record_before.fingerprint != self.record.fingerprint


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
        return _stopped(error, EXIT_OWNED)
    except StorageError as error:
        return _stopped(error, EXIT_ENVIRONMENT)
    except KeyboardInterrupt:
        return EXIT_STOPPED


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
                loop = Loop(
                    executor,
                    Dispatcher(
                        items,
                        job.log.state.strikes,
                        videos_in_flight=job.config.worker.videos_in_flight,
                        max_strikes=job.config.worker.max_strikes,
                        refusals=Refusals(job.config.worker.storage_patience_seconds),
                    ),
                    ledger,
                    progress,
                    _limits(job.config),
                    must_stop=lambda: signals.requested,
                    check_owner=ownership.check,
                )
                ending, reason = loop.run(), loop.last_failure
            signals.install()
        progress.end_line()
        if ending is Ending.DONE:
            keeper.sweep()
            delete_all(job.storage)
            ending, reason = judged(job)
        progress.write_status(ending.name.lower(), 0)
    return report(job, progress, ending, reason)


def open_job(config: JobConfig) -> Job:
    """The job at `output`, with its log. Raises `ConfigError` if it was made by another model or other options."""
    config = replace(
        config,
        videos=_absolute(config.videos),
        prompts=_absolute(config.prompts),
        output=_absolute(config.output),
    )
    assert config.output is not None
    _check_apart(config)
    options = {} if is_local(config.output) else config.storage_options
    storage = JobStorage(config.output, options, config.single_driver)
    before = read_record(storage)
    checkpoint = resolve_checkpoint(config, before)
    record = make_record(config, checkpoint)
    if not config.relabel:
        _check_same(before, record, storage)
    log = CommitLog(storage, new_writer_id())
    num_entries = log.load().next_entry
    return Job(config, storage, log, checkpoint, record, before, num_entries)


def plan_job(job: Job) -> Plan:
    """What the input tables ask for and the log does not have."""
    config = job.config
    assert config.prompts is not None
    tables = InputTables(config.videos, config.prompts, config.storage_options)
    done = {} if job.relabels_all else job.log.state.terminal
    return make_plan(tables, done, _retried(config))


def _check_apart(config: JobConfig) -> None:
    """Raises `ConfigError` if the output lies in a folder of input tables: the next run would read its tables."""
    for key in ("videos", "prompts"):
        folder = getattr(config, key)
        if folder and str(config.output).startswith(folder.rstrip("/") + "/"):
            raise ConfigError(
                f"output={redact_uri(str(config.output))} lies in {key}={redact_uri(folder)}, all tables of which are "
                f"input: name another output, or the files or the glob that {key}= means"
            )


def check_device(config: JobConfig) -> None:
    """Raises `ConfigError` if the workers, which run on this machine, will find no GPU that they are asked to use.

    A cluster's workers find out by themselves: this machine says nothing about theirs.
    """
    if config.model.device != "cuda" or config.cluster.kind == "existing":
        return
    from pipeline.devices import choose_device

    try:
        choose_device(config.model)
    except RuntimeError as error:
        raise ConfigError(str(error)) from error


def _retried(config: JobConfig) -> frozenset[Status]:
    return frozenset(Status(name) for name in config.retry)


def is_finished(job: Job, plan: Plan) -> bool:
    """Whether nothing is left to do: then Ray is not started and nothing is written."""
    if job.record_before is None or job.relabels_all or plan.num_done < plan.num_videos:
        return False
    return list_segments(job.storage).keys() <= job.log.state.segments.keys()


def reconcile(job: Job, plan: Plan, keeper: SegmentKeeper) -> Plan:
    """Brings output and log up to date before anything is labelled, and returns the plan of what remains.

    Segments that a killed run published and could not commit are adopted. Rows that are to be replaced are removed.
    """
    state = job.log.state
    was_changed = state.next_entry > job.num_entries + 1
    if was_changed:
        job = replace(job, record_before=read_record(job.storage))
        if not job.config.relabel:
            _check_same(job.record_before, job.record, job.storage)
    is_stale = job.relabels_all or was_changed
    if job.relabels_all:
        _log.warning("relabel=true: the rows of %s are removed first", counted(len(state.terminal), "video"))
        keeper.forget(list(state.terminal))
    before = job.record_before
    if job.relabels_all or before is None or before.has_single_driver != job.record.has_single_driver:
        write_record(job.storage, job.record)
    adopted = keeper.adopt(job.record.config_hash)
    if adopted:
        _log.info("whole and counted, from a run that was killed: %s", counted(len(adopted), "video"))
    if adopted or is_stale:
        plan = plan.again(state.terminal, _retried(job.config))
    if plan.changed:
        _log.info("labelled again, with other prompts than before: %s", counted(len(plan.changed), "video"))
    keeper.forget(plan.replaced)
    return plan


@contextlib.contextmanager
def open_executor(job: Job) -> Iterator[Executor]:
    """Workers as `cluster=` says. Imports Ray only if it is wanted."""
    config = job.config
    cluster, worker = config.cluster, config.worker
    settings = WorkerSettings(
        model=config.model,
        checkpoint=job.checkpoint,
        propagate=config.propagate,
        frames=config.frames,
        flush=_flush_policy(config),
        storage=job.storage,
        storage_options=config.storage_options,
        epoch=job.log.state.epoch,
        config_hash=job.record.config_hash,
        versions=job.record.versions,
        checkpoint_rule=config.checkpoint,
        num_threads=cluster.cpus_per_actor,
        videos_in_flight=worker.videos_in_flight,
        beat_seconds=worker.beat_seconds,
        hang_seconds=worker.hang_seconds,
        spool_dir=worker.spool_dir,
    )
    make = partial(make_worker, settings)
    executor: Executor
    if cluster.kind == "serial":
        executor = SerialExecutor(make)
    else:
        from pipeline.ray_executor import RayExecutor

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


def judged(job: Job) -> tuple[Ending, str]:
    """How a job that has come to its end counts, all its runs together, and why."""
    by_status = job.log.state.terminal.num_by_status
    bad = by_status[Status.FAILED] + by_status[Status.QUARANTINED]
    ended = bad + by_status[Status.OK]
    if bad > job.config.max_failed_fraction * ended:
        return Ending.FAILURES, f"{bad} of {ended}"
    return Ending.DONE, ""


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


def _check_same(before: JobRecord | None, now: JobRecord, storage: JobStorage) -> None:
    """Raises `ConfigError` if the masks of a job were made by another model or other options than asked for now."""
    changes = difference(before.fingerprint, now.fingerprint) if before else ""
    if changes:
        raise ConfigError(
            f"output={storage} holds masks that were made otherwise:\n{changes}\n"
            "Name another output, or label everything there again with relabel=true."
        )


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


def _flush_policy(config: JobConfig) -> FlushPolicy:
    flush = config.flush
    return FlushPolicy(int(flush.megabytes * (1 << 20)), flush.seconds, flush.elapsed_fraction)


def _absolute(uri: str | None) -> str | None:
    """Local paths as seen from here: workers may run elsewhere."""
    if uri is None or not is_local(uri):
        return uri
    return str(Path(local_path(uri)).expanduser().absolute())


def _stopped(error: Exception, code: int) -> int:
    print(f"maskmill: {redact(str(error))}", file=sys.stderr)
    return code
