"""Submits a command to Ray Jobs so that it may be submitted again at any time: docs/deploy.md.

    python submit.py --name labels-2026-11-29 -- python -m pipeline.run cluster=existing conf=label output=…

Ray refuses an id that was used. A scheduler that repeats `ray job submit` gets an error, or a second driver under
another id. This looks first. The attempts of one name belong together: ids of later ones end in `-try2`, `-try3`, …

* The last attempt runs or waits: it is followed.
* It succeeded: nothing is submitted. Give each night a name of its own.
* It failed or was stopped, or Ray has forgotten it: a new one is submitted, which goes on from what is committed.

It prints the driver's log and ends with the driver's exit code. Ctrl-C and SIGTERM end this command and not the job. It
needs `ray[default]` alone, and may be copied.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

PATIENCE_SECONDS = 600.0
POLL_SECONDS = 2.0
LIVING = (JobStatus.PENDING, JobStatus.RUNNING)


def say(line: str) -> None:
    """A line on the terminal, at once, because a scheduler reads it while the job runs."""
    print(line, flush=True)


def attempts(client: JobSubmissionClient, name: str) -> list[tuple[int, Any]]:
    """The attempts of a name with their numbers, in order, as `JobDetails`."""
    pattern = re.compile(rf"{re.escape(name)}(?:-try(\d+))?")
    matches = [(pattern.fullmatch(job.submission_id or ""), job) for job in client.list_jobs()]
    return sorted(((int(match[1] or 1), job) for match, job in matches if match), key=lambda found: found[0])


def submit(client: JobSubmissionClient, name: str, entrypoint: str, **options: Any) -> str:
    """The id of the attempt that counts: the last one if it lives or has succeeded, else a new one."""
    while True:
        found = attempts(client, name)
        number, last = found[-1] if found else (0, None)
        if last is not None and last.status in (*LIVING, JobStatus.SUCCEEDED):
            say(f"{last.submission_id} is {last.status.value.lower()}: nothing is submitted")
            return str(last.submission_id)
        submission_id = name if number == 0 else f"{name}-try{number + 1}"
        try:
            client.submit_job(entrypoint=entrypoint, submission_id=submission_id, **options)
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise
            continue  # somebody else was quicker, whose attempt counts
        before = f", because {last.submission_id} has {last.status.value.lower()}" if last is not None else ""
        say(f"{submission_id} is submitted{before}")
        return submission_id


class Follower:
    """Waits for the end of an attempt and prints its log, also past times in which the cluster does not answer."""

    def __init__(self, client: JobSubmissionClient, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep
        self._num_printed = 0

    def follow(self, submission_id: str) -> int:
        """The exit code of the driver. Raises `ConnectionError` if the cluster does not answer for ten minutes."""
        silent = 0.0
        while True:
            try:
                asyncio.run(self._print_log(submission_id))
                status = self._client.get_job_status(submission_id)
                silent = 0.0
                if status not in LIVING:
                    return self._code(submission_id, status)
            except (OSError, RuntimeError) as error:
                if silent >= PATIENCE_SECONDS:
                    raise ConnectionError(f"the cluster has not answered for {silent:.0f} s ({error})") from error
                silent += POLL_SECONDS
            self._sleep(POLL_SECONDS)

    async def _print_log(self, submission_id: str) -> None:
        """What was not printed yet, until the attempt or the connection ends."""
        num_read = 0
        async for text in self._client.tail_job_logs(submission_id):
            new = text[max(0, self._num_printed - num_read) :]
            num_read += len(text)
            self._num_printed = max(self._num_printed, num_read)
            print(new, end="", flush=True)

    def _code(self, submission_id: str, status: JobStatus) -> int:
        details = self._client.get_job_info(submission_id)
        told = (details.message or "").partition("\n")[0]  # what follows is the log
        say(f"{submission_id} has {status.value.lower()}: {told}")
        return exit_code(status, details.driver_exit_code)


def exit_code(status: JobStatus, driver: int | None) -> int:
    """What a shell would say: the driver's code, 128 + the signal that killed it, or 1 if nobody knows."""
    if status is JobStatus.SUCCEEDED:
        return 0
    if driver:
        return driver if driver > 0 else 128 - driver
    return 143 if status is JobStatus.STOPPED else 1


def main(words: Sequence[str] | None = None) -> int:
    """The command: the driver's exit code, and 1 where no cluster answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="what the attempts of one night have in common")
    parser.add_argument("--address", help="http://host:8265 of the cluster; else RAY_ADDRESS, else this machine's")
    parser.add_argument("--runtime-env-json", type=json.loads, default={}, help="as of ray job submit")
    parser.add_argument("--no-wait", action="store_true", help="submit, and do not follow")
    parser.add_argument("command", nargs="+", help="after --")
    given = parser.parse_args(words)
    try:
        client = JobSubmissionClient(given.address)
        runtime_env = {"env_vars": {"PYTHONUNBUFFERED": "1"}} | given.runtime_env_json
        submission_id = submit(client, given.name, shlex.join(given.command), runtime_env=runtime_env)
        return 0 if given.no_wait else Follower(client).follow(submission_id)
    except ConnectionError as error:
        say(f"no Ray cluster answers: {error}")
        return 1
    except KeyboardInterrupt:
        say("the job goes on; the same command follows it, `ray job stop` stops it")
        return 130


if __name__ == "__main__":
    sys.exit(main())
