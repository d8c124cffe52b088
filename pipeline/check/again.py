"""What a run would label again, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.driver.job import Job
from pipeline.driver.rounds import NO_OBJECTS_AGAIN, ObjectsAgain, objects_again
from pipeline.inputs.plan import Plan
from pipeline.records import Reason
from pipeline.text import counted


@dataclass(frozen=True)
class Again:
    """Finished videos that are labeled again: how many by reason.

    `difference` are the options that differ from those of the output, a line each. It is a run's reason to label all
    again (`relabel=true`), and without that to refuse: `is_refused`. Of videos that reviewers have corrected only some
    `objects` are labeled, and others leave the tables.
    """

    num_by_reason: dict[str, int]
    difference: str
    is_refused: bool
    objects: ObjectsAgain = NO_OBJECTS_AGAIN

    @classmethod
    def of(cls, job: Job, plan: Plan) -> Again:
        """By the log and the tables."""
        if job.relabels_all and job.record_before is not None:
            lines = job.record_before.differences(job.record)
            return cls({Reason.RELABEL.value: len(job.log.state.finished)}, lines, not job.config.relabel)
        by_reason = {str(reason): number for reason, number in Counter(plan.reasons().values()).items()}
        return cls(by_reason, "", False, objects_again(plan, job.storage, job.log.state))

    def of_reviews(self) -> list[str]:
        """A line about what reviewers have corrected; none if that is nothing."""
        num_videos = self.num_by_reason.get(Reason.REVIEW, 0)
        if not num_videos:
            return []
        objects, videos = counted(self.objects.num, "object"), counted(num_videos, "video")
        leave = f"{self.objects.num_leaving} that reviewers took back would leave the tables, "
        leaving = leave if self.objects.num_leaving else ""
        return [f"reviews  {objects} of {videos} would be labeled again, {leaving}the others keep their masks"]
