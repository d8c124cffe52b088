"""Many files of verdicts are read as one, and nothing of a video that leaves the job stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import tables
from pipeline.commits.compaction import compact
from pipeline.output.layout import DIGESTS, REVIEWS
from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.reviews.files import ReviewTable
from pipeline.reviews.object_ids import claim_object_id
from pipeline.reviews.pruning import drop_others
from pipeline.reviews.verdicts import VERDICTS, Verdict, read_verdict_files, read_verdicts, write_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def said(video_id: str, verdict: str = "accept", minute: int = 0) -> dict[str, Any]:
    row = {"video_id": video_id, "object_id": 1, "verdict": verdict, "reviewer": "ann"}
    return row | {"reviewed_at": NOON + timedelta(minutes=minute), "seconds": 1.5}


class CountingStorage(JobStorage):
    """Counts what is read."""

    num_read = 0

    def read(self, path: str) -> bytes:
        self.num_read += 1
        return super().read(path)


FEW = ReviewTable("verdicts", VERDICTS, 1, lambda row: Verdict(row["verdict"]), many_files=4)
"""Verdicts, of which four files are many."""


@pytest.fixture
def storage(tmp_path: Path) -> CountingStorage:
    return CountingStorage(str(tmp_path / "job"))


def test_a_digest_spares_the_files_that_it_holds_and_later_ones_are_read(storage: CountingStorage) -> None:
    for number in range(6):
        write_verdicts(storage, [said(f"v{number}"), said("same", minute=number)])
    before = list(FEW.read_files(storage))
    FEW.digest(storage)
    newest = write_verdicts(storage, [said("same", "reject", minute=9)])
    storage.num_read = 0
    found = list(FEW.read_files(storage))
    assert storage.num_read == 2, "the digest and the file that is newer"
    assert found[:6] == before
    assert [path for path, _ in found[6:]] == [newest]
    assert list(read_verdict_files(storage)) == found, "the files stay, for who reads each of them"


def test_a_digest_is_written_where_many_files_are_in_none_and_takes_the_place_of_others(
    storage: CountingStorage,
) -> None:
    for number in range(3):
        write_verdicts(storage, [said(f"v{number}")])
    FEW.digest(storage)
    assert storage.listing(DIGESTS) == []
    for number in range(3, 6):
        write_verdicts(storage, [said(f"v{number}")])
    FEW.digest(storage)
    (first,) = storage.listing(DIGESTS)
    FEW.digest(storage)
    assert storage.listing(DIGESTS) == [first]
    for number in range(6, 10):
        write_verdicts(storage, [said(f"v{number}")])
    FEW.digest(storage)
    (second,) = storage.listing(DIGESTS)
    assert second != first
    assert [row["video_id"] for row in FEW.read(storage)] == [f"v{number}" for number in range(10)]


def test_what_was_said_of_videos_that_leave_goes_with_them_and_the_rest_stays(storage: CountingStorage) -> None:
    for number in range(5):
        write_verdicts(storage, [said("gone"), said(f"v{number}")])
    write_verdicts(storage, [said("gone", "reject", 5)])
    hidden = {"object_id": 1, "frame_index": 2, "kind": "hidden", "reviewer": "ann", "reviewed_at": NOON}
    write_corrections(storage, [{"video_id": "v1", **hidden}])
    write_corrections(storage, [{"video_id": "gone", **hidden}])
    for video_id in ("gone", "v1"):
        claim_object_id(storage, video_id, 7, "ann")
    storage.replace(f"{REVIEWS}/notes.txt", b"mine")
    FEW.digest(storage)
    drop_others(storage, lambda video_id: video_id != "gone")
    assert set(read_verdicts(storage)) == {(f"v{number}", 1) for number in range(5)}
    assert set(read_corrections(storage)) == {"v1"}
    assert claim_object_id(storage, "v1", 7, "bob") == 8, "what ann has taken is hers"
    for stored in (*storage.listing(REVIEWS), *storage.listing(DIGESTS)):
        assert b"gone" not in storage.read(stored.path)
    before = storage.listing(REVIEWS)
    drop_others(storage, lambda video_id: video_id != "gone")
    assert storage.listing(REVIEWS) == before


@pytest.mark.slow
def test_a_compaction_gathers_verdicts_and_tables_show_the_same(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("a", {1: "cat", 2: "dog"}),), broken=())
    storage = CountingStorage(uri)
    for minute in range(256):
        write_verdicts(storage, [said("a", "reject" if minute % 2 else "accept", minute) | {"seconds": None}])
    before = tables.open(uri).tracks(rejected=True)
    assert before["verdict"].to_pylist() == ["reject", None]
    compact(storage, tmp_path)
    storage.num_read = 0
    assert len(read_verdicts(storage)) == 1
    assert storage.num_read == 1
    assert tables.open(uri).tracks(rejected=True).equals(before)


def test_a_digest_of_another_version_is_passed_over(storage: CountingStorage) -> None:
    for number in range(6):
        write_verdicts(storage, [said(f"v{number}")])
    replace(FEW, version=2).digest(storage)
    storage.num_read = 0
    assert len(list(FEW.read(storage))) == 6
    assert storage.num_read == 7, "the digest, and all files"


def test_a_digest_says_nothing_of_files_that_are_gone(storage: CountingStorage) -> None:
    paths = [write_verdicts(storage, [said(f"v{number}")]) for number in range(6)]
    FEW.digest(storage)
    storage.delete([paths[0]])
    assert [row["video_id"] for row in FEW.read(storage)] == [f"v{number}" for number in range(1, 6)]
    storage.delete(paths[1:4])
    for number in range(6, 10):
        write_verdicts(storage, [said(f"v{number}")])
    (first,) = storage.listing(DIGESTS)
    FEW.digest(storage)
    assert storage.listing(DIGESTS) != [first], "four files are in none, which are many"
