"""A Ray cluster: starting or joining one, and how many actors fit into it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import ray
import ray._private.ray_constants as ray_constants
import ray._private.state as ray_state
from ray.util.client import ray as client

from pipeline.cluster.ray_token import token_of_a_local_ray
from pipeline.config.cluster_config import ClusterConfig
from pipeline.errors import ClusterDown, ConfigError, StoppedAtStart, describe
from pipeline.packages import PACKAGES, ROOT
from pipeline.text import counted

_log = logging.getLogger(__name__)

_KNOCK_SECONDS = 10.0
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR)
_NO_CLIENT = (
    "the driver cannot work through a Ray Client (ray://): start it on a node of the cluster, or submit it as a job of "
    "Ray, as docs/deploy.md says"
)
_NODE_ID = "ray.io/node-id"  # the label that Ray gives each node


def connect(cluster: ClusterConfig) -> bool:
    """Start Ray on this machine, or join the cluster that the config names, with our code on all its nodes.

    Returns whether this call has connected the process. One that is connected already (a notebook, say) stays so.
    Raises `ClusterDown` if no cluster answers, `StoppedAtStart` if SIGTERM comes meanwhile, and `ConfigError` if the
    cluster has other versions, or if a Ray of its own is asked for in a connected process.
    """
    if ray.is_initialized():
        if cluster.kind == "local":
            raise ConfigError(
                "cluster=local would start Ray, and this process is connected to Ray already: "
                "use cluster=existing, or ray.shutdown() first"
            )
        if client.is_connected():  # type: ignore[no-untyped-call]
            raise ConfigError(f"this process is connected to Ray through a Ray Client: {_NO_CLIENT}")
        return False
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # says at each start that it uses tokens
    if cluster.kind == "local":
        start_local(_cpus_to_announce(cluster))
        return True
    join(cluster.address)
    return True


def join(address: str, start: Callable[..., object] = ray.init) -> None:
    """Connect this process to the cluster at an address, and ship our code to its nodes.

    A cluster that does not answer may be on its way up, so that this is `ClusterDown`, which a scheduler tries again.
    Raises `ConfigError` for what a repetition does not mend: no address, or another version of Ray or Python.
    """
    meant = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address  # as Ray takes it
    if meant == "local":
        # Ray would start one of its own, for this job alone, which listens on every network of this machine.
        raise ConfigError("cluster.address=local: nothing runs there yet; give cluster=local, which starts Ray here")
    if meant.startswith("ray://"):
        # Its resources by node are not told to a client, so that the driver would wait for ever.
        raise ConfigError(f"cluster.address={meant}: {_NO_CLIENT}")
    code = {"py_modules": [str(ROOT / package) for package in PACKAGES]}
    try:
        _knock(address)
        with _sigterm_stops():
            start(address=address, runtime_env=code, logging_level=logging.WARNING)
    except Exception as error:
        if _is_about_a_token(error):
            raise ClusterDown(
                f"cluster.address={address}: the cluster asks for its token, and this process has none or another: set "
                "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on its nodes, and run the same "
                "command again"
            ) from error
        if not isinstance(error, OSError | ValueError | RuntimeError):
            raise
        if isinstance(error, ValueError) or "ersion mismatch" in str(error):
            raise ConfigError(
                f"cluster.address={address}: this cluster cannot be joined ({describe(error)}); give host:port of one "
                "with the same versions of Ray and Python, or cluster=local"
            ) from error
        raise ClusterDown(
            f"cluster.address={address}: no Ray cluster answers there ({describe(error)}): run the same command again "
            "when it is up; give the address of one that runs, or use cluster=local"
        ) from error


def _is_about_a_token(error: BaseException | None) -> bool:
    """Whether Ray has found no token, or its cluster has refused the one that it was shown.

    Ray says the latter in the cause of a `ConnectionError`, and in an error of a class of its own from 2.52 on.
    """
    while error is not None:
        if type(error).__name__ == "AuthenticationError" or "InvalidAuthToken" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def start_local(num_cpus: int | None, start: Callable[..., object] = ray.init) -> None:
    """Start Ray on this machine, for this machine. If it is not up within its 30 seconds, it gets one more try.

    The second try finds Ray's files in memory, so that it starts where the first one was too slow because the machine
    is busy or because the environment holds much that Ray imports, Jupyter for example. Raises `ClusterDown` after it,
    and at once where Ray cannot write.
    """
    for is_last in (False, True):
        try:
            # A bare `ray.init()` would join any cluster that it finds.
            with _sigterm_stops(), _loopback_only(), token_of_a_local_ray():
                start(address="local", include_dashboard=False, logging_level=logging.WARNING, num_cpus=num_cpus)
            return
        except Exception as error:
            # Ray raises plain exceptions of several classes where its processes do not answer in time.
            ray.shutdown()
            if not isinstance(error, RuntimeError | OSError) and type(error) is not Exception:
                raise
            if isinstance(error, OSError) and (error.errno in _NO_PLACE or "AF_UNIX path length" in str(error)):
                raise ClusterDown(
                    f"Ray did not start on this machine ({describe(error)}): it writes to the folder of RAY_TMPDIR, or "
                    "to /tmp; name one with a short path that this user may write to and that has room, or use "
                    "cluster=serial, which labels in this process without Ray"
                ) from error
            if is_last:
                raise ClusterDown(
                    f"Ray did not start on this machine, in two tries ({describe(error)}): run the same command again "
                    "when the machine is less busy, or use cluster=serial, which labels in this process without Ray"
                ) from error
            _log.warning("Ray did not start in time (%s): one more try", describe(error))


@contextlib.contextmanager
def _loopback_only() -> Iterator[None]:
    """Have all processes of a Ray that starts listen on loopback addresses only: whoever reaches them can run code.

    Ray does so where it takes no other machine in, as on macOS. It turns an `_node_ip_address` of 127.0.0.1 into the
    address of the machine's network, and then most of its processes listen on every network.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _sigterm_stops() -> Iterator[None]:
    """Have SIGTERM end the start of Ray as it ends a job, by our handler and `StoppedAtStart`.

    `ray.init` puts a handler in the place of ours at its beginning. It raises `SystemExit`, from which no summary, no
    status and no exit code of ours would follow.
    """
    ours = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()  # Python takes handlers there only
    try:
        yield
    except SystemExit as error:
        ray.shutdown()
        if is_main and callable(ours):
            ours(signal.SIGTERM, None)
        raise StoppedAtStart("a signal came while Ray started") from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, ours)


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, also dead ones, as Ray describes them."""
    return list(ray.nodes())  # type: ignore[no-untyped-call]


class Room:
    """How many actors there is room for. `resources` is what each of them asks for, as Ray's options.

    Raises `ConfigError` if no node has that much, unless the config asks for actors that do not fit yet.
    """

    def __init__(self, cluster: ClusterConfig, device: str, look_seconds: float) -> None:
        self.resources = _resources(cluster, device)
        self.avoided: set[str] = set()
        self._cluster = cluster
        self._look_seconds = look_seconds
        self._capacity: int | None = None
        self._look_again = 0.0

    def avoid(self, node: str) -> bool:
        """Count this node's CPUs and GPUs no more. Returns whether an actor could be anywhere else, now or later."""
        self.avoided.add(node)
        self._look_again = 0.0
        return _most(self._cluster, self.resources, self.avoided) > 0

    def label_selector(self) -> dict[str, str] | None:
        """What Ray is told of the nodes that are left alone: an actor goes to none of them."""
        return {_NODE_ID: f"!in({','.join(sorted(self.avoided))})"} if self.avoided else None

    def capacity(self, placing: Sequence[Any], num_on_avoided: int = 0) -> int:
        """How many actors there is room for now, within the bounds of the config.

        This counts those of the job, and others on what nobody holds: an actor that is asked for where somebody else's
        jobs fill the cluster would only wait. `placing` has one reference for each actor of the job, which is ready
        when the actor's process runs. `num_on_avoided` of the actors run on nodes that are left alone. The cluster is
        looked at every `look_seconds`.
        """
        now = time.monotonic()
        if self._capacity is None or now >= self._look_again:
            self._look_again = now + self._look_seconds
            before, self._capacity = self._capacity, self._count(placing, num_on_avoided)
            if before != 0 and self._capacity == 0:
                _log.warning("others hold all CPUs or GPUs that a worker could run on: waiting for one to come free")
        return self._capacity

    def _count(self, placing: Sequence[Any], num_on_avoided: int) -> int:
        running, coming = ray.wait(list(placing), num_returns=len(placing), timeout=0) if placing else ([], [])
        free = sum(_num_fitting(node, self.resources) for node in _free_resources(self.avoided))
        # Actors that are coming may have got their share already: then it is free no more, and no process runs yet.
        room = min(
            len(running) + max(free, len(coming)), _most(self._cluster, self.resources, self.avoided, num_on_avoided)
        )
        return max(room, self._cluster.min_actors or 0)


def _resources(cluster: ClusterConfig, device: str) -> dict[str, float]:
    gpus = cluster.gpus_per_actor
    if gpus is None:
        has_gpu = any(node["Resources"].get("GPU", 0) >= 1 for node in nodes() if node["Alive"])
        gpus = 1.0 if device == "cuda" or (device == "auto" and has_gpu) else 0.0
    resources = {"num_cpus": cluster.cpus_per_actor, "num_gpus": gpus}
    if _most(cluster, resources) == 0:
        wanted = f"{counted(cluster.cpus_per_actor, 'CPU')} and {gpus:g} GPU{'' if gpus == 1 else 's'}"
        cause = " (model.device=cuda needs a GPU: leave it out to compute on CPUs)" if device == "cuda" else ""
        raise ConfigError(
            f"no node of the cluster has {wanted} for an actor{cause}: "
            "lower cluster.cpus_per_actor or cluster.gpus_per_actor; or set cluster.min_actors if the cluster grows "
            "when it is asked to"
        )
    return resources


def _most(
    cluster: ClusterConfig, resources: dict[str, float], avoided: Collection[str] = (), num_on_avoided: int = 0
) -> int:
    """How many actors the living nodes could hold if all of them were ours, within the bounds of the config.

    `num_on_avoided` actors run on nodes where no more are started.
    """
    good = (node["Resources"] for node in nodes() if node["Alive"] and node["NodeID"] not in avoided)
    fitting = sum(_num_fitting(node, resources) for node in good) + num_on_avoided
    most = cluster.actors or cluster.max_actors
    return max(cluster.min_actors or 0, fitting if most is None else min(fitting, most))


def _num_fitting(node: dict[str, float], resources: dict[str, float]) -> int:
    """How many actors fit into what a node has, or has left."""
    by_cpus = int(node.get("CPU", 0) // resources["num_cpus"])
    gpus, has = resources["num_gpus"], node.get("GPU", 0)
    if not gpus:
        return by_cpus
    # Ray takes a share from one GPU: of two GPUs with 0.4 left each nobody gets 0.6.
    shares = int(1 / gpus + 1e-9) if gpus < 1 else 0
    by_gpus = int(has) * shares + int((has - int(has)) / gpus + 1e-9) if shares else int(has / gpus + 1e-9)
    return min(by_cpus, by_gpus)


def _free_resources(avoided: Collection[str]) -> list[dict[str, float]]:
    """What nobody holds, by living node that is not left alone.

    Ray's public call adds all nodes up, but two half GPUs are no whole one.
    """
    free = ray_state.available_resources_per_node()  # type: ignore[no-untyped-call]
    return [has for node, has in free.items() if node not in avoided]


def _cpus_to_announce(cluster: ClusterConfig) -> int | None:
    """How many cores Ray is told that this machine has: enough for as many actors as the config asks for."""
    wanted = cluster.actors or cluster.min_actors
    return None if wanted is None else max(wanted * cluster.cpus_per_actor, _num_cpus())


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _knock(address: str) -> None:
    """Raises `OSError` if nothing listens at `host:port`, because Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
