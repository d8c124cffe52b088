"""`python -m pipeline.compact output=…`: merge a job's small segments into few large ones, each sorted by video.

A merger, in this process or one of several on Ray (`cluster=`), merges a group of segments on its local disk and
publishes the result under a new name. This process alone writes the log: one entry puts the result in the place of its
parts, and then the parts are deleted. A compaction that is killed in between leaves objects that the log does not name;
the next compaction, or the end of the next job, deletes them. A job may run meanwhile: its driver applies the entry and
goes on, and where both change a segment, the driver's change stands. A job with
`single_driver=true` is the exception, because its store cannot refuse to overwrite an entry: the compaction takes the
driver's place, so that no driver can start meanwhile.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.commits.compaction import Mergers, OneMerger, compact
from pipeline.config.cluster_config import ProcessesConfig
from pipeline.config.kinds import OptionalLocalPlace
from pipeline.packages import leave_current_folder
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted, say


class CompactArguments(JobArguments):
    """The keys of a compaction."""

    spool_dir: OptionalLocalPlace = Field(
        default=None,
        description="A local folder for about 1.5 GB of temporary files of each process that merges; null is the "
        "system's own.",
    )
    cluster: ProcessesConfig = Field(default_factory=ProcessesConfig)


HELP = f"""Merges the small segments of a job (below 256 MiB) into segments of up to 512 MiB, sorted by video.

  python -m pipeline.compact output=…
  python -m pipeline.compact output=… cluster=local

{describe_arguments(CompactArguments)}

It is safe at any time, also while the job runs and when it is killed in the middle. A job with single_driver=true is
the exception: it is merged only while it does not run, and it cannot start meanwhile.

Exit codes:
  {ExitCode.DONE}   The segments are merged, or there was nothing to merge.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   Wrong arguments, no job, a job with single_driver=true that runs, or a store that needs that key.
  {ExitCode.STOPPED} A signal stopped it: run the same command again at any time.
"""


def run(arguments: CompactArguments) -> ExitCode:
    """Merge what can be merged and say how much that was."""
    started = time.monotonic()
    storage = JobStorage(arguments.output, arguments.storage_options)
    spool_dir = Path(arguments.spool_dir or tempfile.gettempdir())
    with _mergers(arguments, storage) as mergers:
        done = compact(storage, spool_dir, mergers=mergers)
    say(
        f"{storage}: {counted(done.num_merged, 'segment')} merged into {done.num_made}, "
        f"{done.num_bytes / 1e6:.1f} MB, in {time.monotonic() - started:.1f} s"
    )
    return ExitCode.DONE


@contextlib.contextmanager
def _mergers(arguments: CompactArguments, storage: JobStorage) -> Iterator[Mergers]:
    """The processes that merge, as `cluster=` says. Imports Ray only if it is wanted."""
    cluster = arguments.cluster
    if cluster.kind == "serial":
        yield OneMerger(storage, arguments.spool_dir)
        return
    cluster.check_reaches(output=arguments.output)
    from pipeline.cluster.ray_mergers import RayMergers

    with contextlib.closing(RayMergers(cluster, storage, arguments.spool_dir)) as mergers:
        yield mergers


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, CompactArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
