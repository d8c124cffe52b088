"""When something is said: after all that the one who says it knows of, because the newest row counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

GRAIN = timedelta(milliseconds=1)
"""The files of reviews hold times to the millisecond."""


def after(known: Iterable[datetime], now: datetime | None = None) -> datetime:
    """`now` (the clock's, if it is None), or a millisecond after the last of the `known` times where that is later.

    The clock of another reviewer may go ahead of the one here, and two things may be said within a millisecond.
    """
    now = datetime.now(UTC) if now is None else now
    return max([now, *(at + GRAIN for at in known)])
