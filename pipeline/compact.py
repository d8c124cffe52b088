"""`python -m pipeline.compact output=…`: merge a job's small segments into few large ones, each sorted by video.

The compaction merges a group of segments on local disk and publishes the result under a new name. One entry of the log
puts it in the place of its parts, and then the parts are deleted. A compaction that is killed in between leaves objects
that the log does not name; the next compaction, or the end of the next job, deletes them. A job may run meanwhile: its
driver applies the entry and goes on, and where both change a segment, the driver's change stands. A job with
`single_driver=true` is the exception, because its store cannot refuse to overwrite an entry: the compaction takes the
driver's place, so that no driver can start meanwhile.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pydantic import Field

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.commits.compaction import compact
from pipeline.config.job_config import OptionalLocalPlace
from pipeline.packages import leave_current_folder
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted, say


class CompactArguments(JobArguments):
    """The keys of a compaction."""

    spool_dir: OptionalLocalPlace = Field(
        default=None, description="A local folder for about 1 GB of temporary files; null is the system's own."
    )


HELP = f"""Merges the small segments of a job (below 256 MiB) into segments of up to 512 MiB, sorted by video.

  python -m pipeline.compact output=…

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
    done = compact(storage, Path(arguments.spool_dir or tempfile.gettempdir()))
    say(
        f"{storage}: {counted(done.num_merged, 'segment')} merged into {done.num_made}, "
        f"{done.num_bytes / 1e6:.1f} MB, in {time.monotonic() - started:.1f} s"
    )
    return ExitCode.DONE


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(main(HELP, CompactArguments, run))
