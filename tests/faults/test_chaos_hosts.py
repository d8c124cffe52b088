"""Two hosts with addresses of their own: one is cut off in mid-work, taken for dead, and comes back."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.faults.conftest import Inputs
from tests.support.fault_jobs import RunningJob, log_entries, read_tables, statuses
from tests.support.hosts import two_hosts, why_not
from tests.support.record import Record

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

PORT = 6379

# For every process of the cluster and of the job. Ray takes half a minute to be sure that a node is gone; here it shall
# be quicker. Who joins a cluster must know its token.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


def test_a_host_that_is_cut_off_and_comes_back(
    few: Inputs, tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All work is done there. What it publishes while it is taken for dead (the disk is shared) counts once at most."""
    reason = why_not()
    if reason:
        pytest.skip(f"left out, and only here: {reason}")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "out"
    with two_hosts(tmp_path) as (head, other):
        head.start_ray(0, "--head", f"--port={PORT}", "--include-dashboard=false")
        other.wait_for_port(head.address, PORT)
        join = f"--address={head.address}:{PORT}"
        other.start_ray(1, join)
        on_cluster = ["cluster=existing", f"cluster.address={head.address}:{PORT}", "cluster.shared_disk=true"]
        bounds = ["cluster.min_actors=1", "cluster.max_actors=1"]
        arguments = few.arguments(output, *on_cluster, *bounds, "worker.beat_seconds=1", "flush.seconds=1")
        with RunningJob(tmp_path, *arguments, under=head.inside) as job:
            job.wait_until(lambda: job.count("is ready") >= 1, "a worker")
            job.wait_until(lambda: log_entries(str(output)) >= 2, "a commit")
            other.pull_cable()
            job.wait_until(lambda: job.count("the node was lost|the worker died"), "the loss noticed")
            num_ready = job.count("is ready")
            other.plug_in()
            (ray_before,) = other.started
            job.wait_until(lambda: ray_before.poll() is not None, "the end of a raylet that was given up", 90)
            other.stop()
            other.start_ray(1, join)
            job.wait_until(lambda: job.count("is ready") > num_ready, "a worker on the host that came back")
            assert job.wait(400) == 0, job.log
    record.times = 1
    assert set(statuses(str(output)).values()) == {"ok"}
    record.compare(read_tables(str(output)), few.expected)
    record.redone = few.redone(job)
