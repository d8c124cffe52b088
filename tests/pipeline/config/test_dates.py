"""`{date}` in the places of a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def test_a_time_zone_that_there_is_not_is_refused_where_no_place_holds_the_date_too() -> None:
    with pytest.raises(ConfigError, match=r"^time_zone=Berlin: no such time zone"):
        job_config("label", ["videos=in", "prompts=p", "output=out", "time_zone=Berlin"])


@pytest.mark.parametrize(("key", "name"), [("output", "{Date}"), ("output", "{day}"), ("log_file", "{dat}")])
def test_a_misspelled_date_makes_no_folder_of_that_name(key: str, name: str) -> None:
    words = ["videos=in/{date}", "prompts=p", "output=out/{date}", f"{key}=nights/{name}"]
    with pytest.raises(ConfigError) as error:
        job_config("label", words)
    expected = f"{key}=nights/{name}: {name} stands for nothing; {{date}} is the date of the run, as 2026-11-29"
    assert str(error.value) == expected


def test_braces_of_a_glob_and_of_a_name_that_is_read_stay() -> None:
    job = job_config("label", ["videos=in/{a}/*.{mp4,mov}", "prompts=p/{x}.parquet", "output=out"])
    assert (job.videos, job.prompts) == ("in/{a}/*.{mp4,mov}", "p/{x}.parquet")


@pytest.mark.parametrize("name", ["{data}", "{gate}", "{update}", "{dataset}"])
def test_other_names_in_braces_are_names_of_folders(name: str) -> None:
    job = job_config("label", ["videos=in", "prompts=p", f"output=out/{name}"])
    assert job.output == f"out/{name}"


@pytest.mark.parametrize("given", ["today", NIGHT.date().isoformat()])
def test_a_scheduler_may_give_the_date_of_today_to_a_job_without_the_placeholder(given: str) -> None:
    assert with_dates({"output": "out"}, given, None, lambda: NIGHT) == {}


def test_a_run_that_starts_at_midnight_has_one_date() -> None:
    times = iter(
        [NIGHT.replace(hour=23, minute=59, second=59), NIGHT.replace(hour=23, minute=59) + timedelta(minutes=1)]
    )
    assert with_dates({"output": "out"}, "today", "UTC", lambda: next(times)) == {}
