"""`python -m pipeline.queue output=…`: which tracks people should check next, why, on which frame, and for how long.

It reads `tracks` as a stream and writes nothing but `to=`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, TypeVar

import pyarrow as pa
from pydantic import Field

from pipeline import tables
from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.config.fields import Unit
from pipeline.config.kinds import OptionalPlace
from pipeline.data_engine.audit import Rate
from pipeline.data_engine.calibration import BlendDocument
from pipeline.data_engine.queue import COLUMNS, DEFAULT_ORDER, Entry, Order, Queue, QueueRules, queue_table
from pipeline.data_engine.recompute import measured
from pipeline.data_engine.reviewed import audited, calibrate
from pipeline.data_engine.walked import with_walks
from pipeline.errors import ConfigError
from pipeline.output.schema import TRACKS
from pipeline.output.targets import check_file
from pipeline.packages import leave_current_folder
from pipeline.quality.blend import DEFAULT, Blend
from pipeline.quality.track_columns import MEASURED, with_doubt
from pipeline.redact import redact_uri
from pipeline.reviews.cycles import Cycle
from pipeline.reviews.live import names_verdict
from pipeline.reviews.verdicts import Key, Opinion, read_verdict_files
from pipeline.storage.destinations import load_file, save_file
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes
from pipeline.tables import JobTables
from pipeline.text import NO_VIDEOS_YET, complain, counted, one_line, say

T = TypeVar("T")
_VANISH = "segments vanish while the queue reads them"
_SHOWN = 10


class QueueArguments(TargetArguments, JobArguments):
    """The keys of the command."""

    top: Annotated[int | None, Unit("tracks")] = Field(
        default=50, ge=1, le=1_000_000, description="At most so many tracks are queued; null is no bound."
    )
    minutes: Annotated[float | None, Unit("minutes")] = Field(
        default=None, gt=0, le=100_000, description="At most as many tracks as a person checks in this time."
    )
    order: Order = Field(
        default=DEFAULT_ORDER,
        description="What comes first: by value what mends the most masks for a second of work, or the most doubtful.",
    )
    where: str | None = Field(
        default=None,
        description="Which tracks, as in 'where=category = \"cat\"'. Those that have a verdict are left out, unless it "
        "names verdict, as in 'where=verdict = \"accept\"'.",
    )
    audit: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="So many more tracks are drawn by lot of the others, as a share of the queue: see docs/doubt.md.",
    )
    seed: int = Field(default=0, description="Another seed draws others.")
    recompute: bool = Field(
        default=False, description="true measures tracks of earlier versions of maskmill, by reading their masks."
    )
    weights: OptionalPlace = Field(
        default=None, description="A JSON file with other weights of the signals, as calibrate=true writes it."
    )
    calibrate: bool = Field(
        default=False, description="true fits the weights to what reviewers said, and writes them to weights=."
    )
    to: OptionalPlace = Field(
        default=None, description="A Parquet file for the queue: a path or any fsspec URI; null shows its begin alone."
    )


HELP = f"""Says which tracks of a job people should check next, why, on which frame, and how long that takes.

  python -m pipeline.queue output=… top=50 to=queue.parquet
  python -m pipeline.queue output=… top=null minutes=30 to=queue.parquet
  python -m pipeline.queue output=… 'where=category = "cat" and num_visible > 20'

{describe_arguments(QueueArguments)}

Exit codes:
  {ExitCode.DONE}   The queue is shown, and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or none of its tracks has been measured.
  {ExitCode.STOPPED} A signal stopped it.
"""


def run(arguments: QueueArguments) -> ExitCode:
    """Choose, write and tell; or fit the weights."""
    _check(arguments)
    storage = JobStorage(arguments.output, arguments.storage_options)
    job = tables.open(arguments.output, arguments.storage_options)
    said = [row for _, rows in read_verdict_files(storage) for row in rows]
    opinions = job.opinions()
    if arguments.calibrate:
        return _calibrate(arguments, job, opinions)
    rules = QueueRules(arguments.top, arguments.minutes, arguments.order, arguments.audit, arguments.seed)
    walks = job.walks()
    done = () if names_verdict(arguments.where) else opinions.keys()
    skipped = job.skipped()
    queue = job.steadily(lambda: _filled(job, arguments, walks, Queue(rules, done, skipped)), _VANISH)
    entries = queue.entries()
    if queue.num_tracks or queue.num_done or queue.num_unknown:
        _tell(queue, entries, audited(said))
    else:
        say(f"nothing to look at: {_why_none(arguments, job)}")
    if arguments.to:
        save_file(arguments.to, parquet_bytes(queue_table(entries)), arguments.to_options)
        say(f"queue    {redact_uri(arguments.to)}, {counted(len(entries), 'track')}")
    return ExitCode.DONE


def _check(arguments: QueueArguments) -> None:
    """Raises `ConfigError` for keys that do not go together, and for places that cannot be written."""
    if arguments.top is None and arguments.minutes is None:
        raise ConfigError("top=null and minutes=null queue every track: give one of them")
    if arguments.calibrate and not arguments.weights:
        raise ConfigError("calibrate=true needs weights=, the file that it writes, as in weights=weights.json")
    if arguments.calibrate and arguments.to:
        raise ConfigError("calibrate=true writes no queue: leave out to=, and give weights= in the next call")
    places = (("to", arguments.to, "queue.parquet"), ("weights", arguments.weights, "weights.json"))
    for key, place, example in places:
        if place:
            check_file(place, example, arguments.to_options, key)


def _blend(arguments: QueueArguments) -> Blend | None:
    """The weights of `weights=`; None are those with which the tracks were measured."""
    if not arguments.weights or arguments.calibrate:
        return None
    name = redact_uri(arguments.weights)
    try:
        data = load_file(arguments.weights, arguments.to_options)
        return BlendDocument.from_json(data, f"weights={name}").blend()
    except FileNotFoundError as error:
        raise ConfigError(f"weights={name}: there is no such file; calibrate=true writes one") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"weights={name} are no weights as calibrate=true writes them: {one_line(str(error))}"
        ) from error


def _calibrate(arguments: QueueArguments, job: JobTables, opinions: Mapping[Key, Opinion]) -> ExitCode:
    """Fit the weights, write them and tell what they are worth."""
    rows = job.steadily(lambda: list(_rows(job, arguments, [video_id for video_id, _ in opinions])), _VANISH)
    found = calibrate(pa.concat_tables(rows), opinions, DEFAULT)
    document = BlendDocument.of(found.blend, found.num_good + found.num_bad)
    assert arguments.weights is not None
    save_file(arguments.weights, document.to_json(), arguments.to_options)
    say(f"verdicts {found.num_good} good tracks, {found.num_bad} bad ones")
    say(f"AUROC    {found.before:.3f} with the usual weights, {found.after:.3f} with the new ones (cross-validated)")
    say(f"weights  {redact_uri(arguments.weights)}")
    return ExitCode.DONE


def _filled(job: JobTables, arguments: QueueArguments, walks: Mapping[Key, Cycle], queue: Queue) -> Queue:
    blend = _blend(arguments)
    for rows in _rows(job, arguments):
        doubtful = rows if blend is None else with_doubt(rows, blend)
        queue.add(with_walks(doubtful, walks, blend or DEFAULT) if walks else doubtful)
    return queue


def _rows(job: JobTables, arguments: QueueArguments, video_ids: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Rows of `tracks`, a batch at a time; with `recompute` also measured where they were not."""
    columns = list(dict.fromkeys((*COLUMNS, *MEASURED)))
    yield pa.schema([TRACKS.field(name) for name in columns]).empty_table()
    for rows in job.track_batches(video_ids, columns=columns, where=arguments.where, rejected=True):
        yield measured(job, rows, DEFAULT) if arguments.recompute else rows


def _why_none(arguments: QueueArguments, job: JobTables) -> str:
    if not job.state.finished:
        return NO_VIDEOS_YET
    return f"no visible track{'' if arguments.where is None else ' that where= takes'}"


def _tell(queue: Queue, entries: Sequence[tuple[Entry, bool]], rate: Rate) -> None:
    if queue.num_unknown:
        complain(
            f"{counted(queue.num_unknown, 'track')} of an earlier version of maskmill have no doubt and are left out: "
            "give recompute=true"
        )
    if not queue.num_tracks and queue.num_done:
        say(f"nothing to look at: people have looked at all of {counted(queue.num_done, 'visible track')}")
        return
    seconds = sum(entry.seconds for entry, _ in entries)
    num_drawn = sum(is_audit for _, is_audit in entries)
    say(
        f"{counted(len(entries), 'track')} of {queue.num_tracks}, about {seconds / 60:.0f} min of work; "
        f"{num_drawn} of them drawn by lot"
    )
    for entry, is_audit in entries[:_SHOWN]:
        frame = "" if entry.frame_index is None else f"frame {entry.frame_index}"
        why = "drawn by lot" if is_audit else ", ".join(entry.reasons)
        words = (f"{entry.doubt:.2f}", one_line(entry.video_id, 40), f"object {entry.object_id}", frame, why)
        say("  " + "  ".join(filter(None, words)))
    if len(entries) > _SHOWN:
        say(f"  … and {len(entries) - _SHOWN} more")
    say(_of_the_others(queue, rate))


def _of_the_others(queue: Queue, rate: Rate) -> str:
    """How good the tracks are at which nobody has looked."""
    if not rate.num:
        return (
            "error rate of the tracks at which nobody looks: not known before somebody has checked those drawn by lot"
        )
    low, high = rate.bounds
    return (
        f"error rate of the tracks at which nobody has looked: {rate.num_bad / rate.num:.1%} "
        f"({low:.1%} … {high:.1%} at 95 %), as {rate.num_bad} of {counted(rate.num, 'track')} drawn by lot were bad: "
        f"about {round(queue.num_tracks * rate.num_bad / rate.num)} of {queue.num_tracks} tracks"
    )


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, QueueArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
