"""Times as people type them behind `since=`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

FORMS = "yesterday, today, a date as 2026-11-28, a time as 2026-11-28T02:00:00+00:00, or a length as 36h or 7d"
"""What may be given, for messages and help."""

_LENGTH = re.compile(r"(\d{1,6})([hd])")


def parse_since(text: str, now: datetime) -> datetime:
    """The time that a text means, with a time zone. Days begin at midnight UTC, in which the log is written.

    Raises `ValueError` for anything that is not among `FORMS`.
    """
    days = {"today": 0, "yesterday": 1}.get(text)
    if days is not None:
        return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days), time(), UTC)
    if length := _LENGTH.fullmatch(text):
        return now.astimezone(UTC) - timedelta(hours=int(length[1]) * (24 if length[2] == "d" else 1))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: give {FORMS}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
