"""Workers as Ray actors. Ray starts, places and watches processes; retries and replacements are the driver's."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import ray
import ray._private.state as ray_state
from ray import exceptions

from pipeline.cluster.executor import Event, Failure, Lost, Ready, Reported, WorkerFactory, losses_together
from pipeline.config.job_config import ClusterConfig
from pipeline.errors import ConfigError, describe
from pipeline.records import WorkItem
from pipeline.text import counted

_log = logging.getLogger(__name__)

# Ray has no common class for "the worker is gone". What is in neither list is a death that may be a video's fault.
_INFRASTRUCTURE = (exceptions.NodeDiedError, exceptions.LocalRayletDiedError, exceptions.ObjectLostError)
_ENVIRONMENT = (exceptions.RuntimeEnvSetupError, exceptions.ActorUnschedulableError)
_NODE_GONE = ("its node has died", "node was terminated")

# When it is the node's fault, its workers die within this time of each other. An actor that cannot be reached may be
# on a node that is gone; Ray needs a while to be sure of that.
_TOGETHER_SECONDS = 1.0
_UNREACHABLE_SECONDS = 25.0
_LOOK_AGAIN_SECONDS = 0.25
_LOOK_SECONDS = 5.0
_CLOSE_SECONDS = 5.0
_KNOCK_SECONDS = 10.0


@dataclass
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


@dataclass
class _Doubt:
    """A death that may be the node's: it is reported when that is known, or at `until`."""

    lost: Lost
    until: float


class RayExecutor:
    """One actor a worker; one whose call takes longer than `hang_seconds` or `setup_seconds` is killed."""

    def __init__(
        self,
        make_worker: WorkerFactory,
        cluster: ClusterConfig,
        hang_seconds: float,
        setup_seconds: float,
        device: str = "auto",
    ) -> None:
        self._make_worker = make_worker
        self._deadlines = {"setup": setup_seconds, "work": hang_seconds, "drain": hang_seconds}
        self._actors: dict[str, _Actor] = {}
        self._calls: dict[Any, _Call] = {}
        self._doubts: list[_Doubt] = []
        self._num_started = 0
        self._cluster = cluster
        self._capacity: int | None = None
        self._look_again = 0.0
        self._has_connected = connect(cluster)
        try:
            self._resources = _resources(cluster, device)
        except ConfigError:
            self.close()
            raise

    @property
    def gpus_per_worker(self) -> float:
        """GPUs, or the share of one, that each actor holds."""
        return self._resources["num_gpus"]

    @property
    def capacity(self) -> int:
        """How many actors there is room for now, within the bounds of the config.

        That is for those that run already, and for others on what nobody holds: an actor that is asked for where
        somebody else's jobs fill the cluster would only wait.
        """
        now = time.monotonic()
        if self._capacity is None or now >= self._look_again:
            self._look_again = now + _LOOK_SECONDS
            before, self._capacity = self._capacity, self._room()
            if before != 0 and self._capacity == 0:
                _log.warning("others hold all CPUs or GPUs that a worker could run on: waiting for one to come free")
        return self._capacity

    def start(self) -> str:
        worker_id = f"w{self._num_started:04d}"
        self._num_started += 1
        remote = ray.remote(ActorWorker).options(
            max_restarts=0, max_task_retries=0, max_concurrency=1, scheduling_strategy="SPREAD", **self._resources
        )
        handle: Any = remote.remote(self._make_worker, worker_id)
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

    def wait(self, timeout_seconds: float) -> list[Event]:
        ended = [*self._ended(timeout_seconds), *self._overdue()]
        now = time.monotonic()
        certain: list[Event] = []
        for event in ended:
            if isinstance(event, Lost) and event.failure is Failure.AMBIGUOUS:
                self._doubts.append(_Doubt(event, now + self._doubt_seconds(event)))
            else:
                certain.append(event)
        certain += self._settled_doubts(now)
        for event in certain:
            if isinstance(event, Lost):
                self.kill(event.worker_id)
        return certain

    def close(self) -> None:
        busy = {call.worker_id for call in self._calls.values()}
        idle = [actor.handle.close.remote() for worker_id, actor in self._actors.items() if worker_id not in busy]
        if idle:
            ray.wait(idle, num_returns=len(idle), timeout=_CLOSE_SECONDS)
        for worker_id in list(self._actors):
            self.kill(worker_id)
        if self._has_connected:
            ray.shutdown()

    def _room(self) -> int:
        placing = [actor.placing for actor in self._actors.values()]
        running, coming = ray.wait(placing, num_returns=len(placing), timeout=0) if placing else ([], [])
        free = sum(_num_fitting(node, self._resources) for node in _free_resources())
        # Those that are coming may have got their share already: it is free no more, and no process runs yet.
        room = min(len(running) + max(free, len(coming)), _capacity(self._cluster, self._resources))
        return max(room, self._cluster.min_actors or 0)

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
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        if ready and len(references) > 1:
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        return [self._outcome(reference, self._calls.pop(reference)) for reference in ready]

    def _settled_doubts(self, now: float) -> list[Lost]:
        """Deaths of which it is clear by now, or clear enough, whether the worker's node was the cause."""
        if not self._doubts:
            return []
        dead = {node["NodeID"] for node in _nodes() if not node["Alive"]}
        due = {doubt.lost.node for doubt in self._doubts if doubt.until <= now}
        settled = [doubt.lost for doubt in self._doubts if doubt.lost.node in dead | due]
        self._doubts = [doubt for doubt in self._doubts if doubt.lost.node not in dead | due]
        losses = losses_together(settled, Counter(actor.node for actor in self._actors.values()))
        return [replace(lost, failure=Failure.INFRASTRUCTURE) if lost.node in dead else lost for lost in losses]

    def _doubt_seconds(self, lost: Lost) -> float:
        return _UNREACHABLE_SECONDS if lost.message.startswith("ActorUnavailableError") else _TOGETHER_SECONDS

    def _outcome(self, reference: Any, call: _Call) -> Event:
        try:
            value = ray.get(reference)
        except exceptions.RayError as error:
            return self._loss(call, error)
        if call.method == "setup":
            device, self._actors[call.worker_id].node = value
            return Ready(call.worker_id, device)
        return Reported(call.worker_id, value)

    def _loss(self, call: _Call, error: exceptions.RayError) -> Lost:
        node = self._actors[call.worker_id].node
        if isinstance(error, _ENVIRONMENT) or getattr(error, "actor_init_failed", False):
            failure = Failure.ENVIRONMENT
        elif _is_of_the_node(error):
            failure = Failure.INFRASTRUCTURE
        elif call.method == "setup":
            failure = Failure.ENVIRONMENT
        else:
            failure = Failure.AMBIGUOUS
        _log.debug("worker %s", call.worker_id, exc_info=error)
        cause = getattr(error, "cause", None)
        return Lost(call.worker_id, failure, describe(cause if isinstance(cause, Exception) else error), node)

    def _overdue(self) -> list[Event]:
        now = time.monotonic()
        late = [(reference, call) for reference, call in self._calls.items() if call.deadline < now]
        events: list[Event] = []
        for reference, call in late:
            del self._calls[reference]
            failure = Failure.ENVIRONMENT if call.method == "setup" else Failure.HANG
            message = f"no answer to {call.method} within {self._deadlines[call.method]:g} s"
            events.append(Lost(call.worker_id, failure, message, self._actors[call.worker_id].node))
        return events


class ActorWorker:
    """The worker inside the actor's process; `setup` also says on which node that is. SIGTERM drains it."""

    def __init__(self, make_worker: WorkerFactory, worker_id: str) -> None:
        self._worker = make_worker(worker_id)

    def is_placed(self) -> bool:
        return True

    def setup(self) -> tuple[str, str]:
        device = self._worker.setup()
        signal.signal(signal.SIGTERM, lambda *_: self._worker.stop())  # Ray has put its own there before
        return device, ray.get_runtime_context().get_node_id()

    def work(self, offers: Sequence[WorkItem]) -> Any:
        return self._worker.work(offers)

    def drain(self) -> Any:
        return self._worker.drain()

    def close(self) -> None:
        self._worker.close()


def _is_of_the_node(error: Exception) -> bool:
    """Whether an error itself says that the node is gone."""
    if isinstance(error, _INFRASTRUCTURE) or getattr(error, "preempted", False):
        return True
    return any(words in str(error) for words in _NODE_GONE)


def connect(cluster: ClusterConfig) -> bool:
    """Start Ray on this machine, or join the cluster that the config names, with our code on all its nodes.

    False: this process was connected already (a notebook, say), and stays so. Raises `ConfigError` if there is no such
    cluster, or this process is connected and a Ray of its own is asked for.
    """
    if ray.is_initialized():
        if cluster.kind == "local":
            raise ConfigError(
                "cluster=local would start Ray, and this process is connected to Ray already: "
                "use cluster=existing, or ray.shutdown() first"
            )
        return False
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # that tokens are on is no news
    if cluster.kind == "local":
        # A bare `ray.init()` would join any cluster that it finds.
        ray.init(
            address="local",
            include_dashboard=False,
            logging_level=logging.WARNING,
            num_cpus=_cpus_to_announce(cluster),
        )
        return True
    root = Path(str(resources.files("pipeline"))).parent
    code = {"py_modules": [str(root / package) for package in ("model", "pipeline", "conf", "jobs")]}
    try:
        _knock(cluster.address)
        ray.init(address=cluster.address, runtime_env=code, logging_level=logging.WARNING)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cluster.address={cluster.address}: no Ray cluster answers there ({describe(error)}); "
            "give the address of one that runs, or cluster=local"
        ) from error
    return True


def _knock(address: str) -> None:
    """Raises `OSError` if nothing listens at `host:port`: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _cpus_to_announce(cluster: ClusterConfig) -> int | None:
    """Ray counts cores to place actors. Who asks for more actors than there are cores gets them."""
    wanted = cluster.actors or cluster.min_actors
    return None if wanted is None else max(wanted * cluster.cpus_per_actor, _num_cpus())


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resources(cluster: ClusterConfig, device: str) -> dict[str, float]:
    """What an actor asks for. Raises `ConfigError` if no node has that much, and none is asked for all the same."""
    gpus = cluster.gpus_per_actor
    if gpus is None:
        has_gpu = any(node["Resources"].get("GPU", 0) >= 1 for node in _nodes() if node["Alive"])
        gpus = 1.0 if device == "cuda" or (device == "auto" and has_gpu) else 0.0
    resources = {"num_cpus": cluster.cpus_per_actor, "num_gpus": gpus}
    if _capacity(cluster, resources) == 0:
        wanted = f"{counted(cluster.cpus_per_actor, 'CPU')} and {gpus:g} GPU{'' if gpus == 1 else 's'}"
        cause = " (model.device=cuda needs a GPU: leave it out to compute on CPUs)" if device == "cuda" else ""
        raise ConfigError(
            f"no node of the cluster has {wanted} for an actor{cause}: "
            "lower cluster.cpus_per_actor or cluster.gpus_per_actor; or set cluster.min_actors if the cluster grows "
            "when it is asked to"
        )
    return resources


def _capacity(cluster: ClusterConfig, resources: dict[str, float]) -> int:
    """How many actors the living nodes could hold if all of them were ours, within the bounds of the config."""
    fitting = sum(_num_fitting(node["Resources"], resources) for node in _nodes() if node["Alive"])
    most = cluster.actors or cluster.max_actors
    return max(cluster.min_actors or 0, fitting if most is None else min(fitting, most))


def _num_fitting(node: dict[str, float], resources: dict[str, float]) -> int:
    """How many actors fit into what a node has, or has left."""
    by_cpus = int(node.get("CPU", 0) // resources["num_cpus"])
    gpus = resources["num_gpus"]
    return min(by_cpus, int(node.get("GPU", 0) / gpus + 1e-9)) if gpus else by_cpus


def _free_resources() -> list[dict[str, float]]:
    """What nobody holds, of each living node. Ray's public call adds the nodes up, and halves on two are no whole."""
    return list(ray_state.available_resources_per_node().values())  # type: ignore[no-untyped-call]


def _nodes() -> list[dict[str, Any]]:
    return list(ray.nodes())  # type: ignore[no-untyped-call]
