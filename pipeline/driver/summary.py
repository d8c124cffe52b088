"""What the command prints at the end."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.command import ExitCode
from pipeline.driver.job import Job
from pipeline.driver.progress import MAX_EXAMPLES, Failures, Progress, duration
from pipeline.inputs.plan import Plan
from pipeline.output.layout import table_glob
from pipeline.output.schema import TABLES
from pipeline.records import Ending, Status
from pipeline.redact import redact_uri
from pipeline.text import counted, describe_former, how_again, say

_EXIT_CODES = {
    Ending.DONE: ExitCode.DONE,
    Ending.STOPPED: ExitCode.STOPPED,
    Ending.FAILURES: ExitCode.FAILURES,
    Ending.ENVIRONMENT: ExitCode.ENVIRONMENT,
    Ending.STORAGE: ExitCode.ENVIRONMENT,
}


def report(job: Job, plan: Plan, progress: Progress | None, ending: Ending, reason: str = "") -> int:
    """Print the summary of a job and return the exit code. `progress` is None if nothing was left to do."""
    by_status = job.log.state.finished.num_by_status
    heading = f"maskmill: {ending.value}"
    if ending is Ending.FAILURES:
        heading += f" ({reason}, max_failed_fraction={job.config.max_failed_fraction:g})"
    elif ending is not Ending.DONE:
        heading += f"{f' ({reason})' if reason else ''}: the same command goes on from here"
    say(summary(progress, by_status, job.storage.uri, heading, plan.num_former))
    return _EXIT_CODES[ending]


def summary(
    progress: Progress | None, by_status: Mapping[Status, int], output: str, heading: str, num_former: int = 0
) -> str:
    """Counts of the whole job, failures of this run by cause, warnings, and where the tables lie.

    `progress` is None if nothing was left to do. `output` is the URI of the job. `num_former` of its videos are in no
    table of this run.
    """
    lines = [heading]
    counts = ", ".join(f"{by_status.get(status, 0)} {status.value}" for status in Status if by_status.get(status, 0))
    lines.append(f"videos   {sum(by_status.values())} ({counts or 'none'})")
    lines += describe_former(num_former)
    if progress is None:
        lines.append("this run nothing was left to do")
    else:
        frames_per_second = progress.num_frames / max(progress.seconds, 1e-3)
        lines.append(
            f"this run {counted(progress.num_ended, 'video')}, {counted(progress.num_frames, 'frame')}, "
            f"{counted(progress.num_masks, 'mask')} in {duration(progress.seconds)} ({frames_per_second:.1f} frames/s)"
        )
        for error_class, count in progress.failures.counts.most_common():
            lines.append(f"failed   {count} × {error_class}")
            lines += _examples(progress.failures, error_class)
        for error_class, count in progress.warnings.counts.items():
            lines.append(f"warned   {counted(count, 'labeled video')} with a warning")
            lines += _examples(progress.warnings, error_class)
    folder = redact_uri(output).rstrip("/")
    bad = {status: by_status[status] for status in (Status.FAILED, Status.QUARANTINED) if by_status.get(status, 0)}
    if bad:
        lines += [] if progress is not None else [f"why      python -m pipeline.status output={folder}"]
        lines.append(how_again(bad))
    lines += [f"{table:<8} {folder}/{table_glob(table)}" for table in TABLES]
    return "\n".join(lines)


def _examples(videos: Failures, error_class: str) -> list[str]:
    lines = [f"         {example}" for example in videos.examples[error_class]]
    more = videos.counts[error_class] - MAX_EXAMPLES
    return lines + ([f"         … and {more} more: column message of videos"] if more > 0 else [])
