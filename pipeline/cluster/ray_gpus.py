"""Whether a Ray cluster has GPUs, before workers are started on it."""

from __future__ import annotations

import ray

from pipeline.cluster.ray_cluster import connect, nodes
from pipeline.config.cluster_config import ClusterConfig


def has_gpus(cluster: ClusterConfig) -> bool:
    """Whether a living node has a GPU, so that workers which are asked for none in particular get one each.

    A process that is not connected is so for this question only. Raises `ConfigError` if no such cluster answers.
    """
    has_connected = connect(cluster)
    try:
        return any(node["Alive"] and node["Resources"].get("GPU", 0) >= 1 for node in nodes())
    finally:
        if has_connected:
            ray.shutdown()
