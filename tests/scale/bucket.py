"""A bucket that is not there: it lists as many keys as it is told to have, as S3 lists them, and counts its requests.

`python -m tests.scale.bucket NUMBER` prints its port and listens until its input ends. Nobody could put ten million
objects into a real server for a test; pages, their order and `start-after` are those of S3's ListObjectsV2.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pipeline.storage.file_versions import FileVersion

BUCKET, FOLDER = "bucket", "incoming"
VIDEOS_A_NIGHT = 3_000
PAGE = 1_000
_NUM_BYTES = 5_000_000
_FIRST_DAY = 1_450_000_000  # the last of ten million videos came before today


def path_of(number: int) -> str:
    """The path of a video below the folder. Names sort by the night in which the video came."""
    return f"{number // VIDEOS_A_NIGHT:06d}/v{number:08d}.mp4"


def version_of(number: int) -> FileVersion:
    """The version of its file."""
    return FileVersion(_NUM_BYTES, f"{number:032x}")


def _first_after(key: str) -> int:
    """The number of the first video whose key is greater."""
    found = re.match(rf"{FOLDER}/(\d{{0,6}})(?:/v?(\d*)(.*))?", key)
    if found is None or not found[1]:
        return 0
    if not found[2]:
        return int(found[1].ljust(6, "0")) * VIDEOS_A_NIGHT
    number = int(found[2].ljust(8, "0"))
    return number + (f"{FOLDER}/{path_of(number)}" <= key)


class _Bucket(BaseHTTPRequestHandler):
    num_videos = 0
    requests: dict[str, int] = {}  # noqa: RUF012  # of the server, which is one a process
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        if address.path == "/requests":
            self._answer(200, json.dumps(self.requests).encode())
            return
        self._count("LIST" if "list-type" in asked else "GET")
        if "list-type" not in asked:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        limit = min(PAGE, int(asked.get("max-keys", PAGE)))
        first = _first_after(asked.get("continuation-token") or asked.get("start-after") or "")
        num_videos = self.num_videos if f"{FOLDER}/".startswith(asked.get("prefix", "")) else 0
        numbers = range(first, min(first + limit, num_videos))
        self._answer(200, self._page(numbers, is_cut=numbers.stop < num_videos).encode())

    def do_HEAD(self) -> None:
        self._count("HEAD")
        self._answer(404, b"")

    def _count(self, kind: str) -> None:
        self.requests[kind] = self.requests.get(kind, 0) + 1

    def _page(self, numbers: range, *, is_cut: bool) -> str:
        rows = "".join(
            f"<Contents><Key>{FOLDER}/{path_of(number)}</Key><LastModified>{_time(number)}</LastModified>"
            f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{_NUM_BYTES}</Size></Contents>"
            for number in numbers
        )
        token = f"{FOLDER}/{path_of(numbers[-1])}" if is_cut else ""
        more = f"<NextContinuationToken>{token}</NextContinuationToken>" if is_cut else ""
        return (
            f'<?xml version="1.0"?><ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(numbers)}</KeyCount>'
            f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{rows}</ListBucketResult>"
        )

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _time(number: int) -> str:
    at = datetime.fromtimestamp(_FIRST_DAY + number // VIDEOS_A_NIGHT * 86_400, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def main() -> None:
    _Bucket.num_videos = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
