"""One job from its config to its tables. Read `run`, `drive` and `label` from top to bottom."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from pipeline.cluster.executor import Executor
from pipeline.command import ExitCode
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.owner import Ownership
from pipeline.commits.sorting import DRIVER_ID
from pipeline.commits.status_file import RunStatus, correct_status
from pipeline.config.job_config import JobConfig
from pipeline.driver.blame import Blame
from pipeline.driver.clock import DEFAULT_PACE, Clock, Pace, SystemClock
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.executors import open_executor
from pipeline.driver.gone import gone_videos
from pipeline.driver.job import Job, check_device, clean_up, is_finished, judged, open_job, plan_job, reconcile
from pipeline.driver.limits import FailureBudget, Limits
from pipeline.driver.log_file import log_video
from pipeline.driver.loop import Interrupts, Loop, Timing
from pipeline.driver.places import check_place
from pipeline.driver.progress import Progress
from pipeline.driver.results import JobLedger
from pipeline.driver.rounds import corrected_first, keep_from, with_former_rows
from pipeline.driver.run_budget import RunBudget
from pipeline.driver.run_record import RunRecord, recorded_run
from pipeline.driver.sample import Sample
from pipeline.driver.signals import StopSignals
from pipeline.driver.summary import End, report
from pipeline.driver.turns import keep_waiting, turns_of
from pipeline.driver.watching import Watch
from pipeline.errors import (
    ClusterDown,
    ConfigError,
    InputError,
    NewerVersion,
    OwnedByAnother,
    StoppedAtStart,
    StorageError,
    UnusableStore,
)
from pipeline.inputs.plan import Plan
from pipeline.output.rows import Provenance
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import SegmentWriter
from pipeline.records import Ending, Outcome, WorkItem
from pipeline.redact import redact
from pipeline.storage.scratch import WorkerFolder
from pipeline.tables import JobTables
from pipeline.text import complain

_log = logging.getLogger(__name__)

# An inbox holds work for one and a half beats: until the worker reports again, and for as long as the driver is late.
_BEATS_AHEAD = 1.5


@dataclass(frozen=True)
class Parts:
    """The parts that a test replaces: where workers run, what asks the driver to stop, the driver's pace and clock.

    `output_stays` is false for whoever reads the output at the end of the run and deletes it: the summary names no
    tables then.
    """

    open_executor: Callable[[Job], AbstractContextManager[Executor]] = open_executor
    open_signals: Callable[[], AbstractContextManager[StopSignals]] = StopSignals
    pace: Pace = DEFAULT_PACE
    clock: Clock = field(default_factory=SystemClock)
    output_stays: bool = True


DEFAULT_PARTS = Parts()


def run(config: JobConfig, parts: Parts = DEFAULT_PARTS) -> int:
    """Label what remains to be labeled and return the exit code. Raises `ConfigError` if the job cannot start."""
    check_place("log_file", config.log_file)
    with recorded_run(config) as record:
        end = carry_out(config, record, parts)
        record.end(end.code, end.message)
    return end.code


def carry_out(config: JobConfig, record: RunRecord, parts: Parts = DEFAULT_PARTS) -> End:
    """Label what remains to be labeled and say how that ended. `record` is told what is known of the run by then.

    Raises `ConfigError` if the job cannot start.
    """
    record.budget = RunBudget.of(config, parts.clock)
    try:
        job = open_job(config)
        plan = plan_job(job)
        record.planned(job, plan)
        for warning in plan.warnings:
            _log.warning("%s", warning)
        if is_finished(job, plan):
            ending, reason = judged(job)
            Watch.of(job, plan).keep_idle(plan)
            correct_status(job.storage, _status_now(job, plan, ending))
            return report(job, plan, None, ending, reason, names_tables=parts.output_stays)
        if plan.num_to_label:
            check_device(config)
        return drive(job, plan, record, parts)
    except (InputError, NewerVersion, UnusableStore) as error:
        raise ConfigError(str(error)) from error
    except OwnedByAnother as error:
        return _stopped(error, ExitCode.OWNED)
    except (StorageError, ClusterDown) as error:
        return _stopped(error, ExitCode.ENVIRONMENT)
    except KeyboardInterrupt:
        return End(ExitCode.STOPPED, "ended at once by a signal: the same command goes on from here")


def _status_now(job: Job, plan: Plan, ending: Ending) -> RunStatus:
    """What a run says of the job that had nothing left to label."""
    return RunStatus(
        state=ending.name.lower(),
        num_planned=plan.num_videos,
        num_former=plan.num_former,
        gone=gone_videos(job, plan),
        listing=plan.kind_of_listing,
        retry=job.config.retry,
        max_attempts=job.config.max_attempts,
    )


def drive(job: Job, plan: Plan, record: RunRecord, parts: Parts = DEFAULT_PARTS) -> End:
    """Take a job, so that no other driver works on it, and carry out its plan.

    Raises `OwnedByAnother` if another driver works on it, `StorageError` if storage is away, and `ConfigError` if
    another driver has used other options since the job was opened.
    """
    keep_from(job.log, job.log.state.round, job.config.keep_rounds)
    with parts.open_signals() as signals, _owned(job) as ownership:
        interrupts = Interrupts(lambda: signals.requested, ownership.check, record.budget.spent)
        return label(job, plan, record, interrupts, signals, parts)


def label(job: Job, plan: Plan, record: RunRecord, interrupts: Interrupts, signals: StopSignals, parts: Parts) -> End:
    """Carry out the plan of a job that this process owns."""
    retried = job.log.state.failed_before()
    with contextlib.closing(_spool_folder(job.config)) as folder:
        keeper = SegmentKeeper(job.storage, job.log, folder.path)
        plan = reconcile(job, plan, keeper)
        watch = Watch.of(job, plan)
        watch.keep(plan)
        retried |= job.log.state.failed_before()
        budget = FailureBudget(job.config.max_failed_fraction, retried)
        ledger = _ledger(job, keeper, folder.path)
        progress = Progress(
            plan.num_videos,
            plan.num_done,
            job.storage,
            clock=parts.clock,
            status_seconds=parts.pace.status_seconds,
            num_former=plan.num_former,
        )
        progress.sample = Sample(job.config.after.doubt_videos)
        progress.listing = plan.kind_of_listing
        progress.gone = gone_videos(job, plan)
        progress.retry, progress.max_attempts = job.config.retry, job.config.max_attempts
        record.follow(job, plan, progress)
        for recorded in ledger.record(chain(plan.no_prompts(), plan.refused()), interrupts.must_stop):
            _note_rows(recorded, progress, budget)
        ending, reason = Ending.STOPPED if interrupts.must_stop() else Ending.DONE, ""
        if plan.num_to_label and ending is Ending.DONE:
            is_bounded = record.budget.is_bounded
            turns = turns_of(plan, job.storage, record.started_at) if is_bounded else corrected_first(plan)
            items = plan.items(turns=turns)  # asks stores for sizes while Ray starts
            try:
                with parts.open_executor(job) as executor:
                    signals.install()
                    progress.follow(executor)
                    limits, timing = Limits.of(job.config.worker), Timing(parts.clock, parts.pace)
                    dispatcher = _dispatcher(job, plan, items, executor.gpus_per_worker)
                    loop = Loop(executor, dispatcher, ledger, progress, limits, interrupts, timing)
                    ending, reason = loop.run(budget), loop.last_failure
            except StoppedAtStart:
                ending = Ending.STOPPED
            signals.install()
        progress.end_line()
        is_cut = ending in (Ending.STOPPED, Ending.BUDGET)
        # Of ten million videos this takes seconds, so that a run which has done all the rows of a table does without.
        is_asked_for = is_cut or record.budget.is_bounded or plan.listing is not None
        left = plan.again(job.log.state.finished, job.log.state.set_aside()) if is_asked_for else plan
        if is_cut and left.num_done == plan.num_videos:
            ending = Ending.DONE  # the end came while the last video was finished
        if record.budget.is_bounded:
            keep_waiting(left, job.storage, record.started_at)
        if ending is Ending.DONE:
            clean_up(job, plan, keeper)
            ending, reason = judged(job, budget)
        elif ending is Ending.BUDGET and (too_many := budget.exceeded_at_end()):
            ending, reason = Ending.FAILURES, too_many
        watch.keep(left)
        progress.write_status(ending.name.lower(), 0)
    return report(job, plan, progress, ending, reason, names_tables=parts.output_stays)


def _note_rows(outcomes: Sequence[Outcome], progress: Progress, budget: FailureBudget) -> None:
    """Rows that the driver has written itself count as those of workers do."""
    progress.committed(outcomes)
    budget.count(outcomes)
    for outcome in outcomes:
        log_video(outcome, outcome.details.attempts)


def _dispatcher(job: Job, plan: Plan, items: Iterable[WorkItem], gpus_per_worker: float) -> Dispatcher:
    worker = job.config.worker
    state = job.log.state
    blame = Blame(state.strikes, worker.max_strikes, worker.storage_patience_seconds)
    # Attempts of earlier runs count on. They are looked up now, because items are made while a thread writes the log.
    attempts_before = state.attempts_before()
    items = with_former_rows(items, state)
    attempts = ((item, attempts_before(item.video_id, item.prompt_hash)) for item in items)
    numbered = (replace(item, attempt=item.attempt + before) if before else item for item, before in attempts)
    in_flight = worker.in_flight(on_gpu=gpus_per_worker > 0 or job.config.model.device == "cuda")
    ahead_seconds = _BEATS_AHEAD * worker.beat_seconds
    return Dispatcher(numbered, blame, in_flight, ahead_seconds, plan.num_to_label)


def _spool_folder(config: JobConfig) -> WorkerFolder:
    try:
        return WorkerFolder(config.worker.spool_dir)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"worker.spool_dir={config.worker.spool_dir}: cannot be written ({reason}); name another"
        ) from error


@contextlib.contextmanager
def _owned(job: Job) -> Iterator[Ownership]:
    ownership = Ownership(job.storage, job.log)
    ownership.acquire()
    try:
        yield ownership
    finally:
        ownership.release()


def _ledger(job: Job, keeper: SegmentKeeper, folder: Path) -> JobLedger:
    origin = SegmentOrigin(job.log.state.epoch, DRIVER_ID, job.record.config_hash)
    writer = SegmentWriter(job.storage, folder, origin)
    provenance = Provenance(DRIVER_ID, str(job.weights), job.record.config_hash, job.record.versions)
    return JobLedger(keeper, writer, provenance, lambda: JobTables(job.storage, job.log.state))


def _stopped(error: Exception, code: ExitCode) -> End:
    message = redact(str(error))
    complain(message)
    return End(code, message)
