"""How a run ended, gathered from what its driver knew by then."""

from __future__ import annotations

from datetime import datetime

from pipeline.commits.run_document import CauseOfFailure, RunDocument
from pipeline.config.job_config import JobConfig
from pipeline.driver.progress import Progress
from pipeline.driver.run_record import RunRecord
from pipeline.driver.summary import End, num_waiting
from pipeline.records import Status
from pipeline.redact import redact, redact_uri
from pipeline.storage.uris import absolute_place
from pipeline.text import one_line

_MOST_CAUSES = 12
_MOST_LETTERS = 300


def end_document(config: JobConfig, record: RunRecord, end: End) -> RunDocument:
    """The document of a run, without what follows it: steps, doubts, and the comparison with earlier nights."""
    ended_at = record.now()
    seconds = (ended_at - record.started_at).total_seconds()
    known = RunDocument(
        output=redact_uri(absolute_place(config.output)) if config.output else "",
        started_at=_as_text(record.started_at),
        ended_at=_as_text(ended_at),
        seconds=round(max(0.0, seconds), 3),
        state=end.state or end.code.name.lower(),
        exit_code=int(end.code),
        message=redact(end.message),
        price_per_hour=config.price_per_hour,
        cost=None if config.price_per_hour is None else 0.0,
    )
    if record.job is None or record.plan is None:
        return known
    plan, by_status = record.plan, record.job.log.state.finished.num_by_status
    known = known.model_copy(
        update={
            "entry": record.job.num_entries,
            "num_planned": plan.num_videos,
            "num_former": plan.num_former,
            "listing": plan.kind_of_listing,
            "listing_why": "" if plan.listing_choice is None else plan.listing_choice.in_words(),
            "num_left": plan.num_left,
            "num_before_this_run": plan.num_done,
            "num_waiting": num_waiting(plan, record.progress),
            "videos": {status.value: by_status[status] for status in Status},
        }
    )
    return known if record.progress is None else _with_progress(known, record.progress)


def _with_progress(known: RunDocument, progress: Progress) -> RunDocument:
    """What a run has done, which had something to do."""
    seconds = max(progress.seconds, 1e-3)
    price = known.price_per_hour
    causes = [
        CauseOfFailure(
            kind=cause.kind,
            error_class=cause.error_class,
            message=one_line(redact(cause.message), _MOST_LETTERS),
            count=cause.count,
        )
        for cause in progress.causes.most_frequent()[:_MOST_CAUSES]
    ]
    return known.model_copy(
        update={
            "num_ended": {status.value: progress.by_status[status] for status in Status},
            "num_objects_failed": progress.num_objects_failed,
            "num_objects_warned": progress.num_objects_warned,
            "num_frames": progress.num_frames,
            "num_masks": progress.num_masks,
            "frames_per_second": round(progress.num_frames / seconds, 3),
            "videos_per_second": round(progress.by_status[Status.OK] / seconds, 5),
            "worker_seconds": round(progress.worker_seconds, 3),
            "cost": None if price is None else round(progress.worker_seconds / 3600 * price, 4),
            "failures": progress.causes.num_by_class(),
            "causes": causes,
        }
    )


def _as_text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
