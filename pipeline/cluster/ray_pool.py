"""Tasks done by Ray actors, one at a time each, wherever a CPU is free: merging, exporting, drawing."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray import cloudpickle, exceptions

from pipeline.cluster.actor import ActorWorker
from pipeline.cluster.ray_cluster import Room, connect
from pipeline.config.cluster_config import ClusterConfig
from pipeline.errors import ClusterDown, describe
from pipeline.packages import foreign_folders

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_MAX_DEATHS = 3

Task = TypeVar("Task")
Done = TypeVar("Done")
Task_contra = TypeVar("Task_contra", contravariant=True)
Done_co = TypeVar("Done_co", covariant=True)


class TaskWorker(Protocol[Task_contra, Done_co]):
    """What works on tasks. In an actor tasks and answers are pickled."""

    def work(self, task: Task_contra, /) -> Done_co: ...


@dataclass(frozen=True)
class _Actor:
    """`placing` is a call that ends when the actor's process runs."""

    handle: Any
    placing: Any


class RayPool(Generic[Task, Done]):
    """As many actors as there are tasks and room. What an actor that dies was doing is begun anew in another one.

    `make` gets the name of an actor and makes its worker, in the actor's process; it is pickled. `name` is what actors
    are called ("merger"), `doing` says in messages what one does with a task ("merges 7 segments").
    """

    def __init__(
        self,
        cluster: ClusterConfig,
        make: Callable[[str], TaskWorker[Task, Done]],
        name: str,
        doing: Callable[[Task], str],
    ) -> None:
        self._has_connected = connect(cluster)
        self._actors: list[_Actor] = []
        self._num_started = 0
        self._name = name
        self._doing = doing
        self._made = cloudpickle.dumps(make)  # type: ignore[no-untyped-call]
        try:
            self._room = Room(cluster, "cpu", _LOOK_SECONDS)
        except BaseException:
            self.close()
            raise

    def run(self, tasks: Iterable[Task]) -> Iterator[Done]:
        """Answers in the order in which they come; a task is asked for when there is room for it.

        Raises what a worker raises, and `ClusterDown` if the actors of one task have died three times.
        """
        waiting: Iterator[tuple[int, Task]] = enumerate(tasks)
        running: dict[Any, tuple[_Actor, int, Task]] = {}
        idle: list[_Actor] = []
        deaths: Counter[int] = Counter()
        while True:
            while idle or self._has_room(bool(running)):
                number, task = next(waiting, (None, None))
                if number is None or task is None:
                    break
                actor = idle.pop() if idle else self._start()
                running[actor.handle.work.remote(task)] = actor, number, task
            if not running:
                return
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS)
            for reference in ready:
                actor, number, task = running.pop(reference)
                try:
                    yield ray.get(reference)
                    idle.append(actor)
                except exceptions.RayTaskError as error:
                    raise error.cause from error
                except exceptions.RayError as error:
                    self._end(actor)
                    deaths[number] += 1
                    if deaths[number] == _MAX_DEATHS:
                        raise ClusterDown(
                            f"the process that {self._doing(task)} died {_MAX_DEATHS} times "
                            f"({describe(error)}): give each more memory, or fewer of them with cluster.actors"
                        ) from error
                    _log.warning("a %s has died (%s): what it did is begun anew", self._name, describe(error))
                    waiting = itertools.chain([(number, task)], waiting)

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
        handle: Any = remote.remote(self._made, f"{self._name}-{self._num_started}", foreign_folders())
        self._num_started += 1
        actor = _Actor(handle, handle.is_placed.remote())
        self._actors.append(actor)
        return actor

    def _end(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        ray.kill(actor.handle)
