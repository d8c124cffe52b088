"""Stop on SIGTERM and Ctrl-C without losing work: the first asks, the second ends at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class StopSignals:
    """Takes over SIGTERM and SIGINT while it is open. `requested` says that one came.

    `ray.init` installs its own handlers, and `ray.shutdown` puts the system's back: call `install` again after each.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def install(self) -> None:
        """Put our handlers in place; does nothing outside of the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
