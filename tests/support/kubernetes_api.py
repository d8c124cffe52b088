"""An API server of the tests' own that knows RayJobs, with an operator that moves each one step at each look at it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.kubernetes import mistakes

RUNS = ("Initializing", "Running", "Complete")
FAILS = ("Initializing", "Running", "Failed")


@dataclass
class ApiServer:
    """RayJobs by name, in the order of their creation. `ways[name]` is what becomes of one, `RUNS` if nothing is said.

    `answers` are status codes with which the next requests are answered. `most_at_once` is how many RayJobs were
    unfinished at the same time.
    """

    rayjobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    ways: dict[str, list[str]] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    num_gets: int = 0
    most_at_once: int = 0
    address: str = ""

    def put(self, rayjob: dict[str, Any], *way: str) -> None:
        """Create one, which goes this way."""
        name = rayjob["metadata"]["name"]
        created = f"2026-01-01T00:00:{len(self.rayjobs):02d}Z"
        self.rayjobs[name] = {**rayjob, "metadata": {**rayjob["metadata"], "creationTimestamp": created}}
        self.ways.setdefault(name, list(way or RUNS))
        running = [job for job in self.rayjobs.values() if not self._is_over(job)]
        self.most_at_once = max(self.most_at_once, len(running))

    def look(self, name: str) -> dict[str, Any]:
        """It as it is now, one step further than at the look before."""
        self.num_gets += 1
        way = self.ways[name]
        state = way.pop(0) if way else self.rayjobs[name]["status"]["jobDeploymentStatus"]
        ended = {"Complete": "SUCCEEDED", "Failed": "FAILED"}.get(state)
        self.rayjobs[name]["status"] = {"jobDeploymentStatus": state} | ({"jobStatus": ended} if ended else {})
        return self.rayjobs[name]

    @staticmethod
    def _is_over(rayjob: dict[str, Any]) -> bool:
        return rayjob.get("status", {}).get("jobDeploymentStatus") in ("Complete", "Failed")


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer

    def _name(self) -> str:
        path = urlsplit(self.path).path
        before = "/apis/ray.io/v1/namespaces/video/rayjobs"
        assert path.startswith(before), path
        return path.removeprefix(before).strip("/")

    def _handle(self) -> None:
        self.api.tokens.append(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.api.answers:
            self._answer(self.api.answers.pop(0), {})
        else:
            self._answer(*self._found(self._name(), body))

    do_GET = do_POST = do_DELETE = _handle

    def _found(self, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.command == "POST":
            rayjob = json.loads(body)
            if rayjob["metadata"]["name"] in self.api.rayjobs:
                return 409, {}
            if wrong := mistakes(rayjob):
                return 422, {"message": wrong[0]}
            self.api.put(rayjob)
            return 201, rayjob
        if name and name not in self.api.rayjobs:
            return 404, {}
        if self.command == "DELETE":
            self.api.deleted.append(name)
            return 200, self.api.rayjobs.pop(name)
        if name:
            return 200, self.api.look(name)
        (selector,) = parse_qs(urlsplit(self.path).query)["labelSelector"]
        wanted = dict(pair.split("=") for pair in selector.split(","))
        jobs = [job for job in self.api.rayjobs.values() if wanted.items() <= job["metadata"]["labels"].items()]
        return 200, {"items": jobs[::-1]}

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def api_server() -> Iterator[ApiServer]:
    """An empty one, on loopback."""
    api = ApiServer()
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    api.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
