"""Ray on a machine on which it does not start in time."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from pipeline.cluster.ray_cluster import join, start_local
from pipeline.driver.signals import StopSignals
from pipeline.errors import ClusterDown, ConfigError, StoppedAtStart

TIMED_OUT = "The current node timed out during startup. This could happen because the GCS has become overloaded."


A_LOCAL_RAY = """
import json, os, psutil, ray, signal, time
from pipeline.cluster.ray_cluster import start_local
from pipeline.driver.signals import StopSignals

with StopSignals() as signals:
    start_local(1)

    @ray.remote
    class Worker:
        def process(self):
            return psutil.Process().pid

    worker = Worker.remote()
    found = {ray.get(worker.process.remote()): []}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        listening = [c for c in process.net_connections("inet") if c.status == "LISTEN" or not c.raddr]
        found[process.pid] = [c.laddr.ip for c in listening]
    ray.shutdown()
    signals.install()
    print(json.dumps(list(found.values())), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    while not signals.requested:
        time.sleep(0.01)
    print("requested", signals.requested)
"""


@pytest.fixture(scope="module")
def a_local_ray() -> subprocess.CompletedProcess[str]:
    """A process that has started Ray, said where it listens, ended it, and then got SIGTERM."""
    return subprocess.run([sys.executable, "-c", A_LOCAL_RAY], capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_sigterm_is_heard_when_ray_has_gone(a_local_ray: subprocess.CompletedProcess[str]) -> None:
    """`ray.shutdown` puts the system's handler back under Python's: without the second `install` the process dies."""
    assert a_local_ray.returncode == 0, a_local_ray.stderr
    assert a_local_ray.stdout.splitlines()[-1] == "requested True"


@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_only(a_local_ray: subprocess.CompletedProcess[str]) -> None:
    """Whoever reaches a port of Ray can run code, and a laptop is in strange networks."""
    by_process = json.loads(a_local_ray.stdout.splitlines()[0])
    addresses = [ipaddress.ip_address(address) for addresses in by_process for address in addresses]
    assert len(addresses) >= 5
    assert all(by_process[:1]), "the actor listens too"
    assert all((getattr(one, "ipv4_mapped", None) or one).is_loopback for one in addresses), addresses


class BusyMachine:
    """Ray, as it is where the first `num_failures` starts take too long."""

    def __init__(self, num_failures: int, error: Exception) -> None:
        self.num_failures, self.error = num_failures, error
        self.asked_for: list[object] = []

    def start(self, **options: object) -> None:
        self.asked_for.append(options["num_cpus"])
        if len(self.asked_for) <= self.num_failures:
            raise self.error


@pytest.mark.parametrize("error", [Exception(TIMED_OUT), TimeoutError("no port"), RuntimeError("no node info")])
def test_ray_gets_one_more_try(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    machine = BusyMachine(1, error)
    start_local(3, machine.start)
    assert machine.asked_for == [3, 3]
    assert "one more try" in caplog.text


def test_after_two_tries_one_sentence_names_the_way_out() -> None:
    machine = BusyMachine(9, Exception(TIMED_OUT))
    with pytest.raises(ClusterDown, match=r"two tries \(.*timed out during startup.*cluster=serial"):
        start_local(None, machine.start)
    assert len(machine.asked_for) == 2


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/scratch/ray"),
        OSError("AF_UNIX path length cannot exceed 107 bytes: /scratch/ray/session/sockets/plasma_store"),
    ],
)
def test_a_folder_in_which_ray_cannot_start_is_named_at_once(error: OSError) -> None:
    machine = BusyMachine(9, error)
    with pytest.raises(ClusterDown, match=r"/scratch/ray.*RAY_TMPDIR.*cluster=serial"):
        start_local(None, machine.start)
    assert len(machine.asked_for) == 1


def test_a_mistake_of_ours_is_not_tried_again() -> None:
    machine = BusyMachine(9, TypeError("no such option"))
    with pytest.raises(TypeError):
        start_local(None, machine.start)
    assert len(machine.asked_for) == 1


def start_that_is_stopped(**_: object) -> None:
    """`ray.init`, which takes SIGTERM over at its beginning, and the signal in its middle."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


def test_sigterm_while_ray_starts_stops_the_job_and_its_second_one_is_heard() -> None:
    with StopSignals() as signals:
        with pytest.raises(StoppedAtStart):
            start_local(None, start_that_is_stopped)
        assert signals.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_handler_that_ray_puts_in_place_of_ours_does_not_stay() -> None:
    with StopSignals() as signals:
        start_local(None, lambda **_: signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number)))
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.requested


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("local", r"cluster\.address=local: .* give cluster=local"),
        ("ray://127.0.0.1:10001", r"cluster\.address=ray://127\.0\.0\.1:10001: .* submit it as a job of Ray"),
    ],
)
@pytest.mark.parametrize("is_in_the_environment", [False, True])
def test_an_address_that_joins_no_cluster_is_refused_before_ray_is_asked(
    address: str, told: str, is_in_the_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ray of its own would listen on every network; through a client the driver would wait for ever."""
    asked_for: list[object] = []
    if is_in_the_environment:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=told):
        join("auto" if is_in_the_environment else address, lambda **options: asked_for.append(options))
    assert not asked_for


def test_an_address_of_the_newer_kind_is_knocked_at() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no such addresses")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        asked_for: list[object] = []
        join(f"[::1]:{server.getsockname()[1]}", lambda **options: asked_for.append(options))
        assert len(asked_for) == 1


def test_a_cluster_that_does_not_answer_is_no_mistake_of_the_config() -> None:
    """It may be on its way up, or away for a moment: exit code 1, which a scheduler tries again."""
    said = r"cluster\.address=127\.0\.0\.1:\d+: no Ray cluster answers there .*refused"
    with socket.socket() as taken:  # nobody listens there, and nobody else can
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ClusterDown, match=said):
            join(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("Could not find any running Ray instance"), ClusterDown),
        (RuntimeError("Failed to connect to GCS"), ClusterDown),
        (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.48.0"), ConfigError),
        (ValueError("Malformed address"), ConfigError),
    ],
)
def test_what_a_repetition_does_not_mend_is_a_mistake_of_the_config(error: Exception, kind: type[Exception]) -> None:
    def start(**_: object) -> None:
        raise error

    with pytest.raises(kind, match=r"cluster\.address=auto: .*cluster=local"):
        join("auto", start)


class AuthenticationError(Exception):
    """As Ray names it from 2.52 on."""


def _start_with_another_token(**_: object) -> None:
    """`ray.init`, as it ends after 20 seconds."""
    try:
        raise RuntimeError(
            "Failed to connect to GCS. Last connection error: Traceback …\nray.exceptions.AuthenticationError: "
            "RPC error: InvalidAuthToken: Authentication token is missing or incorrect. Ensure that …"
        )
    except RuntimeError as error:
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.2:6379") from error


def _start_without_a_token(**_: object) -> None:
    raise AuthenticationError("Token authentication is enabled but no authentication token was found.")


@pytest.mark.parametrize("start", [_start_with_another_token, _start_without_a_token])
def test_a_token_that_the_cluster_does_not_take_is_named_with_its_variable(start: Callable[..., object]) -> None:
    """Without a token the job ended with a traceback, with a wrong one as if no cluster were there."""
    said = r"cluster\.address=auto: the cluster asks for its token.* RAY_AUTH_MODE=token and RAY_AUTH_TOKEN .* again"
    with pytest.raises(ClusterDown, match=said):
        join("auto", start)
