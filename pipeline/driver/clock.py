"""The time that the driver goes by. Tests have a clock and a pace of their own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Seconds from some moment on, and a way to wait."""

    def __call__(self) -> float:
        """Seconds now. They never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of this machine."""

    def __call__(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Pace:
    """Seconds between the driver's regular acts, and seconds that it waits.

    `wait_seconds`: for news of the workers, before signals are looked at again. `drain_seconds`: for workers to publish
    what is finished, after a signal. `release_seconds`: before a worker without work is ended, so that others can have
    its GPU. `status_seconds`: between two versions of `_status.json`.
    """

    wait_seconds: float = 1.0
    drain_seconds: float = 20.0
    release_seconds: float = 15.0
    status_seconds: float = 10.0


DEFAULT_PACE = Pace()
