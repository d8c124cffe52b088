"""Waiting for what must come, however slow the machine is: a test waits for a state, never for some time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def wait_until(
    condition: Callable[[], object], what: str = "end of waiting", timeout_seconds: float = 200.0, look: float = 0.01
) -> None:
    """Look every `look` seconds whether the condition holds. The limit only ends a test that would fail anyway."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_seconds:g} s"
        time.sleep(look)


def clock_moves_on() -> None:
    """Files hold times to the millisecond: what is written from now on has a later one, on a fast machine too."""
    before = datetime.now(UTC)
    wait_until(lambda: datetime.now(UTC) > before + timedelta(milliseconds=2), "another millisecond", look=0.001)
