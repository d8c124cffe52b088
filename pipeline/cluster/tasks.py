"""Tasks of a command that are done one by one: in this process, or by Ray actors at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from pipeline.config.cluster_config import ClusterConfig

Task = TypeVar("Task")
Done = TypeVar("Done")
Task_contra = TypeVar("Task_contra", contravariant=True)
Done_co = TypeVar("Done_co", covariant=True)


class TaskWorker(Protocol[Task_contra, Done_co]):
    """What works on tasks of one command. In an actor tasks and answers are pickled."""

    def work(self, task: Task_contra, /) -> Done_co: ...


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
