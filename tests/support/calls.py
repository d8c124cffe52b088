"""What a piece of work costs, counted and not timed: a machine that is slow or busy makes the same calls."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_EVENTS = ("call", "c_call")


def num_calls(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, `work` calls in this thread and in those that it starts."""
    counter = itertools.count()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event in _EVENTS:
            next(counter)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return next(counter)
