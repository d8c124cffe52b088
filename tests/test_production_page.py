"""docs/production.md: its lists are those of the code."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.network.config import Sam2Config, named_config
from pipeline.cluster import ray_metrics
from pipeline.command import ExitCode
from pipeline.commits.status_file import RunStatus
from pipeline.driver import log_file
from pipeline.records import Ending, Status
from pipeline.status import as_document, read_status
from pipeline.storage.job_storage import JobStorage
from tests.support.doc_tables import PRODUCTION, with_keys
from tests.support.labeled import driver, labeled, publish

PAGE = PRODUCTION.read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_column(text: str, head: str) -> list[str]:
    """The words in code of the first column of the table whose first line begins so."""
    table = text.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [word for row in rows for word in re.findall(r"`(\w+)`", row)]


def test_exit_codes_have_the_sentences_of_the_code() -> None:
    found = re.findall(r"^\| (\d+) \| (.*?) \| (.+) \|$", section("Exit codes"), re.MULTILINE)
    assert [(int(code), meaning) for code, meaning, _ in found] == [(code.value, code.meaning) for code in ExitCode]


def test_every_field_of_the_status_document_is_there() -> None:
    table = section("Watching a run").split("**`_status.json`**", 1)[1]
    assert sorted(first_column(table, "field")) == sorted(RunStatus(state="running").to_dict())


def test_every_field_of_what_the_status_command_prints_is_there(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path / "job"))
    _, keeper = driver(storage, tmp_path / "spool")
    keeper.commit([publish(storage, tmp_path / "spool", labeled("bad", status=Status.FAILED))])
    document = as_document(read_status(storage))
    table = section("Watching a run").split("**`_status.json`**", 1)[0]
    assert sorted(first_column(table, "field")) == sorted(document)
    meanings = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    assert all(f"`{name}`" in meanings["objects"] for name in document["objects"])
    assert all(f"`{name}`" in meanings["causes"] for name in document["causes"][0])
    states = {*(ending.name.lower() for ending in Ending), "running", "interrupted", "silent", "new"}
    assert all(f"`{state}`" in meanings["state"] for state in states)


def names_of_metrics() -> list[str]:
    return list(ray_metrics.GAUGES)


def names_of_log_fields() -> list[str]:
    always = ["time", "level", "logger", "message", "event"]
    return [*always, *inspect.getclosurevars(log_file.JsonLines.format).globals["_FIELDS"]]


@pytest.mark.parametrize(
    ("names", "after", "head"),
    [(names_of_metrics, "**Metrics.**", "gauge"), (names_of_log_fields, "**`log_file=`**", "field")],
    ids=["metrics", "log"],
)
def test_every_metric_and_every_field_of_the_log_is_there(
    names: Callable[[], list[str]], after: str, head: str
) -> None:
    assert sorted(first_column(section("Watching a run").split(after, 1)[1], head)) == sorted(names())


def test_every_status_of_a_video_is_there() -> None:
    statuses = re.findall(r"^\| `(\w+)`", section("Videos that fail"), re.MULTILINE)
    assert sorted(statuses) == sorted(status.value for status in Status)


def test_the_table_of_keys_is_made_from_the_fields() -> None:
    assert with_keys(PAGE) == PAGE, "run python -m tests.support.doc_tables"


def test_the_config_for_a_model_of_another_size_is_enough() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", section("Weights"), re.DOTALL)
    assert Sam2Config.from_hf(json.loads(text)) == replace(named_config("tiny"), image_size=512)
