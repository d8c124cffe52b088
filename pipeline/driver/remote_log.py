"""A local file that is copied to an object store while it grows, because objects cannot be appended to."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import ConfigError, StorageError
from pipeline.redact import redact, redact_uri
from pipeline.storage.faults import is_from_storage
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import StorageOptions, open_filesystem

_log = logging.getLogger(__name__)

_EVERY_SECONDS = 30.0
_MOST_SHARE = 0.05
_BEGIN = Backoff(patience_seconds=30.0)


class RemoteCopy:
    """Keeps the object `uri` equal to the local file `path` while it is open, up to half a minute.

    A long file takes longer to send, and is sent less often: sending takes 5 % of the time at most.
    """

    def __init__(
        self,
        uri: str,
        path: Path,
        storage_options: StorageOptions | None = None,
        every_seconds: float = _EVERY_SECONDS,
        backoff: Backoff = _BEGIN,
    ) -> None:
        self._uri = uri
        self._path = path
        self._options = storage_options
        self._every_seconds = every_seconds
        self._backoff = backoff
        self._num_sent = -1
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._send_now_and_then, name="log_file", daemon=True)

    def begin(self) -> None:
        """Fetch what the object holds into the local file, and find out whether it can be written.

        Raises `ConfigError` for a place that cannot be written, `StorageError` if its store is away.
        """
        try:
            self._path.write_bytes(self._run("reading", self._fetch))
            self._run("writing", self._send)
        except Exception as error:
            if isinstance(error, StorageError) or not _is_refusal(error):
                raise
            reason = " ".join(redact(f"{type(error).__name__}: {error}").split())
            raise ConfigError(f"log_file={self._name}: cannot be written ({reason}); name another") from error

    def __enter__(self) -> RemoteCopy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing.set()
        self._thread.join()
        self._send_if_grown(self._backoff)

    @property
    def _name(self) -> str:
        return redact_uri(self._uri)

    def _run(self, verb: str, call: Callable[[], bytes | None]) -> bytes:
        return self._backoff.run(f"{verb} log_file={self._name}", call) or b""

    def _fetch(self) -> bytes:
        filesystem, path = open_filesystem(self._uri, self._options)
        with contextlib.suppress(FileNotFoundError):
            content: bytes = filesystem.cat_file(path)
            return content
        return b""

    def _send(self) -> None:
        content = self._path.read_bytes()
        filesystem, path = open_filesystem(self._uri, self._options)
        filesystem.pipe_file(path, content)
        self._num_sent = len(content)

    def _send_now_and_then(self) -> None:
        pause = self._every_seconds
        while not self._is_closing.wait(pause):
            started = time.monotonic()
            self._send_if_grown(Backoff(patience_seconds=0.0))
            pause = max(self._every_seconds, (time.monotonic() - started) / _MOST_SHARE)

    def _send_if_grown(self, backoff: Backoff) -> None:
        """Send the file, unless the object has all of it. A store that is away costs a warning, and no more."""
        if self._path.stat().st_size == self._num_sent:
            return
        try:
            backoff.run(f"writing log_file={self._name}", self._send)
        except Exception as error:
            if not (isinstance(error, StorageError) or _is_refusal(error)):
                raise
            _log.warning("log_file=%s is not up to date: %s", self._name, redact(str(error)))


def _is_refusal(error: Exception) -> bool:
    """Whether a store or its client refuses: `NotImplementedError` is fsspec's for stores that cannot be written."""
    return isinstance(error, ValueError | NotImplementedError) or is_from_storage(error)
