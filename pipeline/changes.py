"""`python -m pipeline.changes output=… since=…`: which videos came, were labeled again, failed or left, and why.

`pipeline.commits.read_history` reads the log, and nothing else is read. Jobs that take only what is new keep the number
that is printed last, and give it as `entry=` the next time.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.commits.history import Change, History, Kind
from pipeline.commits.read_history import read_history
from pipeline.commits.read_rounds import end_of_round
from pipeline.commits.since import FORMS, parse_since
from pipeline.config.fields import AsTyped
from pipeline.config.kinds import OptionalPlace
from pipeline.errors import ConfigError
from pipeline.inputs.kept_listing import read_kept
from pipeline.output.targets import check_file
from pipeline.packages import leave_current_folder
from pipeline.records import BAD, Reason, Status
from pipeline.redact import redact_uri
from pipeline.storage.destinations import save_file
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes
from pipeline.text import Causes, counted, describe_causes, reason_in_words, say


class ChangesArguments(TargetArguments, JobArguments):
    """The keys of the command."""

    since: Annotated[str | None, AsTyped("a time")] = Field(
        default=None, description=f"From when on: {FORMS}. Days begin at midnight UTC."
    )
    entry: int | None = Field(
        default=None,
        ge=0,
        description="From which entry of the log on: the number that the last reading ended with, so that each change "
        "is seen once. Without since, entry and round, all changes are told since the job began.",
    )
    round: int | None = Field(
        default=None, ge=1, description="From the end of this round of reviews on, as python -m pipeline.rounds counts."
    )
    to: OptionalPlace = Field(
        default=None, description="A file for the changes as a Parquet table, a row per video; null writes none."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="What is printed: lines for people, or one JSON document with all videos."
    )


HELP = f"""Prints what has changed in a job: videos that came, were labeled again (and why), failed or left.

  python -m pipeline.changes output=… since=yesterday
  python -m pipeline.changes output=… entry=31 format=json
  python -m pipeline.changes output=… round=2
  python -m pipeline.changes output=… entry=31 to=changes.parquet

{describe_arguments(ChangesArguments)}

Only the entries of the log from there on are read, also while the job runs. docs/changes.md has an example of a job
that reads only new rows.

Exit codes:
  {ExitCode.DONE}   The changes are printed, or that there are none; and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or its log does not reach back so far.
  {ExitCode.STOPPED} A signal stopped it.
"""


def as_text(history: History, output: str, full_at: datetime | None = None) -> str:
    """The changes in a few lines. `full_at` is when a watched place was last listed in full, if that is known."""
    lines = [f"maskmill: changes of {output}, {_span(history)}"]
    if not history.changes and not history.sums.num_unnamed:
        lines.append("none     no video came, was labeled again or left")
    lines += _added(history.of_kind(Kind.ADDED))
    lines += _again(history.of_kind(Kind.AGAIN))
    lines += _removed(history.of_kind(Kind.REMOVED))
    if unnamed := history.sums.num_unnamed:
        lines.append(f"erased   {counted(unnamed, 'video')}: {reason_in_words(Reason.PRUNE)}, and so are the ids")
    if history.changes or unnamed:
        lines.append(f"rows     {_rows(history)}")
    causes = Causes()
    for change in history.changes:
        if change.outcome is not None and change.outcome.status in BAD:
            outcome = change.outcome
            causes.add(outcome.status, outcome.error_class, outcome.message, change.video_id)
    lines += describe_causes(causes.most_frequent())
    if full_at is not None:
        lines.append(f"listing  replaced and deleted files were looked for last at {_time(full_at)}")
    lines.append(f"next     entry={history.entry} tells what changes from now on")
    return "\n".join(lines)


def as_document(history: History, output: str, full_at: datetime | None = None) -> dict[str, Any]:
    """The changes as one JSON object. Names and meanings of its fields stay; new ones may come."""
    kinds = {kind: history.of_kind(kind) for kind in Kind}
    return {
        "output": output,
        "since": history.since and history.since.isoformat(),
        "until": history.until and history.until.isoformat(),
        "first_entry": history.first_entry,
        "entry": history.entry,
        "last_full_listing": full_at and full_at.isoformat(),
        "added": _by_status(kinds[Kind.ADDED]),
        "again": _by_reason(kinds[Kind.AGAIN]),
        "removed": _by_reason(kinds[Kind.REMOVED]),
        "bad": sum(change.outcome is not None and change.outcome.status in BAD for change in history.changes),
        "rows_in": history.sums.rows_in,
        "rows_out": history.sums.rows_out,
        "num_unnamed": history.sums.num_unnamed,
        "num_compactions": history.sums.num_compactions,
        "videos": [row | {"changed_at": row["changed_at"].isoformat()} for row in history.rows()],
    }


def _by_status(changes: Sequence[Change]) -> dict[str, int]:
    counts = Counter(change.outcome.status.value for change in changes if change.outcome is not None)
    return {status.value: counts[status.value] for status in Status if counts[status.value]}


def _by_reason(changes: Sequence[Change]) -> dict[str, int]:
    return {str(why): number for why, number in Counter(change.why for change in changes).most_common()}


def _span(history: History) -> str:
    since = "" if history.since is None else f" since {_time(history.since)}"
    until = "" if history.until is None else f" up to {_time(history.until)}"
    return f"entries {history.first_entry} to {history.entry}{since}{until}"


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _added(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    num_unknown = sum(change.why == Reason.UNKNOWN for change in changes)
    unknown = f"; an earlier version does not tell whether {num_unknown} of them are new" if num_unknown else ""
    return [f"added    {counted(len(changes), 'video')}: {_statuses(changes)}{unknown}"]


def _again(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    reasons = ", ".join(f"{number} {reason_in_words(why)}" for why, number in _by_reason(changes).items())
    return [f"again    {counted(len(changes), 'video')}: {reasons}; now {_statuses(changes)}"]


def _removed(changes: Sequence[Change]) -> list[str]:
    waiting = [change for change in changes if change.why != Reason.PRUNE]
    gone = len(changes) - len(waiting)
    lines = [f"removed  {counted(gone, 'video')}: {reason_in_words(Reason.PRUNE)}"] if gone else []
    if waiting:
        reasons = ", ".join(f"{number} {reason_in_words(why)}" for why, number in _by_reason(waiting).items())
        lines.append(f"waiting  {counted(len(waiting), 'video')}: {reasons}; rows are gone until the next labeling")
    return lines


def _statuses(changes: Sequence[Change]) -> str:
    return ", ".join(f"{number} {status}" for status, number in _by_status(changes).items())


def _rows(history: History) -> str:
    parts = [f"in: {_in_words(history.sums.rows_in)}"]
    if history.sums.rows_out is None:
        parts.append("out: not told by an earlier version")
    elif any(history.sums.rows_out.values()):
        parts.append(f"out: {_in_words(history.sums.rows_out)}")
    return "; ".join(parts)


def _in_words(rows: dict[str, int]) -> str:
    return ", ".join(
        f"{number:,} {table.removesuffix('s') if number == 1 else table}" for table, number in rows.items()
    )


def run(arguments: ChangesArguments) -> ExitCode:
    """Read, print and write the changes."""
    given = [name for name in ("since", "entry", "round") if getattr(arguments, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[0]}= and {given[1]}= say the same thing twice: give one of them")
    if arguments.to:
        check_file(arguments.to, "changes.parquet", arguments.to_options)
    storage = JobStorage(arguments.output, arguments.storage_options)
    history = read_history(storage, _start(arguments, storage))
    kept = read_kept(storage)
    full_at = None if kept is None or kept.full_at is None else datetime.fromtimestamp(int(kept.full_at), UTC)
    if arguments.to:
        save_file(arguments.to, parquet_bytes(history.to_table()), arguments.to_options)
    if arguments.format == "json":
        say(json.dumps(as_document(history, str(storage), full_at), indent=2))
    else:
        say(as_text(history, str(storage), full_at))
        if arguments.to:
            say(f"written  {redact_uri(arguments.to)}")
    return ExitCode.DONE


def _start(arguments: ChangesArguments, storage: JobStorage) -> int | datetime:
    if arguments.round is not None:
        return end_of_round(storage, arguments.round)
    if arguments.since is None:
        return arguments.entry or 0
    try:
        return parse_since(arguments.since, datetime.now(UTC))
    except ValueError as error:
        raise ConfigError(f"since={error}") from error


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, ChangesArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
