"""`{date}` in the places of a job."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.config.compose import job_config
from pipeline.config.dates import with_dates
from pipeline.errors import ConfigError

NIGHT = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)
PLACES = {
    "videos": "s3://b/in/{date}/*.mp4",
    "corrections": ("c/{date}.parquet", "d.parquet"),
    "output": None,
    "prompts": "p",
}


@pytest.mark.parametrize(
    ("given", "time_zone", "expected"),
    [
        ("today", "UTC", "2026-11-29"),
        ("today", "Europe/Berlin", "2026-11-30"),
        ("yesterday", "Europe/Berlin", "2026-11-29"),
        ("today", "America/New_York", "2026-11-29"),
        ("2026-02-28", None, "2026-02-28"),
    ],
)
def test_the_date_is_that_of_a_time_zone_or_the_given_one(given: str, time_zone: str | None, expected: str) -> None:
    assert with_dates(PLACES, given, time_zone, lambda: NIGHT) == {
        "videos": f"s3://b/in/{expected}/*.mp4",
        "corrections": (f"c/{expected}.parquet", "d.parquet"),
    }


def test_a_job_has_the_date_in_its_places() -> None:
    job = job_config("label", ["videos=in/{date}", "prompts=in/{date}.parquet", "output=out/{date}", "date=2026-11-28"])
    assert (job.videos, job.prompts, job.output) == ("in/2026-11-28", "in/2026-11-28.parquet", "out/2026-11-28")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("date=29.11.2026", "date=29.11.2026: give today, yesterday or a date as 2026-11-29"),
        ("time_zone=Berlin", "time_zone=Berlin: no such time zone; give one as UTC or Europe/Berlin"),
    ],
)
def test_what_is_no_date_or_time_zone_is_refused(wrong: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job_config("label", ["prompts=p.parquet", "output=out/{date}", wrong])


def test_a_date_that_no_place_holds_is_refused() -> None:
    """A night that fell out was asked for, and the places of every other night were labeled."""
    words = ["prompts=p.parquet", "output=out"]
    with pytest.raises(
        ConfigError, match=r"date=2026-11-28 changes nothing, because no place of the job holds \{date\}"
    ):
        job_config("label", [*words, "date=2026-11-28"])
    assert job_config("label", [*words, "date=today", "time_zone=Europe/Berlin"]).output == "out"
