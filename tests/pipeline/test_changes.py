"""`python -m pipeline.changes`: what is printed and written of a job's changes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.changes import door
from pipeline.commits.compaction import compact
from pipeline.records import Reason, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish
from tests.support.quick_storage import QuickStorage
from tests.support.waiting import clock_moves_on


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A first night with three videos; a second one on which one came, one was replaced, one left, one waits."""
    folder = tmp_path_factory.mktemp("changes")
    storage, spool = JobStorage(str(folder / "job")), folder / "spool"
    _, keeper = driver(storage, spool)
    keeper.commit([publish(storage, spool, *map(labeled, ("a", "b", "c", "d")))])
    clock_moves_on()
    _, keeper = driver(storage, spool, "driver-2")
    keeper.forget(("a", "b", "c"), {"a": Reason.FILE, "b": Reason.PRUNE, "c": Reason.PROMPTS})
    bad = labeled("bad\nname", status=Status.FAILED)
    clock_moves_on()
    keeper.commit([publish(storage, spool, labeled("a"), bad, epoch=2)])
    clock_moves_on()
    return storage.uri


def printed(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert door(words) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_the_changes_of_a_night_are_told_in_a_few_lines(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed([f"output={job}", "entry=2"], capsys).splitlines()
    assert lines[0].startswith(f"maskmill: changes of {job}, entries 2 to 5 since 20")
    assert lines[1:] == [
        "added    1 video: 1 failed",
        "again    1 video: 1 file replaced; now 1 ok",
        "removed  1 video: in no table any more",
        "waiting  1 video: 1 prompts changed; rows are gone until the next labeling",
        "rows     in: 12 masks, 2 tracks, 2 videos; out: 36 masks, 6 tracks, 3 videos",
        "failed      1 × ",
        "            bad\\nname",
        "next     entry=5 tells what changes from now on",
    ]


def test_the_document_names_every_video(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed([f"output={job}", "entry=2", "format=json"], capsys))
    videos = {row["video_id"]: row for row in document.pop("videos")}
    assert {name: (row["change"], row["why"]) for name, row in videos.items()} == {
        "a": ("again", "file"),
        "b": ("removed", "prune"),
        "c": ("removed", "prompts"),
        "bad\nname": ("added", ""),
    }
    assert document.pop("since") < document.pop("until") == videos["a"]["changed_at"]
    assert document == {
        "output": job,
        "first_entry": 2,
        "entry": 5,
        "added": {"failed": 1},
        "again": {"file": 1},
        "removed": {"prune": 1, "prompts": 1},
        "bad": 1,
        "rows_in": {"masks": 12, "tracks": 2, "videos": 2},
        "rows_out": {"masks": 36, "tracks": 6, "videos": 3},
        "num_unnamed": 0,
        "num_compactions": 0,
        "last_full_listing": None,
    }


def test_changes_are_written_as_a_table(job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "new" / "changes.parquet"
    assert f"written  {place}" in printed([f"output={job}", "since=yesterday", f"to={place}"], capsys)
    table = pq.read_table(place)
    assert sorted(table["video_id"].to_pylist()) == ["a", "bad\nname", "d"]
    assert set(table["change"].to_pylist()) == {"added"}, "b and c came and went since yesterday"


def test_one_row_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage, spool = JobStorage(str(tmp_path / "job")), tmp_path / "spool"
    _, keeper = driver(storage, spool)
    keeper.commit([publish(storage, spool, labeled("a", num_frames=1, object_ids=(1,)))])
    assert "rows     in: 1 mask, 1 track, 1 video\n" in printed([f"output={storage.uri}"], capsys)


def test_nothing_new_is_said_and_is_no_fault(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed([f"output={job}", "entry=5"], capsys).splitlines()
    assert lines[1:] == [
        "none     no video came, was labeled again or left",
        "next     entry=5 tells what changes from now on",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["since=last week"], "since='last week' is no time: give yesterday, today, a date"),
        (["since=120"], "since='120' is no time: give yesterday, today, a date"),
        (["since=9999-01-01"], "since='9999-01-01' is still to come"),
        (["since=999999d"], "since='999999d' is no time: give yesterday, today, a date"),
        (["since="], "since='' is no time: give yesterday, today, a date"),
        (["to=changes.csv"], "to=changes.csv: it is written as Parquet; name a file as changes.parquet"),
        (["since=today", "entry=2"], "give one of them"),
        (["entry=-1"], "at least 0"),
        (["entry=77"], "the log ends before entry 77"),
        (["to=."], "is a folder: name the file in it"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(
    words: list[str], told: str, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={job}", *words]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


def test_where_no_job_is_the_place_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={tmp_path / 'none'}"]) == 2
    assert f"{tmp_path / 'none'} holds no job" in capsys.readouterr().err


# From a notebook


class Copy:
    """A table of masks that a job of others keeps: it reads new rows only, and remembers the entry."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.entry = 0
        self.rows: dict[str, list[tuple[int, int]]] = {}
        self.num_read = 0

    def read(self) -> None:
        job = tables.open(self.place)
        changes = job.changes(entry=self.entry)
        gone = job.missing(self.rows) if changes.sums.num_unnamed else []
        for video_id in (*changes.gone_ids, *gone):
            self.rows.pop(video_id, None)
        for row in job.masks(changes.video_ids).to_table().to_pylist():
            self.rows.setdefault(row["video_id"], []).append((row["object_id"], row["frame_index"]))
            self.num_read += 1
        self.entry = changes.entry


@pytest.mark.slow
def test_a_copy_that_reads_only_what_is_new_stays_equal_to_the_job(tmp_path: Path) -> None:
    """Over nights on which videos come, are labeled again, leave, lose their names in the log, and are merged."""
    storage, spool, draw = QuickStorage(str(tmp_path / "job")), tmp_path / "spool", random.Random(16)
    copy = Copy(storage.uri)
    for night in range(1, 6):
        log, keeper = driver(storage, spool, f"driver-{night}")
        here = sorted(log.state.finished)
        leaving = draw.sample(here, min(len(here), 2))
        keeper.forget(leaving, dict(zip(leaving, (Reason.PRUNE, Reason.PROMPTS), strict=False)))
        if night % 2:
            copy.read()
        again = leaving if night % 2 else leaving[1:]
        names = (*again, f"new {night}", f"more {night}")
        videos = [labeled(name, num_frames=draw.randint(1, 3), object_ids=(1,)) for name in names]
        keeper.commit([publish(storage, spool, *videos, epoch=log.state.epoch)])
        if night % 2 == 0:
            keeper.erase(again.__contains__)
        if draw.random() < 0.5:
            compact(storage, spool)
        copy.read()
        job = tables.open(storage.uri)
        expected: dict[str, list[tuple[int, int]]] = {}
        for row in job.masks().to_table().to_pylist():
            expected.setdefault(row["video_id"], []).append((row["object_id"], row["frame_index"]))
        assert {name: sorted(rows) for name, rows in copy.rows.items()} == {
            name: sorted(rows) for name, rows in expected.items()
        }
    num_read = copy.num_read
    copy.read()
    assert copy.num_read == num_read


def test_tables_tell_changes_up_to_what_they_show(job: str) -> None:
    opened = tables.open(job)
    assert opened.changes(entry=2).video_ids == ["a", "bad\nname"]
    assert opened.changes(entry=2).gone_ids == ["b", "c", "a"]
    assert opened.changes(since="yesterday").to_table().num_rows == 3
    assert opened.changes(since=datetime.now(UTC)).video_ids == []
    opened.state.next_entry = 2  # opened before the second night
    assert set(opened.changes(since="yesterday").video_ids) == {"a", "b", "c", "d"}
    assert opened.changes(since=datetime.now(UTC)).video_ids == []
    assert opened.changes(entry=5).video_ids == [], "tables that are older than the entry are read again"
    assert opened.state.next_entry == 5
    with pytest.raises(ValueError, match="has no time zone"):
        opened.changes(since=datetime(2026, 11, 28))
    with pytest.raises(ValueError, match="give one of them"):
        opened.changes(since="today", entry=3)
    day = datetime.now(UTC).date()
    assert opened.changes(since=day).video_ids == opened.changes(since="today").video_ids
    assert opened.changes(entry=np.int64(2)).video_ids == opened.changes(entry=2).video_ids
    with pytest.raises(ValueError, match="entry=-1: entries of the log are counted 0, 1, 2"):
        opened.changes(entry=-1)
