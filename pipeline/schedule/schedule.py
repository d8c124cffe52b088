"""One run with all that is around it. Read `run` from top to bottom.

The driver labels. Then steps follow, the end document is written, and somebody is told. What goes wrong after the
driver has ended loses nothing of its work.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline.command import ExitCode
from pipeline.commits.job_record import read_record
from pipeline.commits.owner import Ownership, look
from pipeline.commits.run_document import (
    RunDocument,
    StepDone,
    keep_run,
    read_last_run,
    runs_since,
    utc_now,
    write_last_run,
)
from pipeline.config.job_config import JobConfig
from pipeline.config.schedule_config import AfterConfig
from pipeline.driver import driver
from pipeline.driver.job import Job
from pipeline.driver.places import check_place
from pipeline.driver.run_record import RunRecord, exit_code_of, recorded_run, told
from pipeline.driver.summary import End
from pipeline.errors import ConfigError, NewerVersion, OwnedByAnother, StorageError, UnusableStore
from pipeline.redact import redact
from pipeline.schedule import after
from pipeline.schedule.end_document import end_document
from pipeline.schedule.notify import Tries, is_wanted, tell
from pipeline.schedule.usual import WEEK, worse_than
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import is_local
from pipeline.text import complain, mention

_log = logging.getLogger(__name__)

# The document informs, so that a store which is away is not waited for as long as for rows.
_PATIENCE = Backoff(patience_seconds=15.0)


_FOLLOWED = (ExitCode.DONE, ExitCode.FAILURES)
"""Ends of runs that steps follow."""


@dataclass(frozen=True)
class Parts:
    """The parts that a test replaces: those of the driver, the time of day, and how somebody is told."""

    driver: driver.Parts = driver.DEFAULT_PARTS
    now: Callable[[], datetime] = utc_now
    tries: Tries = field(default_factory=Tries)


DEFAULT_PARTS = Parts()


def run(config: JobConfig, parts: Parts = DEFAULT_PARTS) -> int:
    """Label what remains to be labeled, take the steps that follow, and return the exit code.

    Raises `ConfigError` if the job cannot start.
    """
    check_place("log_file", config.log_file)
    with recorded_run(config, parts.now) as record:
        try:
            after.check_steps(config)
            end = driver.carry_out(config, record, parts.driver)
        except BaseException as error:
            _refused(config, record, parts, error)
            raise
        document = _compared(config, record, _with_doubt(config, record, end_document(config, record, end)))
        document, end = _followed(config, record, document, end)
        _write(config, record, document)
        record.end(end.code, end.message)
        _tell(config, document, parts)
    return end.code


def _refused(config: JobConfig, record: RunRecord, parts: Parts, error: BaseException) -> None:
    """The end document of a run that an error ends, if the output is that of a job and nobody else is at work there."""
    state = "refused" if isinstance(error, ConfigError) else "crashed"
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else state
    document = end_document(config, record, End(exit_code_of(error), told(error), state))
    with contextlib.suppress(StorageError, NewerVersion, UnusableStore, ConfigError):
        storage = _storage(config)
        owner = look(storage)
        if read_record(storage) is not None and (owner is None or owner.is_gone):
            _write(config, record, document)
    _tell(config, document, parts)


def _followed(config: JobConfig, record: RunRecord, document: RunDocument, end: End) -> tuple[RunDocument, End]:
    """Take the steps after the run, which get its document. Returns this and the end, which a failing step changes."""
    if end.code not in _FOLLOWED or config.after == AfterConfig() or record.job is None:
        return document, end
    found = after.steps(config, record.job.log.state, record.started_at)
    if end.code is ExitCode.FAILURES:
        found = [step for step in found if step.is_of_failures]
    next_entry = record.job.log.state.next_entry
    try:
        if not after.are_due(found, config, read_last_run(record.job.storage), next_entry):
            return _with_steps(record, document, after.left_out(found, next_entry)), end
        with _owned(record.job):
            done = after.take(found, document, config.after.step_seconds)
            done = after.seen_up_to(done, record.job.log.refresh().next_entry)
    except OwnedByAnother as error:
        end = End(ExitCode.OWNED, redact(str(error)), "owned")
    except (StorageError, NewerVersion, UnusableStore) as error:
        end = End(ExitCode.AFTER, f"steps after the run: {redact(str(error))}", end.state)
    except KeyboardInterrupt:
        end = End(ExitCode.STOPPED, "stopped by a signal in a step after the run: the same command goes on from here")
    else:
        document = _with_steps(record, document, done)
        if problem := after.failed(done):
            code = ExitCode.AFTER if end.code is ExitCode.DONE else end.code
            end = End(code, f"{end.message}; {problem}", end.state)
    if end.code not in _FOLLOWED:
        complain(end.message)
    told_of = {"exit_code": int(end.code), "message": end.message, "state": end.state or "stopped"}
    return document.model_copy(update=told_of), end


def _with_steps(record: RunRecord, document: RunDocument, done: list[StepDone]) -> RunDocument:
    ended_at = record.now()
    times = {
        "ended_at": ended_at.isoformat(timespec="seconds"),
        "seconds": round((ended_at - record.started_at).total_seconds(), 3),
    }
    return document.model_copy(update={"after": done, **times})


@contextlib.contextmanager
def _owned(job: Job) -> Iterator[None]:
    """Hold the job while steps are at work, so that a second start neither takes the same steps nor changes the rows.

    With `single_driver=true` nobody else starts, and a compaction takes the place of the driver itself.
    """
    if job.config.single_driver:
        yield
        return
    ownership = Ownership(job.storage, job.log)
    ownership.acquire()
    try:
        yield
    finally:
        ownership.release()


def _with_doubt(config: JobConfig, record: RunRecord, document: RunDocument) -> RunDocument:
    """The document with the share of doubtful tracks. It only informs: where rows cannot be read, it stays unknown."""
    video_ids = [] if record.progress is None else record.progress.sample.video_ids
    if not video_ids or record.job is None or document.exit_code not in _FOLLOWED:
        return document
    # Here, because these are half a second of a start, and most runs have nothing to do.
    from pipeline.schedule.doubtful import count_doubtful
    from pipeline.tables import JobTables

    try:
        doubt = count_doubtful(JobTables(record.job.storage, record.job.log.state), video_ids)
    except StorageError as error:
        _log.warning("doubtful tracks are not counted: %s", redact(str(error)))
        return document
    return document.model_copy(update={"doubt": doubt})


def _compared(config: JobConfig, record: RunRecord, document: RunDocument) -> RunDocument:
    """The document with what is worse than in the week before."""
    if record.job is None or not document.num_labeled or document.exit_code == ExitCode.OWNED:
        return document
    try:
        before = runs_since(_storage(config), record.started_at - WEEK, record.started_at)
    except StorageError as error:
        _log.warning("the week before is not known: %s", redact(str(error)))
        return document
    worse = worse_than(document, before)
    for sentence in worse:
        _log.warning("worse than usual: %s", sentence)
    return document.model_copy(update={"worse": worse})


def _write(config: JobConfig, record: RunRecord, document: RunDocument) -> None:
    """Write the end document. A store that does not take it raises nothing, because the document only informs.

    The document of the driver at work is not overwritten. A run that found nothing to do changes nothing in an output,
    unless it belongs to a schedule, of which somebody wants to see that it ran.
    """
    if document.exit_code == ExitCode.OWNED or (record.progress is None and not _is_scheduled(config)):
        return
    try:
        storage = _storage(config)
        write_last_run(storage, document)
        if document.num_labeled or document.exit_code == ExitCode.AFTER:
            keep_run(storage, document)
    except (StorageError, UnusableStore) as error:
        _log.warning("the end document is not written: %s", redact(str(error)))


def _is_scheduled(config: JobConfig) -> bool:
    is_bounded = config.stop_after is not None or config.max_cost is not None
    return is_bounded or config.notify is not None or config.after != AfterConfig()


def _tell(config: JobConfig, document: RunDocument, parts: Parts) -> None:
    """Tell whoever wants to know of this end."""
    if config.notify is None or not is_wanted(config.notify_on, document):
        return
    # Whoever sends a signal kills some seconds later.
    tries = parts.tries.at_once() if document.exit_code == ExitCode.STOPPED else parts.tries
    if tell(config.notify, document.to_json(indent=2), tries):
        mention("notify   delivered")


def _storage(config: JobConfig) -> JobStorage:
    """The store of the job, for documents."""
    output = str(config.output)
    storage = JobStorage(output, {} if is_local(output) else config.storage_options, config.single_driver)
    return replace(storage, backoff=_PATIENCE)
