"""A TCP proxy on loopback that cuts chosen HTTP requests: in the middle of their body, or before their answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.s3_server import S3Server


@dataclass
class Cut:
    """Requests to cut: the first `times` whose head contains `match`. `body_bytes` None: after the server's answer.

    The HTTP client repeats a PUT once by itself when a connection that it had used before is gone, so a caller
    notices only the second cut.
    """

    match: bytes
    body_bytes: int | None = None
    times: int = 2


class CuttingProxy:
    """Passes everything to `port` on this machine, except for the requests in `cuts`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts: list[Cut] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def was_cut(self, cut: Cut) -> None:
        cut.times -= 1
        if cut.times == 0:
            self.cuts.remove(cut)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                _Pair(self, client, server).start()


class _Pair:
    """One connection. The thread that reads the client decides; the other passes answers until told to stop."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._swallowing: Cut | None = None

    def start(self) -> None:
        for pump in (self._requests, self._answers):
            threading.Thread(target=pump, daemon=True).start()

    def _requests(self) -> None:
        with contextlib.suppress(OSError):
            left: int | None = None  # bytes until the cut
            cut: Cut | None = None
            while data := self._client.recv(4096):
                if cut is None and (cut := self._matching(data)) is not None:
                    if cut.body_bytes is None:
                        self._swallowing = cut
                    else:
                        left = max(data.find(b"\r\n\r\n"), 0) + 4 + cut.body_bytes
                if cut is not None and left is not None:
                    data = data[:left]
                    left -= len(data)
                self._server.sendall(data)
                if cut is not None and left == 0:
                    self._proxy.was_cut(cut)
                    break
        self._close()

    def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                if self._swallowing is not None and not data.startswith(b"HTTP/1.1 100"):
                    self._proxy.was_cut(self._swallowing)
                    break
                self._client.sendall(data)
        self._close()

    def _matching(self, data: bytes) -> Cut | None:
        head = data.split(b"\r\n", 1)[0]
        return next((cut for cut in self._proxy.cuts if cut.match in head), None)

    def _close(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def cutting_proxy(s3_server: S3Server) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(s3_server.port)
    yield proxy
    proxy.close()
    assert proxy.cuts == [], "a cut that the test arranged was never met"
