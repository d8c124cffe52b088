"""Mergers of a compaction as Ray actors: each merges one group of segments at a time, wherever a CPU is free."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray import cloudpickle, exceptions

from pipeline.cluster.actor import ActorWorker
from pipeline.cluster.ray_cluster import Room, connect
from pipeline.config.job_config import ClusterConfig
from pipeline.errors import ClusterDown, describe
from pipeline.output.merge import Merged, Merger, MergeTask
from pipeline.packages import foreign_folders
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_MAX_DEATHS = 3


@dataclass(frozen=True)
class _Actor:
    """`placing` is a call that ends when the actor's process runs."""

    handle: Any
    placing: Any


class RayMergers:
    """As many actors as there are tasks and room. What an actor that dies was merging is begun anew in another one."""

    def __init__(self, cluster: ClusterConfig, storage: JobStorage, spool_dir: str | None) -> None:
        self._has_connected = connect(cluster)
        self._actors: list[_Actor] = []
        self._made = cloudpickle.dumps(partial(_make_merger, storage, spool_dir))  # type: ignore[no-untyped-call]
        try:
            self._room = Room(cluster, "cpu", _LOOK_SECONDS)
        except BaseException:
            self.close()
            raise

    def merge(self, tasks: Iterable[MergeTask]) -> Iterator[Merged]:
        """See `Mergers`. Raises `ClusterDown` if one group's actors have died three times."""
        waiting = iter(tasks)
        running: dict[Any, tuple[_Actor, MergeTask]] = {}
        idle: list[_Actor] = []
        deaths: Counter[MergeTask] = Counter()
        while True:
            while idle or self._has_room(bool(running)):
                task = next(waiting, None)
                if task is None:
                    break
                actor = idle.pop() if idle else self._start()
                running[actor.handle.work.remote(task)] = actor, task
            if not running:
                return
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS)
            for reference in ready:
                actor, task = running.pop(reference)
                try:
                    yield ray.get(reference)
                    idle.append(actor)
                except exceptions.RayTaskError as error:
                    raise error.cause from error
                except exceptions.RayError as error:
                    self._end(actor)
                    deaths[task] += 1
                    if deaths[task] == _MAX_DEATHS:
                        raise ClusterDown(
                            f"the process that merges {len(task.names)} segments died {_MAX_DEATHS} times "
                            f"({describe(error)}): give each more memory, or fewer of them with cluster.actors"
                        ) from error
                    _log.warning("a process that merges has died (%s): its group is begun anew", describe(error))
                    waiting = itertools.chain([task], waiting)

    def close(self) -> None:
        """End all actors, and Ray if it was started here."""
        for actor in list(self._actors):
            self._end(actor)
        if self._has_connected:
            ray.shutdown()

    def _has_room(self, is_busy: bool) -> bool:
        """Whether one more actor fits. With nothing at work this waits until others leave a CPU free."""
        while True:
            if len(self._actors) < self._room.capacity([actor.placing for actor in self._actors]):
                return True
            if is_busy or self._actors:
                return False
            time.sleep(_LOOK_SECONDS)

    def _start(self) -> _Actor:
        remote = ray.remote(ActorWorker).options(
            max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **self._room.resources
        )
        handle: Any = remote.remote(self._made, f"merger-{len(self._actors)}", foreign_folders())
        actor = _Actor(handle, handle.is_placed.remote())
        self._actors.append(actor)
        return actor

    def _end(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        ray.kill(actor.handle)


def _make_merger(storage: JobStorage, spool_dir: str | None, worker_id: str) -> Merger:
    """A merger, in the process in which it shall run."""
    return Merger(storage, spool_dir)
