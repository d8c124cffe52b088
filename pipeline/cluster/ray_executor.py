"""Workers as Ray actors. Ray starts, places and watches processes; the driver decides what is retried or replaced."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle, exceptions

from pipeline.cluster.actor import ActorWorker
from pipeline.cluster.executor import Event, Failure, Lost, Ready, Reported, WorkerFactory, failure_of_start
from pipeline.cluster.ray_cluster import Room, connect, nodes
from pipeline.cluster.ray_losses import Doubts, failure_of
from pipeline.cluster.ray_metrics import RayMetrics
from pipeline.config.cluster_config import ClusterConfig
from pipeline.errors import ConfigError, describe
from pipeline.packages import foreign_folders
from pipeline.records import WorkItem

_log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 0.25
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Call:
    """An outstanding call of one worker."""

    worker_id: str
    method: str
    deadline: float


@dataclass
class _Actor:
    """`placing` is a call that ends when the actor's process runs: from then on it holds its CPUs and GPUs."""

    handle: Any
    placing: Any
    node: str = ""


class RayExecutor:
    """One actor a worker. An actor whose call takes longer than `hang_seconds` or `setup_seconds` is killed.

    The cluster is looked at for free CPUs and GPUs every `look_seconds`. `job` names the job in the metrics.
    """

    def __init__(
        self,
        make_worker: WorkerFactory,
        cluster: ClusterConfig,
        hang_seconds: float,
        setup_seconds: float,
        device: str = "auto",
        look_seconds: float = 5.0,
        job: str = "",
    ) -> None:
        self._make_worker = make_worker
        self._deadlines = {"setup": setup_seconds, "work": hang_seconds, "drain": hang_seconds}
        self._actors: dict[str, _Actor] = {}
        self._calls: dict[Any, _Call] = {}
        self._doubts = Doubts()
        self._num_started = 0
        self._has_connected = connect(cluster)
        try:
            self._room = Room(cluster, device, look_seconds)
        except ConfigError:
            self.close()
            raise
        self._metrics = RayMetrics(job)

    @property
    def gpus_per_worker(self) -> float:
        """GPUs, or the share of one, that each actor holds."""
        return self._room.resources["num_gpus"]

    @property
    def capacity(self) -> int:
        """How many actors there is room for now, within the bounds of the config."""
        on_avoided = sum(actor.node in self._room.avoided for actor in self._actors.values())
        return self._room.capacity([actor.placing for actor in self._actors.values()], on_avoided)

    def start(self) -> str:
        worker_id = f"w{self._num_started:04d}"
        self._num_started += 1
        remote = ray.remote(ActorWorker).options(
            name=f"maskmill-{worker_id}-{uuid.uuid4().hex[:8]}",  # two jobs may run in one namespace
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=1,
            scheduling_strategy="SPREAD",
            label_selector=self._room.label_selector(),
            **self._room.resources,
        )
        made = cloudpickle.dumps(self._make_worker)  # type: ignore[no-untyped-call]
        handle: Any = remote.remote(made, worker_id, foreign_folders())
        self._actors[worker_id] = _Actor(handle, handle.is_placed.remote())
        self._submit(worker_id, "setup")
        return worker_id

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        self._submit(worker_id, "work", tuple(offers))

    def drain(self, worker_id: str) -> None:
        self._submit(worker_id, "drain")

    def kill(self, worker_id: str) -> None:
        self._calls = {ref: call for ref, call in self._calls.items() if call.worker_id != worker_id}
        actor = self._actors.pop(worker_id, None)
        if actor is not None:
            ray.kill(actor.handle)

    def avoid(self, node: str) -> bool:
        """Have Ray place no more actors on this node. Returns whether another one could hold some."""
        return bool(self._room.avoid(node))

    def wait(self, timeout_seconds: float) -> list[Event]:
        ended = [*self._ended(timeout_seconds), *self._overdue()]
        now = time.monotonic()
        certain: list[Event] = []
        for event in ended:
            if isinstance(event, Lost) and event.failure is Failure.AMBIGUOUS:
                self._doubts.add(event, now)
            else:
                certain.append(event)
        if self._doubts:
            dead_nodes = {node["NodeID"] for node in nodes() if not node["Alive"]}
            workers_by_node = Counter(actor.node for actor in self._actors.values())
            certain += self._doubts.settled(now, dead_nodes, workers_by_node)
        for event in certain:
            if isinstance(event, Lost):
                self.kill(event.worker_id)
        return certain

    def show(self, status: Mapping[str, Any]) -> None:
        """Export the counts as Ray's metrics."""
        self._metrics.show(status)

    def close(self) -> None:
        busy = {call.worker_id for call in self._calls.values()}
        idle = [actor.handle.close.remote() for worker_id, actor in self._actors.items() if worker_id not in busy]
        if idle:
            ray.wait(idle, num_returns=len(idle), timeout=_CLOSE_SECONDS)
        for worker_id in list(self._actors):
            self.kill(worker_id)
        if self._has_connected:
            ray.shutdown()

    def _submit(self, worker_id: str, method: str, *arguments: object) -> None:
        reference = getattr(self._actors[worker_id].handle, method).remote(*arguments)
        self._calls[reference] = _Call(worker_id, method, time.monotonic() + self._deadlines[method])

    def _ended(self, timeout_seconds: float) -> list[Event]:
        if self._doubts:
            timeout_seconds = min(timeout_seconds, _LOOK_AGAIN_SECONDS)
        if not self._calls:
            time.sleep(timeout_seconds if self._doubts else 0.0)
            return []
        references = list(self._calls)
        # With a thousand actors each look at all calls takes 0.5 ms, and mostly some have ended: then one is enough.
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(references, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        return [self._outcome(reference, self._calls.pop(reference)) for reference in ready]

    def _outcome(self, reference: Any, call: _Call) -> Event:
        actor = self._actors[call.worker_id]
        try:
            value = ray.get(reference)
        except exceptions.RayError as error:
            _log.debug("worker %s", call.worker_id, exc_info=error)
            cause = getattr(error, "cause", None)
            message = describe(cause if isinstance(cause, Exception) else error)
            failure = failure_of(error, call.method == "setup")
            if failure is Failure.ENVIRONMENT:
                failure = failure_of_start(cause)
            return Lost(call.worker_id, failure, message, _node_of(actor))
        if call.method == "setup":
            device, actor.node = value
            return Ready(call.worker_id, device, actor.node)
        return Reported(call.worker_id, value)

    def _overdue(self) -> list[Event]:
        now = time.monotonic()
        late = [(reference, call) for reference, call in self._calls.items() if call.deadline < now]
        events: list[Event] = []
        for reference, call in late:
            del self._calls[reference]
            failure = Failure.ENVIRONMENT if call.method == "setup" else Failure.HANG
            message = f"no answer to {call.method} within {self._deadlines[call.method]:g} s"
            events.append(Lost(call.worker_id, failure, message, _node_of(self._actors[call.worker_id])))
        return events


def _node_of(actor: _Actor) -> str:
    """The node of an actor, also of one that has not loaded its model; empty if its process never ran."""
    if not actor.node:
        with contextlib.suppress(exceptions.RayError):
            actor.node = ray.get(actor.placing, timeout=0)
    return actor.node
