"""Prefect (3): labels what is new every night, by Ray Jobs. `python prefect_flow.py` serves it; see docs/deploy.md.

A task that is tried again follows the job that runs, or submits it again where it ended badly: submit.py looks first.
"""

import os
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

SUBMIT = os.environ.get("MASKMILL_SUBMIT", str(Path(__file__).resolve().parent.parent / "ray_jobs" / "submit.py"))
ADDRESS = os.environ.get("RAY_ADDRESS", "http://ray-head:8265")
COMMAND = shlex.split(
    "python -m pipeline.run conf=nightly cluster=existing model=base_plus stop_after=7h"
    " videos=s3://bucket/incoming prompts=s3://bucket/prompts output=s3://bucket/labels"
)


class PersonNeeded(Exception):
    """A repetition ends the same way."""


def is_worth_repeating(task: Any, task_run: Any, state: Any) -> bool:
    """Whether the task is tried again."""
    return not isinstance(state.result(raise_on_failure=False), PersonNeeded)


@task(retries=8, retry_delay_seconds=exponential_backoff(backoff_factor=60), retry_condition_fn=is_worth_repeating)
def label(night: str) -> str:
    """Submit the job of this night, or follow it. Returns what happened."""
    command = [sys.executable, SUBMIT, "--address", ADDRESS, "--name", f"labels-{night}", "--", *COMMAND]
    code = subprocess.run(command, check=False).returncode
    if code in (2, 4):
        raise PersonNeeded(f"exit code {code}: see docs/production.md")
    if code == 3:
        return "another driver works on this job"
    if code != 0:
        raise RuntimeError(f"exit code {code}: the same command goes on later")
    return "labeled"


@flow
def maskmill_nightly(night: str | None = None) -> str:
    """One task; what reads the labels comes behind it. `night` is the date for which the flow was planned."""
    planned = flow_run.scheduled_start_time
    return label(night or str(planned.date() if planned else date.today()))


if __name__ == "__main__":
    maskmill_nightly.serve(name="nightly", cron="0 2 * * *", limit=1)
