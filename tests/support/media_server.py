"""A web server on loopback for videos that hurt whoever fetches them: it knows the process at the other end."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class MediaServer:
    """Serves the files of a folder. `harm[name]` is called with the fetching process before the answer."""

    folder: Path
    harm: dict[str, Callable[[int], None]] = field(default_factory=dict)
    num_harmed: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def uri(self, name: str) -> str:
        """Where a file is."""
        return f"http://127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def media_server(folder: Path) -> Iterator[MediaServer]:
    """A server over a folder."""
    media = MediaServer(folder)

    class Handler(_Handler):
        settings = media

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    media.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield media
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    settings: MediaServer
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked was killed
            super().handle()

    def handle_any(self) -> None:
        name = self.path.lstrip("/").partition("?")[0]
        harm = self.settings.harm.get(name)
        if harm is not None:
            pid = process_of_port(self.client_address[1])
            if pid is not None:
                self.settings.num_harmed[name] += 1
                harm(pid)
        try:
            content = (self.settings.folder / name).read_bytes()
        except OSError:
            self._answer(404, b"")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, content)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(content) - 1) + 1, len(content))
        self._answer(206, content[start:stop], f"bytes {start}-{stop - 1}/{len(content)}")

    do_GET = do_HEAD = handle_any

    def _answer(self, status: int, content: bytes, content_range: str = "") -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Accept-Ranges", "bytes")
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def process_of_port(port: int) -> int | None:
    """The process of this machine that has a TCP connection from a local port."""
    inode = _inode_of_port(port)
    for entry in Path("/proc").iterdir() if inode else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                for handle in (entry / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(handle.readlink()) == f"socket:[{inode}]":
                            return int(entry.name)
    return None


def _inode_of_port(port: int) -> str | None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                return fields[9]
    return None
