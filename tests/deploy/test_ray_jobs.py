"""jobs/deploy/ray_jobs/submit.py: which attempt counts, and how it is followed. Tests of Ray's actors run it too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus

from jobs.deploy.ray_jobs.submit import PATIENCE_SECONDS, Follower, exit_code, submit

RUNNING, SUCCEEDED, FAILED, STOPPED = JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED


@dataclass
class FakeCluster:
    """The job server, as far as it is asked. `jobs` are states by id, `quicker` is submitted just before ours.

    `logs` are the chunks of each look at the log of a job, an error among them is raised; the job ends with the last.
    """

    jobs: dict[str, JobStatus] = field(default_factory=dict)
    quicker: dict[str, JobStatus] = field(default_factory=dict)
    logs: list[list[str | Exception]] = field(default_factory=list)
    code: int | None = None

    def list_jobs(self) -> list[SimpleNamespace]:
        ids = [*self.jobs.items(), (None, RUNNING)]  # a driver that was not submitted has no id
        return [SimpleNamespace(submission_id=name, status=status) for name, status in ids]

    def submit_job(self, *, entrypoint: str, submission_id: str) -> str:
        self.jobs |= self.quicker
        if submission_id in self.jobs:
            raise RuntimeError(
                f"Request failed with status code 500: Job with submission_id {submission_id} already exists"
            )
        self.jobs[submission_id] = RUNNING
        return submission_id

    def get_job_status(self, submission_id: str) -> JobStatus:
        return RUNNING if self.logs else self.jobs[submission_id]

    def get_job_info(self, submission_id: str) -> SimpleNamespace:
        return SimpleNamespace(driver_exit_code=self.code, message="it ended\nand the log")

    async def tail_job_logs(self, submission_id: str) -> AsyncIterator[str]:
        for chunk in self.logs.pop(0) if self.logs else []:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


@pytest.mark.parametrize(
    ("before", "counts"),
    [
        ({}, "night"),
        ({"night": RUNNING}, "night"),
        ({"night": JobStatus.PENDING}, "night"),
        ({"night": SUCCEEDED}, "night"),
        ({"night": FAILED}, "night-try2"),
        ({"night": STOPPED}, "night-try2"),
        ({"night": FAILED, "night-try2": FAILED, "night-try10": FAILED}, "night-try11"),
        ({"night": FAILED, "night-try2": SUCCEEDED}, "night-try2"),
        ({"nightly": RUNNING, "night.": RUNNING, "another-night": RUNNING, "night-try": RUNNING}, "night"),
    ],
)
def test_the_last_attempt_counts_unless_it_failed(before: dict[str, JobStatus], counts: str) -> None:
    cluster = FakeCluster(dict(before))
    assert submit(cluster, "night", "command") == counts  # type: ignore[arg-type]
    assert cluster.jobs == {counts: RUNNING} | before


def test_of_two_who_submit_at_once_the_second_one_takes_the_attempt_of_the_first() -> None:
    cluster = FakeCluster(quicker={"night": RUNNING})
    assert submit(cluster, "night", "command") == "night"  # type: ignore[arg-type]
    assert list(cluster.jobs) == ["night"]


def test_what_ray_refuses_is_an_error() -> None:
    class Refusing(FakeCluster):
        def submit_job(self, **_: object) -> str:
            raise RuntimeError("Request failed with status code 400: no such field")

    with pytest.raises(RuntimeError, match="no such field"):
        submit(Refusing(), "night", "command")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        (SUCCEEDED, 0, 0),
        (FAILED, 4, 4),
        (FAILED, -9, 137),
        (FAILED, None, 1),
        (STOPPED, None, 143),
        (STOPPED, -15, 143),
    ],
)
def test_it_ends_as_the_driver_ended(status: JobStatus, driver: int | None, code: int) -> None:
    assert exit_code(status, driver) == code


def test_a_log_is_printed_once_though_the_connection_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    broken = RuntimeError("closed")
    logs: list[list[str | Exception]] = [["one\n", broken], ["one\ntw", broken], [OSError()], ["one\n", "two\nthree\n"]]
    cluster = FakeCluster({"night": FAILED}, logs=logs, code=2)
    assert Follower(cluster, sleep=lambda seconds: None).follow("night") == 2  # type: ignore[arg-type]
    assert capsys.readouterr().out == "one\ntwo\nthree\nnight has failed: it ended\n"


def test_a_cluster_that_stays_away_ends_it() -> None:
    slept: list[float] = []
    cluster = FakeCluster({"night": RUNNING}, logs=[[OSError("refused")]] * 10_000)
    with pytest.raises(ConnectionError, match=r"has not answered for 600 s \(refused\)"):
        Follower(cluster, sleep=slept.append).follow("night")  # type: ignore[arg-type]
    assert sum(slept) == PATIENCE_SECONDS
