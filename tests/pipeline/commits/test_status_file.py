"""`_status.json`, as other processes read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pipeline.commits.status_file import RunStatus, correct_status, read_status, write_status
from pipeline.errors import NewerVersion
from pipeline.storage.job_storage import JobStorage

STATUS = RunStatus(state="running", num_planned=7, num_ended={"ok": 2}, stage_seconds={"decode": 1.5}, num_workers=2)


def test_what_is_written_is_read_with_the_time_of_writing(disk_storage: JobStorage) -> None:
    assert read_status(disk_storage) is None
    write_status(disk_storage, STATUS)
    found = read_status(disk_storage)
    assert found is not None
    assert found.model_copy(update={"written_at": ""}) == STATUS
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found.written_at)).total_seconds()) < 60


def test_the_file_has_the_names_that_other_programs_read(disk_storage: JobStorage) -> None:
    write_status(disk_storage, STATUS)
    assert set(json.loads(disk_storage.read("_status.json"))) == {
        *("version", "state", "written_at", "num_planned", "num_before_this_run", "num_ended", "failures"),
        *("num_frames", "num_masks", "frames_per_second", "videos_per_second", "num_waiting", "num_workers"),
        *("num_gpus", "num_nodes_left_alone", "stage_seconds", "worker_seconds", "last_error"),
        *("num_former", "num_objects_failed", "num_objects_warned", "num_workers_starting", "listing"),
        *("retry", "max_attempts", "gone"),
    }


def test_a_torn_file_says_nothing_and_a_newer_one_is_refused(disk_storage: JobStorage) -> None:
    disk_storage.replace("_status.json", b'{"state": "runn')
    assert read_status(disk_storage) is None
    disk_storage.replace("_status.json", b'{"state": "running", "version": 2}')
    with pytest.raises(NewerVersion, match=r"_status\.json was written by a newer maskmill, in version 2"):
        read_status(disk_storage)


def test_counts_of_other_tables_replace_those_of_the_last_run_and_nothing_else(disk_storage: JobStorage) -> None:
    correct_status(disk_storage, RunStatus(state="done", num_planned=3, num_former=1))
    assert read_status(disk_storage) is None, "no run has written one"
    write_status(disk_storage, RunStatus(state="done", num_planned=4, listing="full", last_error="once"))
    correct_status(
        disk_storage,
        RunStatus(state="done", num_planned=3, num_former=1, listing="from_last", retry=("failed",), max_attempts=5),
    )
    status = read_status(disk_storage)
    assert status is not None
    assert (status.num_planned, status.num_former, status.listing, status.last_error) == (3, 1, "from_last", "once")
    assert (status.retry, status.max_attempts) == (("failed",), 5)


def test_a_run_with_nothing_left_to_do_says_how_the_job_stands_now(disk_storage: JobStorage) -> None:
    """One night ended with too many failures; in the next one nothing was new, and of all videos few have failed."""
    write_status(disk_storage, RunStatus(state="failures", num_planned=4, last_error="once"))
    correct_status(disk_storage, RunStatus(state="done", num_planned=4, num_former=0))
    found = read_status(disk_storage)
    assert found is not None
    assert (found.state, found.num_planned, found.last_error) == ("done", 4, "once")
