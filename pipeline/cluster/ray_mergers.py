"""Mergers of a compaction as Ray actors: each merges one group of segments at a time, wherever a CPU is free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from pipeline.cluster.ray_pool import RayPool
from pipeline.config.cluster_config import ClusterConfig
from pipeline.output.merge import Merged, Merger, MergeTask
from pipeline.storage.job_storage import JobStorage


class RayMergers:
    """As many actors as there are tasks and room. What an actor that dies was merging is begun anew in another one."""

    def __init__(self, cluster: ClusterConfig, storage: JobStorage, spool_dir: str | None) -> None:
        make = partial(_make_merger, storage, spool_dir)
        self._pool: RayPool[MergeTask, Merged] = RayPool(cluster, make, "merger", _describe)

    def merge(self, tasks: Iterable[MergeTask]) -> Iterator[Merged]:
        """See `Mergers`. Raises `ClusterDown` if one group's actors have died three times."""
        return self._pool.run(tasks)

    def close(self) -> None:
        """End all actors, and Ray if it was started here."""
        self._pool.close()


def _describe(task: MergeTask) -> str:
    return f"merges {len(task.names)} segments"


def _make_merger(storage: JobStorage, spool_dir: str | None, worker_id: str) -> Merger:
    """A merger, in the process in which it shall run."""
    return Merger(storage, spool_dir)
