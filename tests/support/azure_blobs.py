"""The part of Azure Blob Storage that our tests need, in memory, on loopback: written after its REST reference.

Honest where it matters: conditions are checked and applied in one step, blocks count only once they are listed,
listings come in pages, ranges and errors have the status and the code of the reference. It checks that a request is
signed for its account, and not the signature: `make azurite` runs the same tests on Microsoft's emulator, which does.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

PAGE_SIZE = 5
"""Blobs in a page of a listing: 5000 in Azure, few here because tests have few."""


class Refusal(Exception):
    """An answer that is an error, by its status and its code in the reference."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Blob:
    data: bytes
    metadata: dict[str, str]
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))
    etag: str = field(default_factory=lambda: f'"0x{uuid.uuid4().hex[:15].upper()}"')

    def headers(self) -> dict[str, str]:
        told = {"ETag": self.etag, "Last-Modified": format_datetime(self.modified, usegmt=True)}
        return told | {f"x-ms-meta-{name}": value for name, value in self.metadata.items()}


@dataclass
class Account:
    """One storage account. `blobs` by container and name."""

    name: str
    containers: dict[str, dict[str, Blob]] = field(default_factory=dict)
    blocks: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def blobs(self, container: str) -> dict[str, Blob]:
        try:
            return self.containers[container]
        except KeyError:
            raise Refusal(404, "ContainerNotFound") from None

    def create_container(self, container: str) -> None:
        with self.lock:
            if container in self.containers:
                raise Refusal(409, "ContainerAlreadyExists")
            self.containers[container] = {}

    def get(self, container: str, name: str) -> Blob:
        with self.lock:
            found = self.blobs(container).get(name)
        if found is None:
            raise Refusal(404, "BlobNotFound")
        return found

    def put(self, container: str, name: str, blob: Blob, if_none_match: str | None) -> None:
        """The condition and the write are one step, which is what create-only writes rest on."""
        with self.lock:
            if if_none_match == "*" and name in self.blobs(container):
                raise Refusal(409, "BlobAlreadyExists")
            self.blobs(container)[name] = blob

    def put_block(self, container: str, name: str, block: str, data: bytes) -> None:
        with self.lock:
            self.blobs(container)
            self.blocks[container, name, block] = data

    def joined(self, container: str, name: str, blocks: list[str]) -> bytes:
        with self.lock:
            try:
                return b"".join(self.blocks.pop((container, name, block)) for block in blocks)
            except KeyError:
                raise Refusal(400, "InvalidBlockList") from None

    def delete(self, container: str, name: str) -> None:
        with self.lock:
            if self.blobs(container).pop(name, None) is None:
                raise Refusal(404, "BlobNotFound")

    def listing(self, container: str, prefix: str, delimiter: str, marker: str, most: int) -> str:
        """A page in the XML of `List Blobs`: names in order, those that share a folder as one prefix."""
        with self.lock:
            names = sorted(name for name in self.blobs(container) if name.startswith(prefix))
            entries: dict[str, Blob | None] = {}
            for name in names:
                end = name.find(delimiter, len(prefix)) if delimiter else -1
                entries[name if end < 0 else name[: end + 1]] = self.blobs(container)[name] if end < 0 else None
        left = [(name, blob) for name, blob in entries.items() if name >= marker]
        page, rest = left[:most], left[most:]
        items = "".join(_entry(name, blob) for name, blob in page)
        following = escape(rest[0][0]) if rest else ""
        asked = {"Prefix": prefix, "Marker": marker, "Delimiter": delimiter}
        told = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in asked.items() if value)
        return (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}">'
            f"{told}<MaxResults>{most}</MaxResults><Blobs>{items}</Blobs><NextMarker>{following}</NextMarker></EnumerationResults>"
        )


def _entry(name: str, blob: Blob | None) -> str:
    if blob is None:
        return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"
    when = format_datetime(blob.modified, usegmt=True)
    metadata = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{when}</Creation-Time>"
        f"<Last-Modified>{when}</Last-Modified><Etag>{blob.etag.strip(chr(34))}</Etag>"
        f"<Content-Length>{len(blob.data)}</Content-Length><BlobType>BlockBlob</BlobType></Properties>"
        f"<Metadata>{metadata}</Metadata></Blob>"
    )


@contextlib.contextmanager
def serving(account: Account):  # type: ignore[no-untyped-def]
    """The port on which an account is served."""

    class Handler(_Handler):
        settings = account

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    settings: Account
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked is gone
            super().handle()

    def handle_any(self) -> None:
        num_bytes = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(num_bytes)
        if len(body) < num_bytes:  # whoever sent it is gone, and half a blob is none
            self.close_connection = True
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        account, _, path = url.path.lstrip("/").partition("/")
        container, _, name = unquote(path).partition("/")
        try:
            self._check_signed(account, query)
            if query.get("restype") == "container":
                self._container(container, query)
            else:
                self._blob(container, name, query, body)
        except Refusal as refusal:
            self._refuse(refusal)

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_any

    def _check_signed(self, account: str, query: dict[str, str]) -> None:
        if account != self.settings.name:
            raise Refusal(400, "InvalidUri")
        if "sig" in query:
            return
        told = self.headers.get("Authorization", "")
        if not told:
            raise Refusal(401, "NoAuthenticationInformation")
        if not told.startswith(f"SharedKey {self.settings.name}:"):
            raise Refusal(403, "AuthenticationFailed")

    def _container(self, container: str, query: dict[str, str]) -> None:
        if self.command == "PUT":
            self.settings.create_container(container)
            self._answer(201)
        elif query.get("comp") == "list":
            most = min(int(query.get("maxresults", PAGE_SIZE)), PAGE_SIZE)
            words = (query.get(name, "") for name in ("prefix", "delimiter", "marker"))
            page = self.settings.listing(container, *words, most)
            self._answer(200, {"Content-Type": "application/xml"}, page.encode())
        else:
            self.settings.blobs(container)
            self._answer(200, Blob(b"", {}).headers())

    def _blob(self, container: str, name: str, query: dict[str, str], body: bytes) -> None:
        account = self.settings
        if self.command == "DELETE":
            account.delete(container, name)
            self._answer(202)
        elif self.command in ("GET", "HEAD"):
            self._read(account.get(container, name))
        elif query.get("comp") == "block":
            account.put_block(container, name, query["blockid"], body)
            self._answer(201)
        else:
            if query.get("comp") == "blocklist":
                body = account.joined(container, name, [found.text or "" for found in ElementTree.fromstring(body)])
            metadata = {
                key.lower().removeprefix("x-ms-meta-"): value
                for key, value in self.headers.items()
                if key.lower().startswith("x-ms-meta-")
            }
            blob = Blob(body, metadata)
            account.put(container, name, blob, self.headers.get("If-None-Match"))
            self._answer(201, blob.headers())

    def _read(self, blob: Blob) -> None:
        wanted = self.headers.get("If-Match")
        if wanted not in (None, "*", blob.etag):
            raise Refusal(412, "ConditionNotMet")
        told = blob.headers() | {"x-ms-blob-type": "BlockBlob", "Accept-Ranges": "bytes"}
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        if asked is None:
            self._answer(200, told, blob.data)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(blob.data)) + 1, len(blob.data))
        if start >= len(blob.data):
            raise Refusal(416, "InvalidRange")
        told["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob.data)}"
        self._answer(206, told, blob.data[start:stop])

    def _refuse(self, refusal: Refusal) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{refusal.code}</Code><Message>{refusal.code}</Message></Error>"
        headers = {"x-ms-error-code": refusal.code, "Content-Type": "application/xml"}
        self._answer(refusal.status, headers, body.encode())

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("x-ms-version", "2025-05-05")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
