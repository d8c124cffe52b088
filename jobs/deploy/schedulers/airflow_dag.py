"""Airflow (3): labels what is new every night, by Ray Jobs. Put it into the folder of DAGs; docs/deploy.md explains it.

A task that is tried again follows the job that runs, or submits it again where it ended badly: submit.py looks first.
"""

import os
import re
import shlex
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

SUBMIT = os.environ.get("MASKMILL_SUBMIT", str(Path(__file__).resolve().parent.parent / "ray_jobs" / "submit.py"))
ADDRESS = os.environ.get("RAY_ADDRESS", "http://ray-head:8265")
COMMAND = shlex.split(
    "python -m pipeline.run conf=nightly cluster=existing model=base_plus stop_after=7h"
    " videos=s3://bucket/incoming prompts=s3://bucket/prompts output=s3://bucket/labels"
)


@task(retries=10, retry_delay=timedelta(minutes=2), retry_exponential_backoff=True, max_retry_delay=timedelta(hours=1))
def label(run_id: str | None = None) -> None:
    """Submit the job of this night, or follow it. Airflow gives `run_id`, which stays when the task is tried again."""
    night = re.sub(r"[^\w-]+", "-", run_id or "by-hand")
    command = [sys.executable, SUBMIT, "--address", ADDRESS, "--name", f"labels-{night}", "--", *COMMAND]
    code = subprocess.run(command, check=False).returncode
    if code in (2, 4):
        raise AirflowFailException(f"exit code {code}: a person is needed, a repetition ends the same way")
    if code == 3:
        raise AirflowSkipException("another driver works on this job")
    if code != 0:
        raise RuntimeError(f"exit code {code}: the same command goes on later")


@dag(schedule="0 2 * * *", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["maskmill"])
def maskmill_nightly() -> None:
    """One task; what reads the labels comes behind it."""
    label()


maskmill_nightly()
