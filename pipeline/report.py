"""`python -m pipeline.report output=… to=report.html`: a job as one HTML page, for people who decide and forward.

What the page says is gathered in `pipeline/pages/job_page.py`. It only reads, and works while the job runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.config.fields import Unit
from pipeline.config.kinds import OptionalRoot, Place
from pipeline.output.targets import check_file
from pipeline.packages import leave_current_folder
from pipeline.pages.job_page import PageOptions, job_page
from pipeline.pages.page import check_installed
from pipeline.pages.save import save_page
from pipeline.redact import redact_uri
from pipeline.storage.job_storage import JobStorage
from pipeline.text import say


class ReportArguments(TargetArguments, JobArguments):
    """The keys of the command."""

    to: Place = Field(default="report.html", description="The file to write: a path or any fsspec URI.")
    top: Annotated[int, Field(ge=1, le=200)] = Field(
        default=24, description="How many of the most doubtful tracks are shown, with pictures."
    )
    price_per_hour: Annotated[float | None, Unit("dollars, or of any currency")] = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What an hour of one worker costs, with its GPU and its machine.",
    )
    videos_root: OptionalRoot = Field(
        default=None, description="A folder or URI below which the files of the videos lie now; null: where they were."
    )
    pictures: bool = Field(default=True, description="false leaves the pictures out, and opens no video.")


HELP = f"""Writes a report of a job, running or not, as one HTML file that needs nothing else.

  python -m pipeline.report output=… to=report.html
  python -m pipeline.report output=s3://bucket/labels to=s3://bucket/report.html price_per_hour=2.5

{describe_arguments(ReportArguments)}

It needs jinja2: pip install "maskmill[report]".

Exit codes:
  {ExitCode.DONE}   The page is written.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or a newer maskmill wrote it.
  {ExitCode.STOPPED} A signal stopped it; the page is whole, or as it was before.
"""


def run(arguments: ReportArguments) -> ExitCode:
    """Write the page and say where it is."""
    started = time.monotonic()
    check_installed()
    check_file(arguments.to, "report.html", arguments.to_options)
    storage = JobStorage(arguments.output, arguments.storage_options)
    options = PageOptions(arguments.top, arguments.price_per_hour, arguments.videos_root, arguments.pictures)
    size = save_page(arguments.to, job_page(storage, options), arguments.to_options)
    say(f"report   {redact_uri(arguments.to)}, {size / 1e6:.1f} MB, in {time.monotonic() - started:.1f} s")
    return ExitCode.DONE


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, ReportArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
