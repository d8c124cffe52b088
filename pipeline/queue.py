"""`python -m pipeline.queue output=…`: which tracks people should check next, why, on which frame, and for how long.

It reads `tracks` as a stream and writes nothing but `to=`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from pipeline import tables
from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.config.fields import Unit
from pipeline.config.kinds import OptionalPlace
from pipeline.data_engine.queue import COLUMNS, Entry, Order, Queue, QueueRules, queue_table
from pipeline.errors import ConfigError, StorageError
from pipeline.inputs.write import parquet_bytes
from pipeline.packages import leave_current_folder
from pipeline.redact import redact_uri
from pipeline.storage.destinations import check_file, save_file
from pipeline.tables import JobTables
from pipeline.text import complain, counted, one_line, say

_READS = 5
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
        default="doubt",
        description="What comes first: the most doubtful, or by value what mends the most masks for a second of work.",
    )
    where: str | None = Field(default=None, description="Which tracks, as in 'where=category = \"cat\"'; null is all.")
    audit: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="So many more tracks are drawn by lot of the others, as a share of the queue: see docs/doubt.md.",
    )
    seed: int = Field(default=0, description="Another seed draws others.")
    to: OptionalPlace = Field(
        default=None, description="A Parquet file for the queue: a path or any fsspec URI; null shows its begin alone."
    )


HELP = f"""Says which tracks of a job people should check next, why, on which frame, and how long that takes.

  python -m pipeline.queue output=… top=50 to=queue.parquet
  python -m pipeline.queue output=… top=null minutes=30 order=value to=queue.parquet
  python -m pipeline.queue output=… 'where=category = "cat" and num_visible > 20'

{describe_arguments(QueueArguments)}

Exit codes:
  {ExitCode.DONE}   The queue is shown, and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or none of its tracks has been measured.
  {ExitCode.STOPPED} A signal stopped it.
"""


def run(arguments: QueueArguments) -> ExitCode:
    """Choose, write and tell."""
    if arguments.top is None and arguments.minutes is None:
        raise ConfigError("top=null and minutes=null queue every track: give one of them")
    if arguments.to:
        check_file(arguments.to, "queue.parquet", arguments.to_options)
    rules = QueueRules(arguments.top, arguments.minutes, arguments.order, arguments.audit, arguments.seed)
    job = tables.open(arguments.output, arguments.storage_options)
    queue = _filled(job, rules, arguments.where)
    entries = queue.entries()
    _tell(queue, entries)
    if arguments.to:
        save_file(arguments.to, parquet_bytes(queue_table(entries)), arguments.to_options)
        say(f"queue    {redact_uri(arguments.to)}, {counted(len(entries), 'track')}")
    return ExitCode.DONE


def _filled(job: JobTables, rules: QueueRules, where: str | None) -> Queue:
    """The queue of all tracks; read anew where a running job or a compaction has replaced segments meanwhile."""
    for _ in range(_READS):
        queue = Queue(rules)
        try:
            rows = job.track_rows(columns=COLUMNS, where=where)
            for batch in rows.to_batches():
                queue.add(pa.Table.from_batches([batch]))
        except FileNotFoundError:
            job.refresh()
        else:
            return queue
    raise StorageError("segments vanish while the queue reads them. Try again.")


def _tell(queue: Queue, entries: Sequence[tuple[Entry, bool]]) -> None:
    if queue.num_unknown:
        complain(
            f"{counted(queue.num_unknown, 'track')} of an earlier version of maskmill have no doubt and are left out: "
            "give recompute=true"
        )
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


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, QueueArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
