"""`python -m pipeline.status output=…`: how a job stands, running or not, from another shell. It only reads.

`pipeline.standing` finds everything out. `as_text` and `as_document` show it to people and to machines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.commits.snapshot import JobState
from pipeline.commits.status_file import RunStatus
from pipeline.packages import leave_current_folder
from pipeline.records import BAD, Status
from pipeline.redact import redact
from pipeline.standing import JobStatus, read_status
from pipeline.storage.job_storage import JobStorage
from pipeline.text import (
    MAX_NAMED,
    OBJECT,
    WARNING,
    Cause,
    counted,
    describe_causes,
    describe_former,
    describe_setbacks,
    how_again,
    objects_line,
    one_line,
    say,
)


class StatusArguments(JobArguments):
    """The keys of the command."""

    as_json: bool = Field(default=False, alias="json", description="Print one JSON document, for programs.")
    fail_if_unfinished: bool = Field(
        default=False, description="End with the exit code of the state; --fail-if-unfinished means the same."
    )


HELP = f"""Prints how a job stands, whether it runs or not, and why videos and objects failed.

  python -m pipeline.status output=…

{describe_arguments(StatusArguments)}

Exit codes:
  {ExitCode.DONE}   The state is printed; with --fail-if-unfinished: the job is finished.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or a newer maskmill wrote it.

With --fail-if-unfinished also:
  {ExitCode.ENVIRONMENT}   The job was interrupted, or its model or its storage was not there: run it again.
  {ExitCode.OWNED}   A driver works on it.
  {ExitCode.FAILURES}   Too many videos failed.
  {ExitCode.STOPPED} A signal stopped it: run it again.
"""


def as_text(status: JobStatus) -> str:
    """The state in a few lines."""
    state, run = status.state, status.run
    lines = [f"maskmill: {status.storage}", f"state    {status.standing.sentence}", *_videos(status)]
    lines += [objects_line(status.objects)] if status.objects.num else []
    lines += _committed(state)
    if status.num_saved:
        videos = counted(status.num_saved, "unfinished video")
        lines.append(f"saved    {videos}; the next run goes on from their middle")
    if reviews := status.reviews.in_words():
        lines.append(f"reviews  {reviews}")
    lines += _this_run(run) + ([f"this run {status.standing.refused}"] if status.standing.refused else [])
    retries = status.retries()
    lines += describe_setbacks(status.reviews.set_back, retries)
    bad = {kind: state.finished.num_by_status[kind] for kind in BAD if state.finished.num_by_status[kind]}
    lines += describe_causes(status.causes.most_frequent(*(kind.value for kind in BAD)))
    lines += describe_causes(status.causes.most_frequent(OBJECT, WARNING), table="tracks")
    if bad or status.objects.num_failed:
        lines.append(how_again(bad, status.objects.num_videos_partly, retries))
    return "\n".join(lines)


def as_document(status: JobStatus) -> dict[str, Any]:
    """The state as one JSON object. Names and meanings of its fields stay; new ones may come."""
    state, run = status.state, status.run
    sizes = state.segments.values()
    return {
        "output": str(status.storage),
        "state": status.standing.name,
        "exit_code": int(status.standing.exit_code),
        "message": status.standing.sentence,
        "num_planned": None if run is None else run.num_planned,
        "num_former": None if run is None else run.num_former,
        "videos": {kind.value: state.finished.num_by_status[kind] for kind in Status},
        "objects": asdict(status.objects),
        "num_masks": sum(size.num_masks for size in sizes),
        "num_segments": len(sizes),
        "num_bytes": sum(size.num_bytes for size in sizes),
        "num_saved": status.num_saved,
        "strikes": dict(state.strikes),
        "reviews": status.reviews.counts(),
        "run": None if run is None else run.to_dict() | {"last_error": redact(run.last_error)},
        "causes": [_cause(cause) for cause in status.causes.most_frequent()],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return asdict(cause) | {"message": redact(cause.message), "named": list(cause.named)}


def _videos(status: JobStatus) -> list[str]:
    state, run = status.state, status.run
    num_former = 0 if run is None else run.num_former
    num_planned = None if run is None else run.num_planned
    num_here = len(state.finished) - num_former
    # An earlier version did not say which of them are former.
    of = f" of {num_planned}" if num_planned is not None and num_here <= num_planned else ""
    former = f", and {num_former} former" if num_former else ""
    by_status = _by_status(state.finished.num_by_status)
    return [f"videos   {num_here}{of} in the tables{former} ({by_status})", *describe_former(num_former)]


def _by_status(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status]) or "none"


def _committed(state: JobState) -> list[str]:
    num_masks = sum(size.num_masks for size in state.segments.values())
    num_bytes = sum(size.num_bytes for size in state.segments.values())
    lines = [f"masks    {num_masks} in {counted(len(state.segments), 'segment')}, {num_bytes / 1e6:.1f} MB"]
    if state.strikes:
        named = ", ".join(f"{one_line(v)} ({count})" for v, count in list(state.strikes.items())[:MAX_NAMED])
        lines.append(
            f"suspects {counted(len(state.strikes), 'video')} in flight when a worker died (how often): {named}"
        )
    return lines


def _this_run(run: RunStatus | None) -> list[str]:
    if run is None:
        return []
    lines = [
        f"rates    {counted(run.num_frames, 'frame')} in this run, {run.frames_per_second:.1f} frames/s, "
        f"{run.videos_per_second * 60:.1f} videos/min, {counted(run.num_workers, 'worker')} "
        f"(written {run.written_at or '?'})"
    ]
    if run.stage_seconds:
        stages = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in run.stage_seconds.items())
        lines.append(f"stages   {stages}")
    if run.last_error:
        lines.append(f"last error: {one_line(redact(run.last_error), 500)}")
    return lines


def run(arguments: StatusArguments) -> ExitCode:
    """Print the state of the job, and return the exit code."""
    status = read_status(JobStorage(arguments.output, arguments.storage_options))
    say(json.dumps(as_document(status), indent=2) if arguments.as_json else as_text(status))
    return status.standing.exit_code if arguments.fail_if_unfinished else ExitCode.DONE


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, StatusArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
