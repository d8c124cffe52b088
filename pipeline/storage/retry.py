"""Tries again with growing pauses, because a store may come back."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import StorageError
from pipeline.storage.faults import asked_pause, is_transient, said, transient_cause

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Backoff:
    """How long to go on trying. Each wait is twice the one before, times a random share between one half and one.

    It is longer where the server says so (`Retry-After`).
    """

    patience_seconds: float = 60.0
    first_seconds: float = 0.25
    longest_seconds: float = 8.0

    def run(
        self,
        what: str,
        call: Callable[[], T],
        sleep: Callable[[float], None] = time.sleep,
        check: str = "the storage service and the credentials",
    ) -> T:
        """Return `call()`, repeated while it raises transient errors. `check` is what people look at where it ends.

        Raises:
            StorageError: patience ended; names `what`, the last error and the number of attempts.
            Exception: any other error of `call`, at once.
        """
        deadline = time.monotonic() + self.patience_seconds
        pause = self.first_seconds
        attempt = 1
        while True:
            try:
                return call()
            except Exception as error:
                if not is_transient(error):
                    raise
                reason = said(transient_cause(error))
                wait = max(pause * random.uniform(0.5, 1.0), asked_pause(error))
                if time.monotonic() + wait > deadline:
                    raise StorageError(
                        f"{what} failed {attempt} times within {self.patience_seconds:.0f} s; last: "
                        f"{reason.rstrip('.')}. Check {check}, then run the same command again."
                    ) from error
                _log.warning("%s: %s; attempt %d, trying again in %.1f s", what, reason, attempt, wait)
            sleep(wait)
            pause = min(pause * 2, self.longest_seconds)
            attempt += 1
