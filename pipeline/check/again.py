"""What a run would label again, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.commits.job_record import difference
from pipeline.driver.job import Job
from pipeline.inputs.plan import Plan
from pipeline.records import Reason


@dataclass(frozen=True)
class Again:
    """Finished videos that are labeled again: how many by reason.

    `difference` are the options that differ from those of the output, a line each. It is a run's reason to label all
    again (`relabel=true`), and without that to refuse: `is_refused`.
    """

    num_by_reason: dict[str, int]
    difference: str
    is_refused: bool

    @classmethod
    def of(cls, job: Job, plan: Plan) -> Again:
        """By the log and the tables."""
        if job.relabels_all and job.record_before is not None:
            lines = difference(job.record_before.fingerprint, job.record.fingerprint)
            return cls({Reason.RELABEL.value: len(job.log.state.finished)}, lines, not job.config.relabel)
        return cls({str(reason): number for reason, number in Counter(plan.reasons().values()).items()}, "", False)
