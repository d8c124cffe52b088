"""A Hub of one repository on this machine: what a client asks for, and with which token."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """`files` of `repo` at one revision; private if a `token` is asked for. The first `num_busy` requests get a 429."""

    repo: str
    revision: str
    files: Mapping[str, bytes]
    token: str | None = None
    num_busy: int = 0
    url: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.requests.append((path, authorization))
        if len(self.requests) <= self.num_busy:
            return 429, {"Retry-After": "0"}, b"{}"
        is_allowed = self.token is None or authorization == f"Bearer {self.token}"
        if not is_allowed or f"/{self.repo}" not in path:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        listing = [
            {"type": "file", "rfilename": name, "path": name, "size": len(data), "oid": _digest(data)}
            for name, data in self.files.items()
        ]
        if "/tree/" in path:
            return 200, {}, json.dumps(listing).encode()
        if path.startswith("/api/"):
            if not path.endswith((f"/revision/{self.revision}", f"/revision/{COMMIT}")):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            return 200, {}, json.dumps({"id": self.repo, "sha": COMMIT, "siblings": listing}).encode()
        data = self.files[path.rsplit("/", 1)[1]]
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_digest(data)}"'}, data


@contextmanager
def serve(server: HubServer) -> Iterator[HubServer]:
    """Answers until the context ends; `server.url` is for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = server.answer(self.path, self.headers.get("authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextmanager
def silent_hub() -> Iterator[str]:
    """The address of a Hub that takes connections and never answers, as a network that drops what is sent."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
