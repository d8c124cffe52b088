"""`python -m pipeline.status output=…`: how a job stands, running or not, from another shell. It only reads."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.commits import owner, status_file
from pipeline.commits.log import CommitLog, no_job
from pipeline.commits.snapshot import JobState
from pipeline.commits.status_file import RunStatus
from pipeline.errors import NewerVersion
from pipeline.output.saved_sessions import num_saved
from pipeline.packages import leave_current_folder
from pipeline.records import Ending, Status
from pipeline.redact import redact
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import counted, describe_former, how_again, say

HELP = f"""Prints how a job stands, whether it runs or not, and why videos failed.

  python -m pipeline.status output=…

{describe_arguments(("output", "storage_options"))}

Exit codes:
  {ExitCode.DONE}   The state is printed.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or a newer maskmill wrote it.
"""

_GOES_ON = "the same command goes on from here"
_SILENT_SECONDS = 60.0
_MAX_CAUSES = 12
_MAX_NAMED = 3
_BAD = (Status.FAILED, Status.QUARANTINED)
_PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S+|-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Cause:
    """Videos that failed for the same reason. `message` is that of one of them; `video_ids` are the first few."""

    status: Status
    error_class: str
    message: str
    num_videos: int
    video_ids: tuple[str, ...]


def read_status(storage: JobStorage) -> str:
    """The state of the job in a few lines.

    Raises:
        FileNotFoundError: there is no job.
        NewerVersion: a newer version of this program has written the log or drives the job.
        StorageError: the store does not answer.
    """
    state = CommitLog(storage, "reader").load()
    driver = owner.look(storage)
    if state.next_entry == 0 and driver is None:
        raise no_job(storage)
    try:
        run, refused = status_file.read_status(storage), []
    except NewerVersion as error:
        run, refused = None, [f"this run {error}"]
    lines = [f"maskmill: {storage}", f"state    {_state(run, driver)}", f"videos   {_counts(state, run)}"]
    lines += describe_former(0 if run is None else run.num_former)
    lines += _committed(state)
    lines += _saved(storage)
    lines += _this_run(run) + refused
    lines += describe_causes(find_causes(JobTables(storage, state)))
    return "\n".join(lines)


def find_causes(job: JobTables) -> list[Cause]:
    """Why videos failed or were quarantined, most frequent first. Reads only the segments that hold such videos."""
    bad = [video_id for video_id, finished in job.state.finished.items() if finished.status in _BAD]
    if not bad:
        return []
    rows = job.videos(bad).select(["video_id", "status", "error_class", "message"]).to_pylist()
    return group_by_cause(rows)


def group_by_cause(rows: Iterable[Mapping[str, str]]) -> list[Cause]:
    """Rows of `videos` put together where status, class and message agree, but for names, paths and numbers in it."""
    groups: dict[tuple[str, str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        cause = _PARTICULARS.sub("…", row["message"])
        groups.setdefault((row["status"], row["error_class"], cause), []).append(row)
    causes = [
        Cause(
            Status(status),
            error_class,
            group[0]["message"],
            len(group),
            tuple(row["video_id"] for row in group[:_MAX_NAMED]),
        )
        for (status, error_class, _), group in groups.items()
    ]
    return sorted(causes, key=lambda cause: (-cause.num_videos, cause.status, cause.error_class, cause.message))


def describe_causes(causes: list[Cause]) -> list[str]:
    """Lines for people: how many videos, why, which, and what labels them again."""
    lines = []
    for cause in causes[:_MAX_CAUSES]:
        more = ", …" if cause.num_videos > len(cause.video_ids) else ""
        named = ", ".join(_short(video_id) for video_id in cause.video_ids)
        lines.append(f"{cause.status.value:<11} {cause.num_videos} × {cause.error_class}: {_short(cause.message, 300)}")
        lines.append(f"            {named}{more}")
    if len(causes) > _MAX_CAUSES:
        left = sum(cause.num_videos for cause in causes[_MAX_CAUSES:])
        lines.append(
            f"            {counted(left, 'more video')} of other causes: see column message of the table videos"
        )
    by_status = Counter({status: sum(c.num_videos for c in causes if c.status is status) for status in _BAD})
    for status, count in by_status.items():
        if count:
            lines.append(how_again({status: count}))
    return lines


def _state(run: RunStatus | None, driver: owner.OwnerSeen | None) -> str:
    """In words. `_owner.json` counts more than `_status.json`, which a killed driver leaves behind as it was."""
    if driver is not None and driver.is_gone and run is not None and run.state == "done":
        driver = None  # killed after its last word, before it could take its own file away
    if driver is None:
        return "no driver, nothing written yet" if run is None else _last_word(run.state)
    if driver.is_gone:
        return f"interrupted: driver {driver.writer_id} was killed; {_GOES_ON}"
    if driver.silent_seconds > _SILENT_SECONDS:
        silence = f"no sign of driver {driver.writer_id} for {driver.silent_seconds:.0f} s"
        return f"unclear: {silence}; if it is dead, {_GOES_ON}"
    return f"running: driver {driver.writer_id}, last sign {driver.silent_seconds:.0f} s ago"


def _last_word(state: str) -> str:
    """What the last driver wrote: `running` while it labels, at its end the name of an `Ending`."""
    if state == "running":
        return f"interrupted: the last driver was killed; {_GOES_ON}"
    if state.upper() not in Ending.__members__:
        return f"no driver; the last run wrote: {state}"
    ending = Ending[state.upper()]
    if ending is Ending.DONE:
        return f"finished: {ending.value}"
    return f"{'' if ending is Ending.STOPPED else 'stopped: '}{ending.value}; {_GOES_ON}"


def _counts(state: JobState, run: RunStatus | None) -> str:
    ended = state.finished.num_by_status
    by_status = ", ".join(f"{ended[status]} {status.value}" for status in Status if ended[status])
    num_former = 0 if run is None else run.num_former
    planned = "" if run is None or run.num_planned is None else f" of {run.num_planned}"
    former = f", and {num_former} former" if num_former else ""
    return f"{len(state.finished) - num_former}{planned} in the tables{former} ({by_status or 'none'})"


def _committed(state: JobState) -> list[str]:
    num_masks = sum(size.num_masks for size in state.segments.values())
    num_bytes = sum(size.num_bytes for size in state.segments.values())
    lines = [f"masks    {num_masks} in {counted(len(state.segments), 'segment')}, {num_bytes / 1e6:.1f} MB"]
    if state.strikes:
        named = ", ".join(f"{_short(v)} ({count})" for v, count in list(state.strikes.items())[:_MAX_NAMED])
        lines.append(
            f"suspects {counted(len(state.strikes), 'video')} in flight when a worker died (how often): {named}"
        )
    return lines


def _saved(storage: JobStorage) -> list[str]:
    count = num_saved(storage)
    return [f"saved    {counted(count, 'unfinished video')}; the next run goes on from their middle"] if count else []


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
        lines.append(f"last error: {_short(redact(run.last_error), 500)}")
    return lines


def _short(text: str, most: int = 80) -> str:
    """One printable line: ids and messages come from other people's files."""
    line = "".join(letter if letter.isprintable() else "�" for letter in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def run(arguments: JobArguments) -> None:
    """Print the state of the job."""
    say(read_status(JobStorage(arguments.output, arguments.storage_options)))


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(main(HELP, run))
