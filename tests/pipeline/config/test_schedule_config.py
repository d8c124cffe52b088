"""The keys of a run by a schedule: durations, what follows, who may be told, and that secrets stay hidden."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.command_line import as_words
from pipeline.config.compose import as_yaml, composed, job_config
from pipeline.config.fields import defaults
from pipeline.config.job_config import JobConfig
from pipeline.config.mistakes import checked
from pipeline.errors import ConfigError
from pipeline.redact import redact

JOB = ["prompts=p.parquet", "output=o"]


def refusal(key: str, value: object) -> str:
    with pytest.raises(ConfigError) as caught:
        checked(JobConfig, with_value(key, value))
    return str(caught.value)


def with_value(key: str, value: object) -> dict[str, Any]:
    model = {"name": "mini", "checkpoint": "mini"}
    *group, name = key.split(".")
    return defaults(JobConfig) | {"model": model} | ({group[0]: {name: value}} if group else {name: value})


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("4h", 14400.0),
        ("30m", 1800.0),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        (45, 45.0),
    ],
)
def test_a_duration_has_a_unit_or_is_in_seconds(typed: object, seconds: float) -> None:
    assert checked(JobConfig, with_value("stop_after", typed)).stop_after == seconds


@pytest.mark.parametrize("typed", ["4 hours", "-1h", "0", "h", "nan", "inf", True, "4h30", 0, -3])
def test_what_is_no_duration_is_refused_with_examples(typed: object) -> None:
    told = refusal("stop_after", typed)
    assert told.startswith(f"stop_after: {typed!r} is no duration")
    assert "give one as 4h, 1h30m, 90s, or a number of seconds above 0" in told


def test_a_duration_is_typed_as_it_is_said() -> None:
    assert job_config("nightly", [*JOB, "stop_after=4h"]).stop_after == 14400.0


def test_a_cost_needs_a_price() -> None:
    with pytest.raises(ConfigError, match="max_cost=20 needs price_per_hour="):
        job_config("nightly", [*JOB, "max_cost=20"])
    assert job_config("nightly", [*JOB, "max_cost=20", "price_per_hour=2.5"]).max_cost == 20


@pytest.mark.parametrize("address", ["https://hooks.example.com/a?b", "http://127.0.0.1:8/x", "http://localhost/x"])
def test_addresses_that_are_taken(address: str) -> None:
    assert checked(JobConfig, with_value("notify", address)).notify == address


def test_an_address_that_anybody_could_read_along_is_refused_without_its_secret() -> None:
    told = refusal("notify", "http://alerts.example.com/T0P-secret")
    assert "the document would travel unencrypted" in told
    assert "T0P-secret" not in told


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://user:T0P@hooks.example.com/x", "a user name or a password before its host"),
        ("https://T0P@hooks.example.com/x", "a user name or a password before its host"),
        ("https://user:T0P@127.0.0.1:8/x", "a user name or a password before its host"),
        ("https://hooks.example.com:T0P/x", "names no host, or no port"),
        ("https://hooks.example.com:0/T0P", "names no host, or no port"),
        ("https://[hooks/T0P", "names no host, or no port"),
        ("https:///T0P", "names no host, or no port"),
        ("https://hooks.example.com/T0P b", "a blank, or a letter beyond ASCII"),
        ("https://hooks.example.com/T0Pä", "a blank, or a letter beyond ASCII"),
    ],
)
def test_an_address_that_no_document_could_reach_is_refused_without_its_secret(address: str, told: str) -> None:
    said = refusal("notify", address)
    assert said.startswith("notify=")
    assert told in said
    assert "T0P" not in said


@pytest.mark.parametrize(
    ("export", "told"),
    [
        ({"format": "coco"}, "an export without to; give each as"),
        ({"to": "x"}, "an export without format"),
        ({"format": "coco", "to": "x", "output": "y"}, "output is that of the job"),
    ],
)
def test_an_export_that_says_too_little_or_too_much_is_refused(export: dict[str, str], told: str) -> None:
    assert told in refusal("after.export", [export])


@pytest.mark.slow
def test_commands_and_addresses_are_shown_nowhere() -> None:
    words = [*JOB, "notify=curl -H T0P-secret https://a.example/T0P-secret", "after.hooks=publish T0P-secret"]
    config = job_config("nightly", words)
    assert config.after.hooks == ("publish T0P-secret",)
    shown: dict[str, Any] = redact(config.model_dump())
    assert "T0P-secret" not in as_yaml(composed("nightly", words)) + str(shown) + str(as_words(shown))
    assert "notify_on: worse" in as_yaml(composed("nightly", words))


@pytest.mark.parametrize("nothing", ["", " "])
def test_nothing_behind_a_key_switches_off_what_a_job_file_asks_for(nothing: str) -> None:
    keys = ("notify", "after.report", "after.hooks", "after.export")
    config = job_config("nightly", [*JOB, *(f"{key}={nothing}" for key in keys)])
    assert config.notify is None
    assert (config.after.report, config.after.hooks, config.after.export) == (None, (), ())
    hooks = checked(JobConfig, with_value("after.hooks", [nothing, "publish"])).after.hooks
    assert hooks == ("publish",), "an empty command is no step"


def test_what_a_schedule_does_is_no_part_of_the_command_that_labels_again() -> None:
    config = job_config(
        "nightly", [*JOB, "stop_after=4h", "after.report=r.html", "price_per_hour=2", "frames.stride=3"]
    )
    words = as_words(redact(config.model_dump()))
    assert "frames.stride=3" in words
    assert [word for word in words if word.startswith(("stop_after", "after", "price", "notify"))] == []
