"""Times as people type them behind `since=`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from operator import index

FORMS = "yesterday, today, a date as 2026-11-28, a time as 2026-11-28T02:00:00+00:00, or a length as 30m, 36h or 7d"
"""What may be given, for messages and help."""

_LENGTH = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_since(text: str, now: datetime) -> datetime:
    """The time that a text means, with a time zone. Days begin at midnight UTC, in which the log is written.

    Raises `ValueError` for anything that is not among `FORMS`, and for a time that is still to come.
    """
    days = {"today": 0, "yesterday": 1}.get(text)
    if days is not None:
        return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days), time(), UTC)
    try:
        if length := _LENGTH.fullmatch(text):
            return now.astimezone(UTC) - timedelta(**{_UNITS[length[2]]: int(length[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):  # a length may reach back beyond the year 1
        raise ValueError(f"{text!r} is no time: give {FORMS}") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found > now:
        raise ValueError(f"{text!r} is still to come: it is {now.astimezone(UTC):%Y-%m-%dT%H:%M:%S} UTC now")
    return found


def asked_since(since: str | date | None, entry: int) -> int | datetime:
    """From where on changes are asked for: a time as a program or a person gives it, or the number of an entry.

    A day without a time begins at midnight UTC. Raises `ValueError` for a time that is none or has no time zone, for a
    number below 0, and where both are given.
    """
    entry = index(entry)  # of numpy, too
    if entry < 0:
        raise ValueError(f"entry={entry}: entries of the log are counted 0, 1, 2 …; History.entry is the next one")
    if since is None:
        return entry
    if entry:
        raise ValueError("since and entry say the same thing twice: give one of them")
    if not isinstance(since, datetime):
        return parse_since(since if isinstance(since, str) else since.isoformat(), datetime.now(UTC))
    if since.tzinfo is None:
        raise ValueError(f"since={since} has no time zone: give one, as in datetime.now(UTC)")
    return since
