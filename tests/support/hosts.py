"""Two hosts on one machine: Linux network namespaces with addresses of their own and a cable that can be pulled."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fault_jobs import descendants, kill

_READY_SECONDS = 120


def why_not() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are of Linux only"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "the commands ip (iproute2) and unshare are needed"
    name = f"mm-{uuid.uuid4().hex[:8]}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"this machine allows no network namespaces ({tried.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass
class Host:
    """One namespace. What runs `inside` it has its network and a folder of its own where Ray puts its files."""

    namespace: str
    address: str
    cable: str
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def inside(self) -> tuple[str, ...]:
        """The start of a command that runs on this host."""
        own_files = 'mount --make-rprivate / && mount --bind "$0" /tmp/ray && exec "$@"'
        return ("ip", "netns", "exec", self.namespace, "unshare", "-m", "sh", "-c", own_files, str(self.folder))

    def start_ray(self, num_cpus: int, *arguments: str) -> subprocess.Popen[bytes]:
        """`ray start` on this host, with so many CPUs; it runs until `stop`."""
        command = [
            *self.inside,
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            f"--num-cpus={num_cpus}",
        ]
        command += ["--disable-usage-stats", f"--node-ip-address={self.address}", *arguments]
        with (self.folder / f"ray-{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def log(self) -> str:
        """What its Ray processes printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("ray-*.log")))

    def stop(self) -> None:
        """End everything that runs here."""
        for process in self.started:
            below = descendants(process.pid)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            for pid in [process.pid, *below]:
                kill(pid, signal.SIGKILL)
            process.wait()
        self.started.clear()

    def pull_cable(self) -> None:
        """Cut this host off."""
        _ip("-n", self.namespace, "link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Connect it again."""
        _ip("-n", self.namespace, "link", "set", self.cable, "up")

    def wait_for_port(self, address: str, port: int) -> None:
        """Until something listens there, as seen from this host."""
        knock = f"import socket; socket.create_connection(('{address}', {port}), 2).close()"
        deadline = time.monotonic() + _READY_SECONDS
        while subprocess.run([*self.inside, sys.executable, "-c", knock], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, f"nothing at {address}:{port}:\n{self.log()[-3000:]}"
            time.sleep(0.5)


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts joined by a cable. Everything is taken down at the end: processes, cable, namespaces."""
    tag = uuid.uuid4().hex[:6]
    hosts = []
    Path("/tmp/ray").mkdir(exist_ok=True)
    for number in (1, 2):
        files = folder / f"host{number}"
        files.mkdir()
        hosts.append(Host(f"mm{tag}-{number}", f"10.231.77.{number}", f"mm{tag}v{number}", files))
    first, second = hosts
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        _ip("link", "add", first.cable, "netns", first.namespace, "type", "veth", "peer", "name", second.cable,
            "netns", second.namespace)  # fmt: skip
        for host in hosts:
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", host.cable)
            host.plug_in()
        yield first, second
    finally:
        for host in hosts:
            host.stop()
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
