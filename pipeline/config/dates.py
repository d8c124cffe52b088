"""`{date}` in the places of a job: the date of the run, so that each night has a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.errors import ConfigError
from pipeline.redact import redact_uri

PLACEHOLDER = "{date}"
WRITTEN = ("output", "log_file")
"""Keys of places that a run makes, where a placeholder that is misspelled would be a folder of that name."""
_NAMED = re.compile(r"\{([A-Za-z]\w*)\}")
_LIKE_A_DATE = ("date", "day", "today", "datetime")
_ALIKE = 0.82  # `{dat}` and `{dates}` are meant for a date; `{data}`, `{gate}` and `{update}` may be names of folders
TODAY = "today"
_DAYS_AGO = {TODAY: 0, "yesterday": 1}


def _now() -> datetime:
    return datetime.now(UTC)


def with_dates(
    places: dict[str, Any],
    given: str,
    time_zone: str | None,
    now: Callable[[], datetime] = _now,
    places_after: Sequence[str] = (),
) -> dict[str, Any]:
    """Those of these values, texts or tuples of texts, that hold `{date}`, with the date that `given` means.

    `places_after` are those of the steps after the run, which put the same date in by `meant_date`. `now` is a clock
    that tells its time zone; the date is that of `time_zone`, or of this machine. Raises `ConfigError`
    for what is no date and no time zone, and for another date than that of today which no value holds: the run would be
    that of every other day. A scheduler may give the date of today to all jobs. Another name in braces is refused where
    the run writes, because nobody would look there.
    """
    for key in WRITTEN:
        check_placeholders(key, places.get(key))
    at = now()  # asked once, because midnight may pass
    told = meant_date(given, time_zone, at).isoformat()
    named = {key: value for key, value in places.items() if PLACEHOLDER in str(value)}
    is_named = named or any(PLACEHOLDER in place for place in places_after)
    if not is_named and told != meant_date(TODAY, time_zone, at).isoformat():
        raise ConfigError(
            f"date={given} changes nothing, because no place of the job holds {PLACEHOLDER}: write {PLACEHOLDER} into "
            f"{', '.join(places)}, or leave date= out"
        )

    def dated(value: str) -> str:
        return value.replace(PLACEHOLDER, told)

    return {key: dated(value) if isinstance(value, str) else tuple(map(dated, value)) for key, value in named.items()}


def check_placeholders(key: str, place: str | None) -> None:
    """Raises `ConfigError` for a name in braces that is meant for `{date}`, as `{day}` or `{Date}`; others stay."""
    for name in _NAMED.findall(place or ""):
        if name != PLACEHOLDER[1:-1] and get_close_matches(name.lower(), _LIKE_A_DATE, n=1, cutoff=_ALIKE):
            raise ConfigError(
                f"{key}={redact_uri(str(place))}: {{{name}}} stands for nothing; {PLACEHOLDER} is the date of the run, "
                "as 2026-11-29"
            )


def meant_date(given: str, time_zone: str | None, now: datetime) -> date:
    """What `date=` and `time_zone=` of a job mean at a time that tells its own zone.

    Raises `ConfigError` for what is no date and no time zone.
    """
    if given not in _DAYS_AGO:
        try:
            return date.fromisoformat(given)
        except ValueError as error:
            raise ConfigError(f"date={given}: give today, yesterday or a date as 2026-11-29") from error
    try:
        here = now.astimezone(None if time_zone is None else ZoneInfo(time_zone))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(f"time_zone={time_zone}: no such time zone; give one as UTC or Europe/Berlin") from error
    return here.date() - timedelta(days=_DAYS_AGO[given])
