"""`python -m pipeline.status output=…`: how a job stands, running or not, from another shell. It only reads.

`read_status` finds everything out once. `as_text` and `as_document` show it to people and to machines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.commits import owner, status_file
from pipeline.commits.log import CommitLog, no_job
from pipeline.commits.snapshot import JobState
from pipeline.commits.status_file import RunStatus
from pipeline.errors import NewerVersion
from pipeline.output.saved_sessions import num_saved
from pipeline.packages import leave_current_folder
from pipeline.records import BAD, Ending, ObjectCounts, Status
from pipeline.redact import redact
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import (
    MAX_NAMED,
    OBJECT,
    WARNING,
    Cause,
    Causes,
    counted,
    describe_causes,
    describe_former,
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

_GOES_ON = "the same command goes on from here"
_SILENT_SECONDS = 60.0
_ENDED: Mapping[Ending, ExitCode] = {
    Ending.DONE: ExitCode.DONE,
    Ending.STOPPED: ExitCode.STOPPED,
    Ending.FAILURES: ExitCode.FAILURES,
}


@dataclass(frozen=True)
class Standing:
    """The state of a job in one word, in a sentence, and as the exit code for `--fail-if-unfinished`.

    The words are `new`, `running`, `silent`, `interrupted`, and the names of `Ending` in lower case.
    """

    name: str
    sentence: str
    exit_code: ExitCode


@dataclass(frozen=True)
class JobStatus:
    """All that is found out of a job. `run` is what the last driver wrote of its run, `refused` why it is not read."""

    storage: JobStorage
    standing: Standing
    state: JobState
    objects: ObjectCounts
    num_saved: int
    causes: Causes
    run: RunStatus | None
    refused: str


def read_status(storage: JobStorage) -> JobStatus:
    """How the job stands now.

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
        run, refused = status_file.read_status(storage), ""
    except NewerVersion as error:
        run, refused = None, str(error)
    causes, objects = Causes(), state.objects()
    _add_videos(causes, JobTables(storage, state))
    objects = _add_objects(causes, objects, JobTables(storage, state))
    return JobStatus(storage, _standing(run, driver), state, objects, num_saved(storage), causes, run, refused)


def as_text(status: JobStatus) -> str:
    """The state in a few lines."""
    state, run = status.state, status.run
    lines = [f"maskmill: {status.storage}", f"state    {status.standing.sentence}", *_videos(status)]
    lines += [objects_line(status.objects)] if status.objects.num else []
    lines += _committed(state)
    if status.num_saved:
        videos = counted(status.num_saved, "unfinished video")
        lines.append(f"saved    {videos}; the next run goes on from their middle")
    lines += _this_run(run) + ([f"this run {status.refused}"] if status.refused else [])
    bad = {kind: state.finished.num_by_status[kind] for kind in BAD if state.finished.num_by_status[kind]}
    lines += describe_causes(status.causes.most_frequent(*(kind.value for kind in BAD)))
    lines += describe_causes(status.causes.most_frequent(OBJECT, WARNING), table="tracks")
    if bad or status.objects.num_failed:
        lines.append(how_again(bad, status.objects.num_videos_partly))
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
        "run": None if run is None else run.to_dict() | {"last_error": redact(run.last_error)},
        "causes": [_cause(cause) for cause in status.causes.most_frequent()],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return asdict(cause) | {"message": redact(cause.message), "named": list(cause.named)}


def _add_videos(causes: Causes, job: JobTables) -> None:
    """Why videos failed or were quarantined. Reads only the segments that hold such videos."""
    bad = [video_id for video_id, finished in job.state.finished.items() if finished.status in BAD]
    if bad:
        for row in job.videos(bad).select(["video_id", "status", "error_class", "message"]).to_pylist():
            causes.add(row["status"], row["error_class"], row["message"], row["video_id"])


def _add_objects(causes: Causes, objects: ObjectCounts, job: JobTables) -> ObjectCounts:
    """Why objects of `ok` videos failed, and of what they warn. Reads only the segments that hold such videos.

    Returns `objects` with the numbers of videos that an earlier version did not count.
    """
    finished = job.state.finished
    noted = [
        video_id
        for video_id, tally in finished.tallies.items()
        if (tally.num_tracks_failed != 0 or tally.num_tracks_warned) and finished[video_id].status is Status.OK
    ]
    if not noted:
        return objects
    tracks = job.noted_tracks(noted)
    for track in tracks:
        kind = WARNING if track["status"] == Status.OK else OBJECT
        causes.add(kind, "", track["message"], f"{track['video_id']} object {track['object_id']}")
    if not objects.num_videos_uncounted:
        return objects
    failed = [track["video_id"] for track in tracks if track["status"] != Status.OK]
    return ObjectCounts(objects.num, len(failed), len(tracks) - len(failed), len(set(failed)))


def _standing(run: RunStatus | None, driver: owner.OwnerSeen | None) -> Standing:
    """`_owner.json` counts more than `_status.json`, which a killed driver leaves behind as it was."""
    if driver is not None and driver.is_gone and run is not None and run.state == "done":
        driver = None  # killed after its last word, before it could take its own file away
    if driver is None:
        if run is None:
            return Standing("new", "no driver, nothing written yet", ExitCode.ENVIRONMENT)
        return _last_word(run.state)
    if driver.is_gone:
        sentence = f"interrupted: driver {driver.writer_id} was killed; {_GOES_ON}"
        return Standing("interrupted", sentence, ExitCode.ENVIRONMENT)
    if driver.silent_seconds > _SILENT_SECONDS:
        silence = f"no sign of driver {driver.writer_id} for {driver.silent_seconds:.0f} s"
        return Standing("silent", f"unclear: {silence}; if it is dead, {_GOES_ON}", ExitCode.OWNED)
    sentence = f"running: driver {driver.writer_id}, last sign {driver.silent_seconds:.0f} s ago"
    return Standing("running", sentence, ExitCode.OWNED)


def _last_word(state: str) -> Standing:
    """What the last driver wrote: `running` while it labels, at its end the name of an `Ending`."""
    if state == "running":
        return Standing("interrupted", f"interrupted: the last driver was killed; {_GOES_ON}", ExitCode.ENVIRONMENT)
    if state.upper() not in Ending.__members__:
        return Standing(state, f"no driver; the last run wrote: {state}", ExitCode.ENVIRONMENT)
    ending = Ending[state.upper()]
    code = _ENDED.get(ending, ExitCode.ENVIRONMENT)
    if ending is Ending.DONE:
        return Standing(state, f"finished: {ending.value}", code)
    return Standing(state, f"{'' if ending is Ending.STOPPED else 'stopped: '}{ending.value}; {_GOES_ON}", code)


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


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(main(HELP, StatusArguments, run))
