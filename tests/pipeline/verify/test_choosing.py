"""Which tracks are walked back, from which mask to which frame."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.config.verify_config import VerifyConfig
from pipeline.reviews.cycles import write_cycles
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.verify.choosing import choose, walks_of
from tests.support.drawn_job import DrawnVideo, Truth, write_job

FINISHED = datetime(2026, 1, 2, tzinfo=UTC)
DRAWN = (DrawnVideo("a", {1: "cat", 3: "dog"}, num_frames=10), DrawnVideo("b", {4: None}, num_frames=1))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobTables, Truth]:
    uri, truth = write_job(tmp_path_factory.mktemp("choosing"), DRAWN)
    return tables.open(uri), truth


def test_all_tracks_that_show_are_walked_or_the_doubtful_and_some_by_lot(job: tuple[JobTables, Truth]) -> None:
    doubt = {(row["video_id"], row["object_id"]): row["doubt"] for row in job[0].tracks().to_pylist()}
    everything = choose(job[0], VerifyConfig(tracks="all"))
    assert set(everything) == set(doubt)
    assert [doubt[key] for key in everything] == sorted(doubt.values(), reverse=True)
    bound = sorted(doubt.values())[-2]
    assert choose(job[0], VerifyConfig(min_doubt=bound, share=0)) == everything[:2]
    assert set(choose(job[0], VerifyConfig(min_doubt=bound, share=1))) == set(doubt)
    assert choose(job[0], VerifyConfig(tracks="all", max_tracks=1)) == everything[:1]


@pytest.mark.slow
def test_a_track_that_was_walked_is_walked_again_only_when_its_labels_are_others(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, DRAWN)
    row = {"video_id": "a", "cycle_iou": 0.25, "from_frame": 8, "to_frame": 0, "checked_at": FINISHED}
    earlier = FINISHED - timedelta(days=1)
    write_cycles(
        JobStorage(uri),
        [
            row | {"object_id": 1, "labeled_at": FINISHED},
            row | {"object_id": 3, "labeled_at": earlier},
            row | {"video_id": "gone", "object_id": 1, "labeled_at": FINISHED},
        ],
    )
    job = tables.open(uri)
    assert set(choose(job, VerifyConfig(tracks="all"))) == {("a", 3), ("b", 4)}
    shown = {(one["video_id"], one["object_id"]): one["cycle_iou"] for one in job.tracks().to_pylist()}
    assert shown == {("a", 1): 0.25, ("a", 3): None, ("b", 4): None}
    assert job.tracks(where="cycle_iou < 0.5")["object_id"].to_pylist() == [1]
    assert tables.open(uri, reviews=False).tracks()["cycle_iou"].null_count == 3


def test_a_walk_begins_at_the_last_sure_mask_and_ends_at_the_prompt_before_it(job: tuple[JobTables, Truth]) -> None:
    (walk,) = walks_of(job[0], [("a", 1), ("a", 3), ("b", 4)], least_iou=0.7)
    # Object 1 is nowhere sure, object 3 starts on frame 1 and is hidden on frame 9, and video b has one frame.
    assert (walk["video_id"], walk["object_id"], walk["from_frame"], walk["to_frame"]) == ("a", 3, 8, 1)
    assert np.array_equal(coco.decode(walk["from_rle"]), job[1]["a", 3, 8])
    assert walk["labeled_at"] == FINISHED
    assert walk["cuts_seconds"] is None
