"""`python -m pipeline.rounds output=…`: what each round of reviews brought, and whether another one is worth it.

`pipeline.data_engine.round_facts` finds out what happened, `another_round` says what follows; here it is told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import Field

from pipeline import tables
from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.commits.read_rounds import read_rounds
from pipeline.commits.snapshot import JobState
from pipeline.config.kinds import OptionalPlace
from pipeline.data_engine.another_round import ErrorLeft, Worth, another_round, error_left, in_minutes, unseen
from pipeline.data_engine.audit import Rate
from pipeline.data_engine.differences import Compared
from pipeline.data_engine.gone import Gone
from pipeline.data_engine.round_facts import Labeled, Looked, Round, read_facts
from pipeline.output.targets import check_file
from pipeline.packages import leave_current_folder
from pipeline.redact import redact_uri
from pipeline.storage.destinations import save_file
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted, one_line, say

T = TypeVar("T")

_DIFFERENCES_NAMED = 5


class RoundsArguments(TargetArguments, JobArguments):
    """The keys of the command."""

    error: float = Field(
        default=0.02, ge=0, le=1, description="So many of the tracks may be bad: no further round is worth it then."
    )
    compared: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Of so many objects that a round labeled again, drawn by lot, the masks are compared with the "
        "former ones.",
    )
    as_json: bool = Field(default=False, alias="json", description="Print one JSON document, for programs.")
    to: OptionalPlace = Field(default=None, description="A file for the same document; null writes none.")


HELP = f"""Tells of each round of reviews what was labeled, looked at and changed, and whether another one is worth it.

  python -m pipeline.rounds output=…
  python -m pipeline.rounds output=… error=0.05 json=true

{describe_arguments(RoundsArguments)}

docs/rounds.md says what a round is, and by which rule another one is worth it.

Exit codes:
  {ExitCode.DONE}   The rounds are told; and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or a newer maskmill wrote it.
  {ExitCode.STOPPED} A signal stopped it.
"""


@dataclass(frozen=True)
class Told:
    """All that the command tells."""

    output: str
    rounds: Sequence[Round]
    left: ErrorLeft
    worth: Worth


def tell(storage: JobStorage, arguments: RoundsArguments) -> Told:
    """Find it all out. Raises `FileNotFoundError` where there is no job, `StorageError` and `InputError`."""
    job = tables.open(storage.uri, storage.storage_options)

    def read() -> Told:
        state = job.state
        spans = read_rounds(storage, state)
        rounds = read_facts(storage, spans, lambda number: _tables(storage, state, number), arguments.compared)
        left = error_left(rounds, unseen(job))
        return Told(str(storage), rounds, left, another_round(rounds, left, arguments.error))

    return job.steadily(read, "segments vanish while the rounds are read")


def _tables(storage: JobStorage, state: JobState, number: int) -> tables.JobTables:
    return tables.JobTables(storage, state, round=None if number == state.round else number)


def as_text(told: Told) -> str:
    """The rounds in a few lines each."""
    lines = [f"maskmill: rounds of reviews of {told.output}"]
    for one in told.rounds:
        lines += _round(one)
    return "\n".join([*lines, *_left(told.left), f"another  {told.worth.sentence}"])


def _round(one: Round) -> Iterator[str]:
    entries = one.entries
    until = "now" if entries.ended_at is None else _time(entries.ended_at)
    yield f"round {entries.number}, from {_time(entries.began_at)} to {until}"
    yield f"  labeled   {_labeled(one.labeled)}"
    if one.changed is not None:
        changed = one.changed
        video_id, object_id = changed.worst
        of = f" ({changed.num_compared} compared)" if changed.num_compared < changed.num_objects else ""
        yield (
            f"  changed   {counted(changed.num_objects, 'object')} labeled again{of}: mean IoU with the former masks "
            f"{changed.iou_mean:.2f}, lowest {changed.worst_iou:.2f} of object {object_id} of "
            f"{one_line(video_id)}"
        )
    if left := _gone(one.gone):
        yield f"  gone      {left}"
    yield f"  looked at {_looked(one.looked)}"
    for alone in one.looked.people.values():
        yield f"  of these  {_looked(alone)}"
    if one.compared.num_tracks:
        yield f"  differ    {_differ(one.compared)}"
    if one.looked.audit.num:
        yield f"  by lot    {_rate(one.looked.audit)}"


def _labeled(labeled: Labeled) -> str:
    if labeled.num_videos is None:
        return "not known: the log was erased"
    videos = counted(labeled.num_videos, "video")
    if labeled.num_objects is None:
        return f"{videos}; their tables are deleted (keep_rounds=)"
    return f"{counted(labeled.num_objects, 'object')} of {videos}, {labeled.num_masks:,} masks"


def _gone(gone: Gone) -> str:
    """Which objects left the tables; empty if none did, or nobody knows of any."""
    if gone.num_without_masks is None:
        return (
            f"{gone.num_rejected} rejected; how many have no masks any more is not known" if gone.num_rejected else ""
        )
    parts = [
        *([f"{gone.num_without_masks} without masks now"] if gone.num_without_masks else []),
        *([f"{gone.num_rejected} rejected"] if gone.num_rejected else []),
    ]
    return f"{counted(gone.num_without_masks + gone.num_rejected, 'object')}: {', '.join(parts)}" if parts else ""


def _looked(looked: Looked) -> str:
    if not looked.reviewers:
        return "nothing"
    who = ", ".join(map(one_line, looked.reviewers))
    work = f"{in_minutes(looked.seconds)} of work"
    if not looked.num_tracks and not looked.num_corrections:
        return f"nothing that counts: what {who} said was skipped, taken back or does not fit; {work}"
    words = ", ".join(f"{count} {word}" for word, count in sorted(looked.verdicts.items()))
    frames = f", {counted(looked.num_corrections, 'corrected frame')}" if looked.num_corrections else ""
    return f"{counted(looked.num_tracks, 'track')} by {who}: {words or 'no verdict'}{frames}; {work}"


def _differ(compared: Compared) -> str:
    """Of which tracks people say different things; the first few by name."""
    found = [
        f"object {one.object_id} of {one_line(one.video_id)} "
        f"({', '.join(f'{one_line(who)} {word}' for who, word in one.verdicts.items())})"
        for one in compared.differences
    ]
    words = f"{len(found)} of {counted(compared.num_tracks, 'track')} that several people judged"
    if not found:
        return words
    more = f", and {len(found) - _DIFFERENCES_NAMED} more (json=true names all)"
    return f"{words}: {', '.join(found[:_DIFFERENCES_NAMED])}{more if len(found) > _DIFFERENCES_NAMED else ''}"


def _rate(rate: Rate) -> str:
    low, high = rate.bounds
    share = f"{rate.num_bad / rate.num:.1%} ({low:.1%} … {high:.1%} at 95 %)"
    return f"{rate.num_bad} of {rate.num} bad: {share}"


def _left(left: ErrorLeft) -> Iterator[str]:
    unseen_tracks = f"{counted(left.unseen.num_tracks, 'track')} at which nobody has looked as they are now"
    if left.num_bad is None:
        yield f"left     {unseen_tracks}, of which nobody knows how many are bad"
        return
    low, high = left.bounds
    yield f"left     {unseen_tracks}, about {left.num_bad:.0f} of them bad ({low:.0f} … {high:.0f} at 95 %)"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def as_document(told: Told) -> dict[str, Any]:
    """The same as one JSON object. Names and meanings of its fields stay; new ones may come."""
    left, low_high = told.left, told.left.bounds
    return {
        "output": told.output,
        "rounds": [_document(one) for one in told.rounds],
        "left": {
            "num_unseen": left.unseen.num_tracks,
            "masks_per_track": left.unseen.masks_per_track,
            "by_round": left.number,
            "num_bad": left.num_bad,
            "bounds": None if left.num_bad is None else list(low_high),
        },
        "another": asdict(told.worth),
    }


def _document(one: Round) -> dict[str, Any]:
    entries, looked = one.entries, one.looked
    return {
        "round": entries.number,
        "first_entry": entries.first,
        "entry": entries.stop,
        "began_at": entries.began_at.isoformat(),
        "ended_at": entries.ended_at and entries.ended_at.isoformat(),
        "is_readable": entries.is_readable,
        "labeled": asdict(one.labeled),
        "looked_at": {
            **_work(looked),
            "reviewers": list(looked.reviewers),
            "by_choice": _rate_document(looked.seen),
            "by_lot": _rate_document(looked.audit),
            "people": [{"reviewer": name} | _work(alone) for name, alone in looked.people.items()],
            "num_compared": one.compared.num_tracks,
            "differences": [asdict(one) for one in one.compared.differences],
        },
        "gone": asdict(one.gone),
        "changed": None if one.changed is None else asdict(one.changed) | {"worst": list(one.changed.worst)},
    }


def _work(looked: Looked) -> dict[str, Any]:
    return {
        "verdicts": dict(looked.verdicts),
        "num_tracks": looked.num_tracks,
        "num_corrections": looked.num_corrections,
        "seconds": looked.seconds,
    }


def _rate_document(rate: Rate) -> dict[str, Any]:
    return {"num_bad": rate.num_bad, "num": rate.num, "bounds": list(rate.bounds)}


def run(arguments: RoundsArguments) -> ExitCode:
    """Read, tell and write."""
    if arguments.to:
        check_file(arguments.to, "rounds.json", arguments.to_options)
    told = tell(JobStorage(arguments.output, arguments.storage_options), arguments)
    document = json.dumps(as_document(told), indent=2)
    say(document if arguments.as_json else as_text(told))
    if arguments.to:
        save_file(arguments.to, document.encode(), arguments.to_options)
        if not arguments.as_json:
            say(f"written  {redact_uri(arguments.to)}")
    return ExitCode.DONE


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, RoundsArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
