"""A web server on loopback that does what a test says: ranges or none, redirections, refusals, lies, other files."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.storage.addresses import AddressRules


@dataclass(frozen=True)
class Page:
    """What is at an address.

    `refusals` are statuses with headers that are answered first, one a request. `told_bytes` is the length that `HEAD`
    tells in place of the true one. `sent_bytes`: the server hangs up after so many bytes of each answer. Before each
    quarter of an answer it waits for `pause_seconds`.
    """

    data: bytes = b""
    etag: str = ""
    knows_ranges: bool = True
    refusals: tuple[tuple[int, dict[str, str]], ...] = ()
    told_bytes: int | None = None
    sent_bytes: int | None = None
    pause_seconds: float = 0.0


@dataclass
class WebServer:
    """`pages` by path. `requests` are method, path with its query, and the range that was asked for."""

    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""

    @property
    def rules(self) -> AddressRules:
        """Those that allow its address."""
        return AddressRules(hosts=("127.0.0.1",))

    def num_gets(self) -> int:
        return sum(method == "GET" for method, *_ in self.requests)


@pytest.fixture
def web() -> Iterator[WebServer]:
    site = WebServer()

    class Handler(_Handler):
        settings = site

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield site
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    settings: WebServer
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def handle_any(self) -> None:
        path = self.path.partition("?")[0]
        self.settings.requests.append((self.command, self.path, self.headers.get("Range", "")))
        page = self.settings.pages.get(path)
        if page is None:
            self._answer(404, {}, b"", Page())
            return
        if page.refusals:
            (status, headers), *others = page.refusals
            self.settings.pages[path] = replace(page, refusals=tuple(others))
            self._answer(status, headers, b"refused", Page())
            return
        headers = {"ETag": page.etag} if page.etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if page.knows_ranges else None
        if asked is None:
            self._answer(200, headers, page.data, page)
            return
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(page.data))
        if start >= stop:
            self._answer(416, {"Content-Range": f"bytes */{len(page.data)}"}, b"", Page())
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(page.data)}"
        self._answer(206, headers, page.data[start:stop], page)

    do_GET = do_HEAD = handle_any

    def _answer(self, status: int, headers: dict[str, str], body: bytes, page: Page) -> None:
        length = len(body)
        if self.command == "HEAD" and page.told_bytes is not None:
            length = page.told_bytes
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body[: page.sent_bytes]
        step = -(-len(sent) // 4) if page.pause_seconds else len(sent)
        for start in range(0, len(sent), step or 1):
            time.sleep(page.pause_seconds)
            self.wfile.write(sent[start : start + step])
        if page.sent_bytes is not None and page.sent_bytes < len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are kept."""
