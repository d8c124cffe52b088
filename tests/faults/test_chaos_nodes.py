"""Several nodes: three raylets on this machine; one is removed in mid-job, one added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.faults.conftest import Inputs
from tests.support.fault_jobs import RunningJob, log_entries, read_tables, statuses
from tests.support.record import Record

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without room for actors, and two nodes with room for one each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_nodes_removed_and_one_added_in_mid_job(some: Inputs, tmp_path: Path, cluster: Cluster, record: Record) -> None:
    """One is lost while the other works, then that one too: what is left is done where a node came in their place."""
    first, second = (cluster.add_node(num_cpus=1) for _ in range(2))
    cluster.wait_for_nodes()
    output = tmp_path / "out"
    on_cluster = ["cluster=existing", f"cluster.address={cluster.address}", "cluster.shared_disk=true"]
    bounds = ["cluster.min_actors=1", "cluster.max_actors=3"]
    arguments = some.arguments(output, *on_cluster, *bounds, "worker.beat_seconds=1", "flush.seconds=1")
    with RunningJob(tmp_path, *arguments) as job:
        job.wait_until(lambda: job.count("is ready") >= 2, "two workers")
        job.wait_until(lambda: log_entries(str(output)) >= 2, "a commit")
        cluster.remove_node(first, allow_graceful=False)
        job.wait_until(lambda: job.count("the node was lost|the worker died"), "the loss noticed")
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        ended = job.wait(400)
        assert ended == 0, job.log
    assert job.count("is ready") >= 3, "the new node was not used"
    assert set(statuses(str(output)).values()) == {"ok"}
    record.times, record.redone = 3, some.redone(job)
    record.compare(read_tables(str(output)), some.expected)


def test_workers_spread_over_nodes_and_their_number_is_bounded(
    few: Inputs, tmp_path: Path, cluster: Cluster, record: Record
) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    output = tmp_path / "out"
    on_cluster = ["cluster=existing", f"cluster.address={cluster.address}", "cluster.shared_disk=true"]
    with RunningJob(tmp_path, *few.arguments(output, *on_cluster, "cluster.max_actors=2")) as job:
        job.wait_until(lambda: job.count("is ready") >= 2, "two workers")
        ray.init(address=cluster.address, log_to_driver=False)
        free_cpus = {node["NodeID"]: node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]}
        assert sorted(free_cpus.values()) == [0, 2, 2]
        free = ray._private.state.available_resources_per_node()
        assert sorted(node.get("CPU", 0) for node in free.values()) == [0, 1, 1], "not one actor on each node"
        assert job.wait(400) == 0, job.log
    assert job.count("up to 2 workers") == 1
    record.times = 0
    record.compare(read_tables(str(output)), few.expected)


def test_a_node_where_the_model_cannot_load(few: Inputs, tmp_path: Path, cluster: Cluster, record: Record) -> None:
    """Its Python has a broken package where the weights' reader should be; the other node labels everything."""
    broken = tmp_path / "broken" / "safetensors"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('this node is broken')")
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(broken.parent)})
    cluster.wait_for_nodes()
    output = tmp_path / "out"
    on_cluster = ["cluster=existing", f"cluster.address={cluster.address}", "cluster.shared_disk=true"]
    with RunningJob(tmp_path, *few.arguments(output, *on_cluster, "worker.beat_seconds=1")) as job:
        assert job.wait(400) == 0, job.log
    assert job.count("could not start: .*this node is broken") >= 1, job.log
    assert job.count("was in flight: strike") == 0
    record.times, record.redone = job.count("could not start: "), few.redone(job)
    record.compare(read_tables(str(output)), few.expected)
