"""Tasks of a command that are done one by one: in this process, or by Ray actors at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pipeline.config.cluster_config import ClusterConfig

if TYPE_CHECKING:
    from pipeline.cluster.ray_pool import TaskWorker

Task = TypeVar("Task")
Done = TypeVar("Done")


@contextlib.contextmanager
def task_workers(
    cluster: ClusterConfig, make: Callable[[str], TaskWorker[Task, Done]], name: str, doing: Callable[[Task], str]
) -> Iterator[Callable[[Iterable[Task]], Iterator[Done]]]:
    """What does the tasks that it is given, where `cluster=` says; answers come in any order.

    See `RayPool` for the arguments. Ray is imported only if it is wanted.
    """
    if cluster.kind == "serial":
        worker = make(name)
        yield lambda tasks: map(worker.work, tasks)
        return
    from pipeline.cluster.ray_pool import RayPool

    pool = RayPool(cluster, make, name, doing)
    with contextlib.closing(pool):
        yield pool.run
