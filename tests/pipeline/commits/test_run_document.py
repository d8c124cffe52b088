"""`last_run.json` and the ends of earlier runs, as other processes read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.commits.run_document import (
    DoubtCount,
    RunDocument,
    StepDone,
    delete_runs,
    keep_run,
    read_last_run,
    runs_since,
    write_last_run,
)
from pipeline.errors import NewerVersion
from pipeline.output.layout import past_run
from pipeline.storage.job_storage import JobStorage

FIRST = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
LATER = datetime(2099, 1, 1, tzinfo=UTC)


def ended(started: datetime, message: str = "all videos processed") -> RunDocument:
    return RunDocument(
        output="s3://bucket/labels",
        started_at=started.isoformat(),
        ended_at=(started + timedelta(hours=1)).isoformat(),
        seconds=3600.0,
        state="done",
        exit_code=0,
        message=message,
        num_ended={"ok": 7, "failed": 2, "quarantined": 1, "no_prompts": 4},
        doubt=DoubtCount(num_videos=7, num_tracks=20, num_doubtful=3),
        after=[StepDone(step="report r.html", exit_code=0, log_entry=12)],
    )


def test_what_is_written_is_read(disk_storage: JobStorage) -> None:
    assert read_last_run(disk_storage) is None
    write_last_run(disk_storage, ended(FIRST))
    assert read_last_run(disk_storage) == ended(FIRST)
    assert json.loads(disk_storage.read("last_run.json"))["version"] == 1


def test_videos_without_prompts_are_not_among_those_that_were_labeled() -> None:
    assert (ended(FIRST).num_labeled, ended(FIRST).num_bad) == (10, 3)


def test_a_field_of_a_later_version_is_ignored_a_torn_file_says_nothing_and_a_newer_one_is_refused(
    disk_storage: JobStorage,
) -> None:
    fields = ended(FIRST).to_dict()
    fields["after"][0]["host"] = fields["doubt"]["by_reason"] = fields["carbon"] = 1
    disk_storage.replace("last_run.json", json.dumps(fields).encode())
    assert read_last_run(disk_storage) == ended(FIRST)
    disk_storage.replace("last_run.json", b'{"state": "do')
    assert read_last_run(disk_storage) is None
    disk_storage.replace("last_run.json", json.dumps(fields | {"version": 2}).encode())
    with pytest.raises(NewerVersion, match=r"last_run\.json was written by a newer maskmill"):
        read_last_run(disk_storage)


def test_earlier_ends_are_found_by_their_start_and_old_ones_go(disk_storage: JobStorage) -> None:
    for day in range(40):
        keep_run(disk_storage, ended(FIRST + timedelta(days=day), f"night {day}"))
    disk_storage.replace("_runs/notes.txt", b"of somebody else")
    disk_storage.replace("_runs/20261211T020000Z-torn.json", b'{"sta')
    week = runs_since(disk_storage, FIRST + timedelta(days=33), LATER)
    assert [one.message for one in week] == [f"night {day}" for day in range(33, 40)]
    every = runs_since(disk_storage, FIRST, LATER)
    assert every[0].message == "night 4", "35 days before the last one"


def test_not_more_than_a_hundred_ends_are_kept(disk_storage: JobStorage) -> None:
    for minute in range(1, 102):
        disk_storage.replace(past_run(FIRST + timedelta(minutes=minute)), ended(FIRST, f"run {minute}").to_json())
    for minute in (102, 103):
        keep_run(disk_storage, ended(FIRST + timedelta(minutes=minute), f"run {minute}"))
    assert [one.message for one in runs_since(disk_storage, FIRST, LATER)] == [
        f"run {number}" for number in range(4, 104)
    ]
    delete_runs(disk_storage)
    assert disk_storage.listing("_runs") == []


def test_a_run_whose_clock_ran_ahead_is_no_night_before_others(disk_storage: JobStorage) -> None:
    for day, message in ((0, "first"), (900, "ahead"), (1, "second")):
        keep_run(disk_storage, ended(FIRST + timedelta(days=day), message))
    found = runs_since(disk_storage, FIRST, FIRST + timedelta(days=2))
    assert [one.message for one in found] == ["first", "second"]
