"""Where tests speak to Azure Blob Storage: the tests' own server, or Azurite where `make azurite` has installed it."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.storage.uris import open_filesystem
from tests.support.azure_blobs import Account, serving
from tests.support.s3_server import free_ports

ACCOUNT = "ours"
KEY = base64.b64encode(b"the key of the tests, which no other account has").decode()
AZURITE = "MASKMILL_AZURITE"
"""Names the variable with the path of Azurite's program; without it the tests' own server answers."""

_READY_SECONDS = 100
_CONTAINER = "tests"


class AzureServer:
    """An account with one container."""

    schemes = ("abfs", "az", "abfss")

    def __init__(self, port: int, *, has_small_pages: bool) -> None:
        self.port = port
        self.has_small_pages = has_small_pages

    def options(self, port: int | None = None) -> dict[str, Any]:
        """`storage_options` for adlfs; `port` is that of a proxy in between."""
        endpoint = f"http://127.0.0.1:{port or self.port}/{ACCOUNT}"
        parts = {"AccountName": ACCOUNT, "AccountKey": KEY, "BlobEndpoint": endpoint}
        return {"connection_string": ";".join(f"{name}={value}" for name, value in parts.items())}

    def new_folder(self, scheme: str = "az") -> str:
        """URI of an empty place."""
        return f"{scheme}://{_CONTAINER}/{uuid.uuid4().hex[:12]}"

    def make_container(self) -> None:
        """The container, which the server must answer for: adlfs takes one for made where nobody answers."""
        socket.create_connection(("127.0.0.1", self.port)).close()
        filesystem: fsspec.AbstractFileSystem = open_filesystem(f"az://{_CONTAINER}", self.options())[0]
        filesystem.mkdir(_CONTAINER)
        filesystem.pipe_file(f"{_CONTAINER}/probe", b"")


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    program = os.environ.get(AZURITE)
    with ExitStack() as running:
        if program is None:
            server = AzureServer(running.enter_context(serving(Account(ACCOUNT))), has_small_pages=True)
            server.make_container()
        else:
            server = running.enter_context(_Azurite(program, tmp_path_factory.mktemp("azurite")))
        yield server


class _Azurite:
    """Azurite, until the context ends."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        (port,) = free_ports(1)
        words = ["--blobPort", str(port), "--location", str(folder), "--silent", "--skipApiVersionCheck"]
        self._process = subprocess.Popen([program, *words], env=os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
        self._server = AzureServer(port, has_small_pages=False)

    def __enter__(self) -> AzureServer:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self._server.make_container()
                return self._server
            except Exception:
                assert self._process.poll() is None, "Azurite has ended"
                assert time.monotonic() < deadline, "Azurite does not answer"
                time.sleep(0.2)

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
