"""`check=true` from the config to its page and exit code. Read `run` from top to bottom."""

from __future__ import annotations

from pipeline.check.again import Again
from pipeline.check.estimate import Experience, Volume
from pipeline.check.look import look
from pipeline.check.page import Findings, page
from pipeline.command import ExitCode
from pipeline.config.job_config import JobConfig
from pipeline.driver.job import check_device, open_job, plan_job
from pipeline.driver.places import check_place
from pipeline.driver.prune import find_former
from pipeline.driver.run_record import RunRecord, recorded_run
from pipeline.driver.summary import End
from pipeline.errors import ConfigError, InputError, NewerVersion, StorageError, UnusableStore
from pipeline.redact import redact
from pipeline.storage.destinations import check_writable
from pipeline.text import complain, counted, say


def run(config: JobConfig) -> int:
    """Check a job and return the exit code: `FAILURES` if a video or an object will fail, as far as is known.

    Nothing is written but `log_file=`. Raises `ConfigError` where the job itself would not start.
    """
    check_place("log_file", config.log_file)
    with recorded_run(config) as record:
        end = _check(config, record)
        record.end(end.code, end.message)
    return end.code


def _check(config: JobConfig, record: RunRecord) -> End:
    try:
        job = open_job(config)
        plan = plan_job(job)
        record.planned(job, plan)
        state = job.log.state
        former = find_former(plan, job.storage, state) if config.prune else plan.former(state.finished)
        if plan.num_to_label:
            check_device(config)
            check_writable(job.storage.uri, "output")
        volume, findings, again = Volume(), Findings(), Again.of(job, plan)
        for one in look(plan.items_in_order(), job.config, config.check_videos, num_items=plan.num_to_label):
            volume.add(one, config.propagate.direction, again.objects.by_video.get(one.item.video_id))
            findings.add(one)
        refused = [outcome.message for outcome in plan.refused()]
        say(page(job.config, plan, volume, Experience.of(job), findings, refused, former, again))
    except (InputError, NewerVersion, UnusableStore) as error:
        raise ConfigError(str(error)) from error
    except StorageError as error:
        message = redact(str(error))
        complain(message)
        return End(ExitCode.ENVIRONMENT, message)
    num_bad = findings.num_bad + len(refused)
    return End(
        ExitCode.FAILURES if num_bad else ExitCode.DONE,
        f"check: {counted(num_bad, 'fault') if num_bad else 'no faults'}",
    )
