"""`check=true` from the config to its page and exit code. Read `run` from top to bottom."""

from __future__ import annotations

import sys

from pipeline.check.estimate import Experience, Volume
from pipeline.check.look import look
from pipeline.check.page import Findings, page
from pipeline.command import ExitCode
from pipeline.config.job_config import JobConfig
from pipeline.driver.job import check_device, open_job, plan_job
from pipeline.driver.prune import find_former
from pipeline.errors import ConfigError, InputError, NewerVersion, StorageError, UnusableStore
from pipeline.redact import redact
from pipeline.text import say


def run(config: JobConfig) -> int:
    """Check a job and return the exit code: `FAILURES` if a video or an object will fail, as far as is known.

    Raises `ConfigError` where the job itself would not start.
    """
    try:
        job = open_job(config)
        plan = plan_job(job)
        state = job.log.state
        former = find_former(plan, job.storage, state) if config.prune else plan.former(state.finished)
        if plan.num_to_label:
            check_device(config)
        volume, findings = Volume(), Findings()
        for one in look(list(plan.items()), job.config, config.check_videos):
            volume.add(one, config.propagate.direction)
            findings.add(one)
        refused = [outcome.message for outcome in plan.refused()]
        say(page(job.config, plan, volume, Experience.of(job), findings, refused, former))
    except (InputError, NewerVersion, UnusableStore) as error:
        raise ConfigError(str(error)) from error
    except StorageError as error:
        print(f"maskmill: {redact(str(error))}", file=sys.stderr)
        return ExitCode.ENVIRONMENT
    return ExitCode.FAILURES if findings.num_bad or refused else ExitCode.DONE
