"""A proxy on loopback in front of an HTTP server: passes requests on and, as rules say, spoils some of them."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Fault(Enum):
    """What happens to a request. `CUT`: half of its body gets through. `LOSE_ANSWER`: it takes effect, unheard."""

    CUT = "connection cut in the middle of the request"
    LOSE_ANSWER = "answer lost"
    ERROR_500 = "500 InternalError"
    ERROR_503 = "503 SlowDown"
    ERROR_412 = "412 PreconditionFailed"
    ERROR_429 = "429 TooManyRequests"
    ERROR_403 = "403 AuthenticationFailed"
    ERROR_401 = "401 ExpiredToken"
    SLOW = "slow"


@dataclass
class Rule:
    """Which requests are spoiled, and how: those of `method` whose path matches, `skip` after the first, `times` ones.

    `before` and `after` are called around passing the request on: to kill somebody just then, for instance. One that
    `is_dropped` is not passed on.
    """

    fault: Fault | None
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    skip: int = 0
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    is_dropped: bool = False
    num_hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is for this rule; counts it."""
        if self.times <= 0 or not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        self.num_hits += 1
        return True


@dataclass
class Proxy:
    """Listens on `port` while it is open. The first rule that takes a request decides; `is_cut`: none gets through.

    `ranges` are those that were asked for, as `bytes=0-99`. `rewrite` makes of a path and its query the one that is
    passed on.
    """

    upstream_port: int
    rules: list[Rule] = field(default_factory=list)
    slow_seconds: float = 2.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    port: int = 0
    is_cut: bool = False
    rewrite: Callable[[str], str] = str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rule_for(self, method: str, path: str) -> Rule | None:
        """The rule that takes this request."""
        with self.lock:
            self.requests.append((method, path))
            return next((rule for rule in self.rules if rule.takes(method, path)), None)


@contextlib.contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy to a server on loopback."""
    proxy = Proxy(port)

    class Handler(_Handler):
        settings = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    settings: Proxy
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked was killed
            super().handle()

    def handle_any(self) -> None:
        proxy = self.settings
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.ranges += [self.headers[name] for name in ("Range", "x-ms-range") if name in self.headers]
        rule = proxy.rule_for(self.command, self.path)
        fault = rule.fault if rule else None
        if rule and rule.before:
            rule.before()
        if fault is Fault.SLOW:
            time.sleep(proxy.slow_seconds)
        if fault is Fault.CUT:
            self._send_half(body)
            self._hang_up()
        elif fault is not None and fault.name.startswith("ERROR"):
            self._refuse(*fault.value.split())
        elif proxy.is_cut or (rule and rule.is_dropped):
            self._hang_up()
        else:
            self._pass_on(body, rule)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

    def _headers(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower() != "expect"}

    def _pass_on(self, body: bytes, rule: Rule | None) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.settings.upstream_port, timeout=200)
        try:
            upstream.request(self.command, self.settings.rewrite(self.path), body=body, headers=self._headers())
            answer = upstream.getresponse()
            content = answer.read()
        except OSError:
            self._hang_up()  # the server is away: so is this one
            return
        finally:
            upstream.close()
        if rule and rule.after:
            rule.after()
        if rule and rule.fault is Fault.LOSE_ANSWER:
            self._hang_up()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def _send_half(self, body: bytes) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.settings.upstream_port)) as raw:
            head = "".join(f"{name}: {value}\r\n" for name, value in self._headers().items())
            raw.sendall(f"{self.command} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])
            time.sleep(0.1)

    def _refuse(self, status: str, code: str) -> None:
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self.send_response_only(int(status), code)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are kept in `Proxy.requests`."""
