"""Writes `_status.json` beside the driver's loop, because a store that hangs holds its caller for half a minute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from pipeline.commits.status_file import RunStatus, write_status
from pipeline.errors import StorageError
from pipeline.redact import redact
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff


class StatusWriter:
    """`put` does not wait for the store, `finish` does. An error is told to `failed`, because the file only informs.

    At most one document is on its way, so that an older one never replaces a newer one.
    """

    def __init__(self, storage: JobStorage, failed: Callable[[str], None]) -> None:
        self._storage = replace(storage, backoff=Backoff(patience_seconds=0.0))
        self._failed = failed
        self._writing: threading.Thread | None = None

    def put(self, status: RunStatus) -> None:
        """Begin to write it. While an earlier one is on its way it is left out, because a later one will say more."""
        if self._writing is not None and self._writing.is_alive():
            return
        # A daemon, because a store that hangs must not keep the process alive.
        self._writing = threading.Thread(target=self._write, args=[status], name="status", daemon=True)
        self._writing.start()

    def finish(self, status: RunStatus) -> None:
        """Write the last one, and wait until it is there or the store has refused it."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        self._write(status)

    def _write(self, status: RunStatus) -> None:
        try:
            write_status(self._storage, status)
        except StorageError as error:
            self._failed(redact(str(error)))
