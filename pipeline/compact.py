"""`python -m pipeline.compact output=…`: merge a job's small segments into few large ones, each sorted by video.

A group of segments is merged on local disk, published under a new name, and takes its parts' place by one log entry;
then the parts are deleted. Killed in between, it leaves objects that the log does not name, which the next compaction
and the end of the next job delete. A job may run meanwhile: its driver applies the entry and goes on, and wherever the
two are at odds over a segment, the driver's word stands. Only where `single_driver=true` stands in for a store that
refuses to overwrite an entry, the compaction takes the driver's place meanwhile.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.commits.compaction import compact
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted, say

HELP = f"""Merges the small segments of a job into files of 256 to 512 MB, sorted by video.

  python -m pipeline.compact output=…

{describe_arguments(("output", "storage_options", "spool_dir"))}

It is safe at any time, also while the job runs and when it is killed in the middle. A job with single_driver=true is
the exception: it is merged only while it does not run, and it cannot start meanwhile.

Exit codes:
  {ExitCode.DONE}   The segments are merged, or there was nothing to merge.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   Wrong arguments, no job there, a job with single_driver=true that runs, or a store that needs it.
"""


def run(arguments: JobArguments) -> None:
    """The command."""
    started = time.monotonic()
    storage = JobStorage(arguments.output, arguments.storage_options)
    done = compact(storage, Path(arguments.spool_dir or tempfile.gettempdir()))
    say(
        f"{storage}: {counted(done.num_merged, 'segment')} merged into {done.num_made}, "
        f"{done.num_bytes / 1e6:.1f} MB, in {time.monotonic() - started:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main(HELP, run))
