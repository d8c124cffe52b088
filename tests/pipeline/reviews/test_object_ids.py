"""Ids of added objects: nobody gets one that another has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.reviews.object_ids import claim_object_id
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.reviewing import reviewing


def test_reviewers_at_the_same_time_get_ids_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda name: claim_object_id(JobStorage(str(tmp_path)), "a/b", 5, name), "abcdefgh"))
    assert sorted(claimed) == list(range(5, 13))
    assert claim_object_id(JobStorage(str(tmp_path)), "a", 5, "x") == 5, "another video"


def test_a_review_claims_ids_above_those_of_tracks_and_corrections(tmp_path: Path) -> None:
    output, _ = write_job(tmp_path, (DrawnVideo("a", {1: "cat"}, failed={9: "no frame"}),))
    with reviewing(output) as client:
        assert [client.state.claim_object_id("a", "ann") for _ in range(2)] == [10, 11]
