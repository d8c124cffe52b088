"""The scheduling of a test's process stays what it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def scheduling_kept() -> Iterator[None]:
    """Give this thread back the scheduling that it had before.

    The encoder SVT-AV1 makes the thread that opens it one of real time where that is root's. What the process starts
    later inherits that: a browser and its driver once held both cores for minutes, and every other process stood still.
    """
    if not hasattr(os, "sched_getscheduler"):  # this is Linux's
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)
