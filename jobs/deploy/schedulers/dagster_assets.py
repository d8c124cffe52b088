"""Dagster: the labels as an asset that is made every night, by Ray Jobs and Pipes. docs/deploy.md explains it.

`dagster dev -f dagster_assets.py`. Its client of Pipes starts submit.py, which looks first: a step that is tried again
follows the job that runs. PipesRayJobClient of dagster-ray submits at once, so that a repetition is a second driver.
"""

import os
import re
import shlex
import sys
from pathlib import Path

import dagster as dg

SUBMIT = os.environ.get("MASKMILL_SUBMIT", str(Path(__file__).resolve().parent.parent / "ray_jobs" / "submit.py"))
ADDRESS = os.environ.get("RAY_ADDRESS", "http://ray-head:8265")
COMMAND = shlex.split(
    "python -m pipeline.run conf=nightly cluster=existing model=base_plus stop_after=7h"
    " videos=s3://bucket/incoming prompts=s3://bucket/prompts output=s3://bucket/labels"
)

NIGHTS = dg.DailyPartitionsDefinition(start_date="2026-01-01")
AGAIN = dg.RetryPolicy(max_retries=10, delay=120, backoff=dg.Backoff.EXPONENTIAL)


@dg.asset(partitions_def=NIGHTS, retry_policy=AGAIN, pool="maskmill")
def labels(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
    """What arrived until this night. Set the limit of the pool `maskmill` to 1: one job has one driver."""
    name = f"labels-{context.partition_key}"
    command = [sys.executable, SUBMIT, "--address", ADDRESS, "--name", name, "--", *COMMAND]
    try:
        pipes.run(context=context, command=command)
    except Exception as error:  # DagsterPipesExecutionError, which Dagster does not export
        found = re.search(r"failed with code (-?\d+)", str(error))
        if found is None:
            raise
        code = int(found[1])
        # 3: another driver works on this job, so that there is something to wait for.
        raise dg.Failure(f"exit code {code}: see docs/production.md", allow_retries=code not in (2, 4)) from error
    return dg.MaterializeResult(metadata={"submission": name})


nightly = dg.build_schedule_from_partitioned_job(
    dg.define_asset_job("maskmill_nightly", selection=[labels], partitions_def=NIGHTS), hour_of_day=2
)
defs = dg.Definitions(assets=[labels], schedules=[nightly], resources={"pipes": dg.PipesSubprocessClient()})
