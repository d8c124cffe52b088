"""`python -m pipeline.export output=… format=… to=…`: the masks of a job in a format that others read."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from pydantic import Field

from pipeline import tables
from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, explain, main
from pipeline.config.cluster_config import ProcessesConfig
from pipeline.config.fields import Group, keys
from pipeline.config.key_help import describe_key
from pipeline.config.kinds import OptionalLocalPlace, Place
from pipeline.data_engine.queue import COLUMNS as QUEUE_COLUMNS
from pipeline.data_engine.queue import Queue, QueueRules
from pipeline.data_engine.queue_file import read_queue
from pipeline.data_engine.walked import with_walks
from pipeline.errors import ConfigError
from pipeline.formats.engine import ExportJob, OnePartWriter, PartDone, PartWriter, PartWriters, export, folder_of
from pipeline.formats.handing_out import ForReview, Key, Look, ReviewKeys
from pipeline.formats.plan import Task
from pipeline.formats.planning import make_plan
from pipeline.formats.registry import FORMATS, LoadedFormat, load
from pipeline.formats.selection import Content, Selection
from pipeline.formats.table_spool import Spools
from pipeline.output.targets import check_folder
from pipeline.packages import leave_current_folder
from pipeline.quality.blend import DEFAULT
from pipeline.redact import redact_uri
from pipeline.reviews.live import names_verdict
from pipeline.tables import JobTables
from pipeline.text import counted, say


class ExportArguments(TargetArguments, JobArguments, Selection, Content, ReviewKeys):
    """The keys of an export, besides those of its format."""

    format: str = Field(description="The format; --help lists them.")
    to: Place = Field(description="The folder or URI of the export.")
    part_masks: int = Field(
        default=32_768,
        ge=1,
        description="Videos are written in parts of up to this many masks, one process a part; where a format has "
        "shards, a part is a shard.",
    )
    overwrite: bool = Field(
        default=False, description="true deletes an export with other options, or of other labels, that lies in to=."
    )
    spool_dir: OptionalLocalPlace = Field(
        default=None, description="A local folder for temporary files; null is the system's own."
    )
    cluster: ProcessesConfig = Field(default_factory=ProcessesConfig)


HELP = """Writes the masks of a job in a format that others read.

  python -m pipeline.export output=… format=coco to=…
  python -m pipeline.export output=… format=coco to=… 'where=predicted_iou_mean > 0.8' splits.train=0.9 splits.val=0.1
  python -m pipeline.export output=… format=cvat_video to=… queue=queue.parquet

Formats:
{formats}

{keys}

{own}It may run while the job does, and takes what is finished. An export is whole when manifest.json is there, which is
written last. One that is killed goes on with the same command.

Exit codes:
{exit_codes}
"""

_EXIT_CODES = f"""  {ExitCode.DONE}   The export is whole.
  {ExitCode.ENVIRONMENT}   A store or a disk failed: run the same command again later, and it goes on.
  {ExitCode.REFUSED}   Wrong arguments, no job, nothing selected, another export at work in to=, or masks that the
      format cannot say.
  {ExitCode.STOPPED} A signal stopped it: run the same command again, and it goes on."""


def help_text(chosen: LoadedFormat | None) -> str:
    """What `--help` prints: the keys of the chosen format too, or those of all."""
    own = [_own_keys(one.name) for one in ([chosen.format] if chosen else FORMATS)]
    return HELP.format(
        formats="\n".join(f"  {one.name:<14} {one.summary}" for one in FORMATS),
        keys=describe_arguments(ExportArguments),
        own="".join(f"{text}\n\n" for text in own if text),
        exit_codes=_EXIT_CODES,
    )


def _own_keys(name: str) -> str:
    """What `--help` says of a format's own keys; nothing where it has none."""
    try:
        options = load(name).options
    except ConfigError as error:  # a package of an extra is not installed
        return str(error)
    return "\n".join([f"{name}, its own keys:", *map(describe_key, keys(options))]) if options.model_fields else ""


def arguments_of(chosen: LoadedFormat) -> type[ExportArguments]:
    """The keys of an export in this format: its own stand beside the others."""
    return cast(type[ExportArguments], type("ExportArguments", (ExportArguments, chosen.options), {}))


def run(chosen: LoadedFormat, arguments: ExportArguments) -> ExitCode:
    """Export, and say how much it was."""
    started = time.monotonic()
    check_folder(arguments.to, arguments.to_options)
    has_helpers = arguments.cluster.kind != "serial"
    folder = folder_of(arguments.to, arguments.to_options, arguments.spool_dir, has_helpers=has_helpers)
    job = ExportJob(
        output=arguments.output,
        storage_options=arguments.storage_options,
        format=chosen.make(_part(arguments, chosen.options)),
        selection=_part(arguments, Selection),
        content=_part(arguments, Content),
        folder=folder,
        spool_dir=arguments.spool_dir,
        review=_review(arguments),
    )
    with contextlib.ExitStack() as stack:
        done = export(job, arguments.part_masks, arguments.overwrite, _writers(arguments, stack))
    what = f"{counted(done.num_videos, 'video')}, {counted(done.num_tracks, 'track')}, {done.num_masks} masks"
    if done.was_there:
        say(f"{folder.storage}: is there already, whole: {what}")
        return ExitCode.DONE
    say(f"{folder.storage}: {chosen.format.name}, {what}, in {time.monotonic() - started:.1f} s")
    for line in done.splits:
        say(f"split {line}")
    for line in done.left_out:
        say(f"left out: {line}")
    for line in done.lost:
        say(f"lost: {line}")
    if done.not_hashed:
        say(f"without hashes of their frames: {done.not_hashed}")
    return ExitCode.DONE


def _part(arguments: ExportArguments, kind: type[Group]) -> Any:
    """The keys of one kind among all."""
    return kind.model_validate({name: getattr(arguments, name) for name in kind.model_fields})


def _review(arguments: ExportArguments) -> ForReview | None:
    """What goes out to be reviewed; None where nothing does. Raises `ConfigError` for keys that need others."""
    has_chosen = arguments.queue is not None or arguments.top is not None
    if arguments.round is not None and (arguments.review or has_chosen):
        raise ConfigError("round= is of earlier labels, and reviewers look at those of now: leave it out")
    if not has_chosen:
        if arguments.around is not None and not arguments.review:
            raise ConfigError("around= needs queue=, top= or review=true: it names the frames at which people look")
        return ForReview(around=arguments.around) if arguments.review else None
    if arguments.queue is not None and arguments.top is not None:
        raise ConfigError("queue= and top= both choose tracks: give one of them")
    chosen = _first_of_queue(arguments) if arguments.queue is None else _queued(arguments, arguments.queue)
    return ForReview(chosen, arguments.others, arguments.around)


def _queued(arguments: ExportArguments, queue: str) -> dict[Key, Look]:
    options = arguments.options_of(arguments.queue_storage_options)
    rows = read_queue(queue, options, "video_id", "object_id", "doubt", "reasons", "frame_index", "is_audit")
    if not rows:
        raise ConfigError(f"queue={redact_uri(queue)} has no track: nothing is to be looked at")
    return {
        (row["video_id"], row["object_id"]): Look(
            row["doubt"], tuple(row["reasons"]), row["frame_index"], row["is_audit"]
        )
        for row in rows
    }


def _first_of_queue(arguments: ExportArguments) -> dict[Key, Look]:
    """What `pipeline.queue` would put first, without any that are drawn by lot."""
    job = tables.open(arguments.output, arguments.storage_options)
    done = () if names_verdict(arguments.where) else job.opinions().keys()
    walks, skipped = job.walks(), job.skipped()

    queue = Queue(QueueRules(arguments.top, audit=0), done, skipped)
    # Of what the export takes: no others may have a place among the first, and conditions may name kept columns.
    selection, spools = _part(arguments, Selection), Spools(arguments.spool_dir)
    with make_plan(job, selection, storage_options=arguments.storage_options, spools=spools) as plan:
        for _, tracks in plan.tables():
            rows = tracks.select(QUEUE_COLUMNS)
            queue.add(with_walks(rows, walks, DEFAULT) if walks else rows)
    entries = [entry for entry, _ in queue.entries()]
    if not entries:
        raise ConfigError(f"top={arguments.top}: no track without a verdict is left to be looked at")
    return {entry.key: Look(entry.doubt, entry.reasons, entry.frame_index, False) for entry in entries}


def _writers(arguments: ExportArguments, stack: contextlib.ExitStack) -> Callable[[ExportJob, JobTables], PartWriters]:
    """The processes that write, as `cluster=` says. Imports Ray only if it is wanted."""
    cluster = arguments.cluster
    if cluster.kind == "serial":
        return OnePartWriter
    cluster.check_reaches(output=arguments.output, to=arguments.to)

    def start(job: ExportJob, opened: JobTables) -> PartWriters:
        from pipeline.cluster.ray_pool import RayPool

        pool: RayPool[Task, PartDone] = RayPool(
            cluster, partial(_make_writer, job), "exporter", lambda task: f"writes {len(task.videos)} videos"
        )
        return stack.enter_context(contextlib.closing(pool))

    return start


def _make_writer(job: ExportJob, worker_id: str) -> PartWriter:
    """What writes parts, in the process in which it shall run."""
    return PartWriter(job)


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    words = list(sys.argv[1:] if words is None else words)
    names = [word.removeprefix("format=") for word in words if word.startswith("format=")]
    chosen: LoadedFormat | None = None

    def later(arguments: ExportArguments) -> ExitCode:
        return run(load(arguments.format), arguments)

    if names and names[-1] in {one.name for one in FORMATS}:  # the last one counts, as of every key
        try:
            chosen = load(names[-1])
        except ConfigError as error:
            return explain(error)
        return main(help_text(chosen), arguments_of(chosen), partial(run, chosen), words)
    return main(help_text(None), ExportArguments, later, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
