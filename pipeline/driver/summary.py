"""What the command prints at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.command import ExitCode
from pipeline.commits.given_up import retries_of
from pipeline.driver.job import Job
from pipeline.driver.progress import Progress, duration
from pipeline.inputs.plan import Plan
from pipeline.inputs.reviewed_videos import taken_back
from pipeline.output.layout import table_glob
from pipeline.output.schema import TABLES
from pipeline.records import BAD, NO_OBJECTS, NO_RETRIES, Ending, ObjectCounts, Retries, Status
from pipeline.redact import redact, redact_uri
from pipeline.text import (
    OBJECT,
    WARNING,
    counted,
    describe_causes,
    describe_former,
    describe_left,
    describe_setbacks,
    how_again,
    mention,
    objects_line,
)

_EXIT_CODES = {
    Ending.DONE: ExitCode.DONE,
    Ending.BUDGET: ExitCode.DONE,
    Ending.STOPPED: ExitCode.STOPPED,
    Ending.FAILURES: ExitCode.FAILURES,
    Ending.ENVIRONMENT: ExitCode.ENVIRONMENT,
    Ending.STORAGE: ExitCode.ENVIRONMENT,
}


@dataclass(frozen=True)
class End:
    """How a run ended: the exit code, why in one line, and its state in a word: the name of an `Ending`."""

    code: ExitCode
    message: str
    state: str = ""


def report(
    job: Job, plan: Plan, progress: Progress | None, ending: Ending, reason: str = "", *, names_tables: bool = True
) -> End:
    """Print the summary of a job and say how the run ended; see `summary`."""
    message = ending.value
    if ending is Ending.FAILURES:
        message += f" ({reason}, max_failed_fraction={job.config.max_failed_fraction:g})"
    elif ending is Ending.BUDGET:
        num = num_waiting(plan, progress)
        message += f" ({reason}): {counted(num, 'video')} {'waits' if num == 1 else 'wait'} for the next run"
    elif ending is not Ending.DONE:
        message += f"{f' ({reason})' if reason else ''}: the same command goes on from here"
    if plan.num_wrong_left:
        stays = "stays as it was" if plan.num_wrong_left == 1 else "stay as they were"
        message += f"; {counted(plan.num_wrong_left, 'video')} with wrong rows in the tables {stays}"
    state = job.log.state
    withdrawn = taken_back(plan.reviews, state.finished, state.finished.setbacks)
    choice = plan.listing_choice
    counts = JobCounts(
        state.finished.num_by_status,
        state.objects(),
        plan.num_former,
        plan.num_videos,
        plan.num_left,
        "" if choice is None else choice.in_words(),
        state.num_set_back(withdrawn),
        len(state.set_aside()),
    )
    retries = retries_of(job.config.retry, job.config.max_attempts, state.finished, withdrawn)
    output = job.storage.uri if names_tables else None
    mention(summary(progress, counts, output, f"maskmill: {message}", retries))
    return End(_EXIT_CODES[ending], message, ending.name.lower())


def num_waiting(plan: Plan, progress: Progress | None) -> int:
    """How many videos of the plan have not ended: they wait for the next run."""
    return plan.num_videos - plan.num_done - (0 if progress is None else progress.num_ended)


def as_facts(job: Job, plan: Plan, progress: Progress | None) -> dict[str, Any]:
    """The counts of the summary as fields of a record: of the whole job, and of this run if it has `progress`."""
    state = job.log.state
    facts: dict[str, Any] = {
        "num_planned": plan.num_videos,
        "num_former": plan.num_former,
        "listing": plan.kind_of_listing,
        "num_left": plan.num_left,
        "videos": {status.value: state.finished.num_by_status[status] for status in Status},
        "objects": asdict(state.objects()),
        "num_masks": sum(size.num_masks for size in state.segments.values()),
    }
    if progress is not None:
        facts["this_run"] = {
            "videos": {status.value: progress.by_status[status] for status in Status},
            "failures": progress.causes.num_by_class(),
            "num_objects_failed": progress.num_objects_failed,
            "num_objects_warned": progress.num_objects_warned,
            "num_frames": progress.num_frames,
            "num_masks": progress.num_masks,
        }
    return facts


@dataclass(frozen=True)
class JobCounts:
    """What is in the tables: videos by status, and the objects of those that are `ok`.

    `num_former` of the videos are in no table of this run. The tables have `num_planned` videos. `num_left` files are
    still being written. `listing` says how a place in a store was listed. `num_set_back` videos could not be labeled
    again, and have their former rows. `num_again` have them until the round of reviews is finished.
    """

    by_status: Mapping[Status, int]
    objects: ObjectCounts = NO_OBJECTS
    num_former: int = 0
    num_planned: int = 0
    num_left: int = 0
    listing: str = ""
    num_set_back: Mapping[Status, int] = field(default_factory=dict)
    num_again: int = 0

    @property
    def num_ended(self) -> int:
        """All videos of the output, whatever their status."""
        return sum(self.by_status.values())

    @property
    def num_in_all(self) -> int:
        """Those that have ended, and those of the tables that have not."""
        return max(self.num_ended, self.num_planned + self.num_former)


def summary(
    progress: Progress | None, counts: JobCounts, output: str | None, heading: str, retries: Retries = NO_RETRIES
) -> str:
    """Counts of the whole job, failures of this run by cause, warnings, and where the tables lie.

    `progress` is None if nothing was left to do. `output` is the URI of the job, `retries` those of this run.
    Without an output nothing is said of where tables lie, nor of what reads or mends them.
    """
    by_status = counts.by_status
    named = ", ".join(f"{by_status.get(status, 0)} {status.value}" for status in Status if by_status.get(status, 0))
    of = f" of {counts.num_in_all}" if counts.num_ended < counts.num_in_all else ""
    lines = [heading, f"videos   {counts.num_ended}{of} ({named or 'none'})"]
    lines += describe_former(counts.num_former)
    lines += describe_left(counts.num_left)
    lines += [f"listing  {counts.listing}"] if counts.listing else []
    lines += describe_setbacks(counts.num_set_back, retries)
    if counts.num_again:
        have, their = ("has", "its") if counts.num_again == 1 else ("have", "their")
        lines.append(f"round    {counted(counts.num_again, 'video')} still {have} {their} former masks")
    lines += [objects_line(counts.objects)] if counts.objects != NO_OBJECTS else []
    if progress is None:
        lines.append("this run nothing was left to do")
    # The run removed videos, or cleaned up after a killed one.
    elif not (progress.num_ended or of or counts.num_again):
        lines.append("this run nothing was left to label")
    else:
        lines += _this_run(progress)
    if output is None:
        return "\n".join(lines)
    folder = redact_uri(output).rstrip("/")
    bad = {status: by_status[status] for status in BAD if by_status.get(status, 0)}
    if bad or counts.objects.num_failed:
        lines += [] if progress is not None else [f"why      python -m pipeline.status output={folder}"]
        lines.append(how_again(bad, counts.objects.num_videos_partly, retries))
    lines += [f"{table:<8} {folder}/{table_glob(table)}" for table in TABLES]
    return "\n".join(lines)


def _this_run(progress: Progress) -> list[str]:
    frames_per_second = progress.num_frames / max(progress.seconds, 1e-3)
    lines = [
        f"this run {counted(progress.num_ended, 'video')}, {counted(progress.num_frames, 'frame')}, "
        f"{counted(progress.num_masks, 'mask')} in {duration(progress.seconds)} ({frames_per_second:.1f} frames/s)"
    ]
    for node, why in sorted(progress.left_alone.items()):
        lines.append(f"node     {node} was left alone: {redact(' '.join(why.split()))}")
    lines += describe_causes(progress.causes.most_frequent(*(status.value for status in BAD)))
    return lines + describe_causes(progress.causes.most_frequent(OBJECT, WARNING), table="tracks")
