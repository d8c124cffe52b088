"""SIGTERM and Ctrl-C without loss of work: the first signal asks the driver to stop, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from pipeline.text import say_at_once

_STOPPING = "maskmill: stopping: work in flight is finished or saved; a second Ctrl-C (or SIGTERM) ends at once"
_ENDING = "maskmill: ending at once; what is committed stays, and the same command goes on from there"


class StopSignals:
    """Handles SIGTERM and SIGINT while it is open. `requested` says whether one came; a line tells a person at once.

    Call `install` again after `ray.init`, which installs handlers of its own, and after `ray.shutdown`, which puts the
    system's handlers back.
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
        """Put our handlers in place. Outside of the main thread this does nothing, because Python forbids it there."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            say_at_once(_ENDING)
            raise KeyboardInterrupt
        self.requested = True
        say_at_once(_STOPPING)
