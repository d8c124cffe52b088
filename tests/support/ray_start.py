"""Ray clusters of the tests' own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ray
from ray.cluster_utils import Cluster


def start_ray(**options: Any) -> Any:
    """A cluster on this machine, to which this process is connected. A busy machine gets one more try.

    Ray gives its processes 30 seconds, and its files are in memory when it tries again.
    """
    for is_last in (False, True):
        try:
            return ray.init(address="local", include_dashboard=False, log_to_driver=False, **options)
        except Exception:  # Ray raises plain exceptions of several classes
            ray.shutdown()
            if is_last:
                raise
    raise AssertionError("not reached")


@contextlib.contextmanager
def ray_with_dashboard(num_cpus: int) -> Iterator[tuple[str, str]]:
    """A cluster to which this process is connected and jobs are submitted: its address, and that of its dashboard.

    Jobs go through the agent of the node. Its port is a free one: the agents of all clusters take the same port by
    themselves, and where one has it, the next cluster takes no jobs.
    """
    head = {"num_cpus": num_cpus, "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    cluster = _cluster(head | {"dashboard_agent_listen_port": None})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster.address, f"http://{cluster.webui_url}"
    finally:
        ray.shutdown()
        cluster.shutdown()


def _cluster(head: dict[str, Any]) -> Cluster:
    """A busy machine gets one more try."""
    with contextlib.suppress(Exception):  # Ray raises plain exceptions of several classes
        return Cluster(initialize_head=True, head_node_args=head)
    return Cluster(initialize_head=True, head_node_args=head)
