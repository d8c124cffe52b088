"""Objects that failed: whoever reviews sees them with their message, and takes back what was corrected of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.reviewing import Client, reviewing

MESSAGE = "object 9, frame 3: no prompt says where it is"


@pytest.fixture
def job(tmp_path: Path) -> JobStorage:
    videos = (DrawnVideo("v", {1: "cat"}, failed={9: MESSAGE}), DrawnVideo("w", {1: "dog"}))
    return JobStorage(write_job(tmp_path, videos)[0])


def hidden(object_id: int, frame_index: int, **more: Any) -> dict[str, Any]:
    at = datetime(2026, 1, 3, tzinfo=UTC)
    names = {"video_id": "v", "object_id": object_id, "frame_index": frame_index}
    return {**names, "kind": "hidden", "mask_rle": None, "reviewer": "bob", "reviewed_at": at, **more}


def counting(storage: JobStorage) -> set[tuple[int, int]]:
    return {(one.object_id, one.frame_index) for one in read_corrections(storage).get("v", ())}


def withdraw(client: Client, object_id: int, status: int = 200) -> dict[str, Any]:
    return client.post("api/withdraw", {"video_id": "v", "object_id": object_id}, status)


@pytest.mark.slow
def test_an_object_that_failed_is_told_with_its_message_and_its_corrected_frames(job: JobStorage) -> None:
    write_corrections(job, [hidden(9, 5), hidden(9, 3), hidden(1, 2)])
    with reviewing(job) as client:
        assert client.get("api/session")["num_broken"] == 1
        told = client.get("api/broken")
    assert told["total"] == 1
    (row,) = told["rows"]
    assert (row["video_id"], row["object_id"], row["status"]) == ("v", 9, "failed")
    assert row["message"] == MESSAGE
    assert row["corrected_frames"] == [3, 5]


@pytest.mark.slow
def test_corrections_of_a_failed_object_are_taken_back_and_no_others(job: JobStorage) -> None:
    write_corrections(job, [hidden(9, 5), hidden(9, 3), hidden(1, 2)])
    with reviewing(job) as client:
        assert withdraw(client, 9)["frames"] == [3, 5]
        assert counting(job) == {(1, 2)}
        assert client.get("api/broken")["rows"][0]["corrected_frames"] == []
        assert "no corrections" in withdraw(client, 9, 409)["error"]


@pytest.mark.slow
def test_the_other_half_of_a_split_is_taken_back_too(job: JobStorage) -> None:
    mask = {"size": [48, 64], "counts": "PP2"}
    write_corrections(job, [hidden(1, 4), hidden(9, 4, kind="mask", mask_rle=mask, split_from=1), hidden(1, 2)])
    with reviewing(job) as client:
        withdraw(client, 9)
    assert counting(job) == {(1, 2)}


def test_corrections_of_a_clock_that_goes_ahead_are_taken_back(job: JobStorage) -> None:
    write_corrections(job, [hidden(9, 3, reviewed_at=datetime(2099, 1, 1, tzinfo=UTC))])
    with reviewing(job) as client:
        withdraw(client, 9)
    assert counting(job) == set()


@pytest.mark.slow
def test_nobody_withdraws_without_a_name(job: JobStorage) -> None:
    write_corrections(job, [hidden(9, 3)])
    with reviewing(job, reviewer="") as client:
        assert "who are you?" in withdraw(client, 9, 400)["error"]
    assert counting(job) == {(9, 3)}
