"""Verdicts: nothing that a reviewer said is lost or overwritten, and the newest word on a track counts."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.reviews.verdicts import VERDICTS, Verdict, read_verdicts, write_verdicts
from pipeline.storage.job_storage import JobStorage

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def said(verdict: str, minute: int = 0, object_id: int = 1, **more: Any) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return {
        "video_id": "a",
        "object_id": object_id,
        "verdict": verdict,
        "reviewer": "x",
        "reviewed_at": at,
        **more,
    }


def test_the_newest_verdict_counts_and_a_skip_is_none(storage: JobStorage) -> None:
    assert read_verdicts(storage) == {}
    write_verdicts(storage, [said("accept", 5), said("fix", 3, object_id=2, is_audit=True)])
    write_verdicts(storage, [said("reject", 1), said("skip", 9), said("skip", 9, object_id=3)])
    found = read_verdicts(storage)
    assert {key: opinion.verdict for key, opinion in found.items()} == {
        ("a", 1): Verdict.ACCEPT,
        ("a", 2): Verdict.FIX,
    }
    assert (found["a", 1].is_bad, found["a", 2].is_bad) == (False, True)
    assert (found["a", 1].is_audit, found["a", 2].is_audit) == (False, True)


def test_a_disk_without_hard_links_takes_verdicts(disk_storage: JobStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*paths: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", link)
    write_verdicts(disk_storage, [said("accept")])
    assert read_verdicts(disk_storage)["a", 1].verdict is Verdict.ACCEPT


def test_each_call_makes_a_file_of_its_own(storage: JobStorage) -> None:
    paths = {write_verdicts(storage, [said("accept")]) for _ in range(3)}
    assert len(paths) == 3
    assert {stored.path for stored in storage.listing("reviews")} == paths


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (said("good"), "verdict='good': there are accept, reject, fix, skip, withdraw"),
        (said("fix", object_id="1"), "verdicts: object_id is int64: .*'1'"),
        (said("fix") | {"reviewed_at": "2026-11-30"}, r"verdicts: reviewed_at is timestamp\[ms, tz=UTC\]: "),
        ({**said("fix"), "reviewer": None}, "reviewer"),
        ({"video_id": "a"}, "object_id"),
        (said("fix", comments="left wheel"), "there is no column comments; did you mean comment"),
        (said("fix") | {"reviewed_at": NOON.replace(tzinfo=None)}, "reviewed_at has no time zone; give one"),
        (said("fix", labeled_at=NOON.replace(tzinfo=None)), "labeled_at has no time zone"),
    ],
)
def test_a_row_that_says_too_little_or_nonsense_is_refused(
    row: dict[str, Any], message: str, storage: JobStorage
) -> None:
    with pytest.raises(ValueError, match=message):
        write_verdicts(storage, [row])
    assert storage.listing("reviews") == []


def test_what_is_said_of_a_folder_that_is_not_there_is_refused_and_makes_none(tmp_path: Path) -> None:
    """A misspelled path took verdicts that nobody would ever read."""
    with pytest.raises(FileNotFoundError, match="lables holds no job: there is no folder of that name"):
        write_verdicts(JobStorage(str(tmp_path / "lables")), [said("fix")])
    assert not (tmp_path / "lables").exists()


def test_columns_of_tomorrow_are_ignored_and_those_of_yesterday_are_null(disk_storage: JobStorage) -> None:
    folder = Path(disk_storage.uri) / "reviews"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([said("fix")], VERDICTS).drop_columns(["is_audit", "comment"])
    pq.write_table(table.append_column("mood", pa.array(["good"])), folder / "verdicts-1.parquet")
    (folder / "notes.txt").write_text("mine")
    assert read_verdicts(disk_storage)["a", 1].verdict is Verdict.FIX


def test_a_file_that_is_no_table_of_verdicts_is_named(disk_storage: JobStorage) -> None:
    folder = Path(disk_storage.uri) / "reviews"
    folder.mkdir(parents=True)
    (folder / "verdicts-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"verdicts-1\.parquet is no table of verdicts"):
        read_verdicts(disk_storage)


def test_a_damaged_file_of_verdicts_is_named(disk_storage: JobStorage) -> None:
    path = write_verdicts(disk_storage, [said("fix")])
    data = disk_storage.read(path)
    disk_storage.replace(path, data[:4] + b"\xff" * 8 + data[12:])
    with pytest.raises(InputError, match=f"{path} is no table of verdicts"):
        read_verdicts(disk_storage)


def test_a_file_of_a_newer_program_is_refused(disk_storage: JobStorage) -> None:
    folder = Path(disk_storage.uri) / "reviews"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([said("fix")], VERDICTS).replace_schema_metadata({b"maskmill.verdicts": b"9"})
    pq.write_table(table, folder / "verdicts-1.parquet")
    with pytest.raises(InputError, match="newer maskmill"):
        read_verdicts(disk_storage)


def test_a_verdict_that_is_withdrawn_is_none(storage: JobStorage) -> None:
    write_verdicts(storage, [said("accept", 1), said("reject", 1, object_id=2)])
    write_verdicts(storage, [said("withdraw", 2), said("withdraw", 0, object_id=2)])
    assert {key: opinion.verdict for key, opinion in read_verdicts(storage).items()} == {("a", 2): Verdict.REJECT}


def test_a_verdict_is_of_the_labels_that_the_reviewer_saw_however_late_it_is_said(storage: JobStorage) -> None:
    write_verdicts(storage, [said("accept", 30, labeled_at=NOON), said("accept", 30, object_id=2)])
    found = read_verdicts(storage)
    again = NOON + timedelta(minutes=20)
    assert found["a", 1].is_of(NOON)
    assert not found["a", 1].is_of(again), "the video was labeled again while the reviewer looked at the former labels"
    assert found["a", 2].is_of(again), "nothing tells which labels the reviewer saw"
    assert not found["a", 2].is_of(NOON + timedelta(minutes=31))
