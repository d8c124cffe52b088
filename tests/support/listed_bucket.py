"""A bucket of S3 that has names, times and versions and no bytes: it lists them page by page, and counts its requests.

The times of a real server are those of its clock, so that nobody could put a file there that came last week.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"
_PAGE = 1000


@dataclass
class ListedBucket:
    """Keys with the second of their last change and an ETag each. A context manager that serves them at `endpoint`.

    The next listing of each `throttled` prefix is answered "slow down".
    """

    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    after: list[str] = field(default_factory=list)
    throttled: set[str] = field(default_factory=set)
    endpoint: str = ""

    def put(self, key: str, changed_at: int, tag: str = "0") -> None:
        """Have a file that changed then."""
        self.files[key] = (changed_at, tag)

    def options(self) -> list[str]:
        """The words of a job that reads this bucket."""
        named = {"key": "x", "secret": "x", "client_kwargs.endpoint_url": self.endpoint}
        return [f"storage_options.{name}={value}" for name, value in named.items()]

    def page(self, asked: dict[str, str]) -> str:
        """The answer to a request for a page of keys."""
        begin = asked.get("continuation-token") or asked.get("start-after") or ""
        if "start-after" in asked:
            self.after.append(begin)
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        keys = sorted({_listed(key, prefix, delimiter) for key in self.files if key.startswith(prefix)})
        first = bisect_right(keys, begin)
        some = keys[first : first + min(_PAGE, int(asked.get("max-keys", _PAGE)))]
        is_cut = first + len(some) < len(keys)
        rows = "".join(self._row(key) for key in some)
        more = f"<NextContinuationToken>{escape(some[-1])}</NextContinuationToken>" if is_cut else ""
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(some)}</KeyCount>"
            f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{rows}</ListBucketResult>"
        )

    def _row(self, key: str) -> str:
        if key not in self.files:
            return f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
        return f"<Contents><Key>{escape(key)}</Key>{self._facts(key)}</Contents>"

    def _facts(self, key: str) -> str:
        changed_at, tag = self.files[key]
        time = datetime.fromtimestamp(changed_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return f"<LastModified>{time}</LastModified><ETag>&quot;{tag}&quot;</ETag><Size>5</Size>"

    def head(self, key: str) -> dict[str, str] | None:
        """The headers of a file; `None` if there is none."""
        if key not in self.files:
            return None
        changed_at, tag = self.files[key]
        time = datetime.fromtimestamp(changed_at, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return {"Last-Modified": time, "ETag": f'"{tag}"', "Content-Length": "5"}

    def __enter__(self) -> Self:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                bucket.requests["LIST" if "list-type" in asked else "GET"] += 1
                status, content = 404, "<Error><Code>NoSuchKey</Code></Error>"
                if "list-type" in asked and asked.get("prefix", "") in bucket.throttled:
                    bucket.throttled.remove(asked.get("prefix", ""))
                    status, content = 503, "<Error><Code>SlowDown</Code></Error>"
                elif "list-type" in asked:
                    status, content = 200, bucket.page(asked)
                self.send_response_only(status)
                self.send_header("Content-Length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())

            def do_HEAD(self) -> None:
                bucket.requests["HEAD"] += 1
                headers = bucket.head(urlsplit(self.path).path.removeprefix(f"/{BUCKET}/"))
                self.send_response_only(404 if headers is None else 200)
                for name, value in (headers or {"Content-Length": "0"}).items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _listed(key: str, prefix: str, delimiter: str) -> str:
    """A key, or the folder below a prefix in which it lies."""
    below = key[len(prefix) :]
    return f"{prefix}{below.partition(delimiter)[0]}{delimiter}" if delimiter and delimiter in below else key
