"""A correction that is taken back leaves what others had said before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CannotMend
from pipeline.mending.taking_back import take_back
from pipeline.reviews.corrections import Correction, read_corrections, read_rows, write_corrections
from pipeline.storage.job_storage import JobStorage

MORNING = datetime(2026, 3, 1, 9, tzinfo=UTC)
MASK = {"size": [4, 4], "counts": "04<"}


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return JobStorage(str(tmp_path))


def correction(reviewer: str, minute: int, object_id: int = 2, mask: Any = MASK, **more: Any) -> dict[str, Any]:
    return {
        "video_id": "clip",
        "object_id": object_id,
        "frame_index": 5,
        "kind": "hidden" if mask is None else "mask",
        "mask_rle": mask,
        "reviewer": reviewer,
        "reviewed_at": MORNING + timedelta(minutes=minute),
        **more,
    }


def counting(storage: JobStorage) -> dict[int, tuple[str, Any]]:
    """Reviewer and mask of each object on the frame."""
    said: tuple[Correction, ...] = read_corrections(storage).get("clip", ())
    return {one.object_id: (one.reviewer, one.rle) for one in said}


def test_the_correction_of_an_earlier_reviewer_counts_again_with_its_clicks(storage: JobStorage) -> None:
    first = write_corrections(storage, [correction("ann", 0, points_xy=[[1.0, 2.0]], point_labels=[1])])
    mine = write_corrections(storage, [correction("dan", 1, mask={"size": [4, 4], "counts": "88"})])
    path = take_back(storage, mine, "dan")
    assert counting(storage) == {2: ("ann", MASK)}
    ((_, row),) = read_rows(storage, [path])
    assert (row["points_xy"], row["point_labels"]) == ([[1.0, 2.0]], [1])
    assert row["labeled_at"] == MORNING  # of the labels that ann saw
    assert path not in (first, mine)


def test_where_nothing_was_said_before_nothing_counts(storage: JobStorage) -> None:
    path = take_back(storage, write_corrections(storage, [correction("dan", 0)]), "dan")
    assert counting(storage) == {}
    assert [(row["kind"], row["reviewer"]) for _, row in read_rows(storage, [path])] == [("withdraw", "dan")]


def test_a_split_is_taken_back_whole_and_in_one_file(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0)])
    rows = [correction("dan", 1, mask=None), correction("dan", 1, object_id=8, split_from=2)]
    path = take_back(storage, write_corrections(storage, rows), "dan")
    assert counting(storage) == {2: ("ann", MASK)}
    assert {row["object_id"]: row["kind"] for _, row in read_rows(storage, [path])} == {2: "mask", 8: "withdraw"}


def test_two_corrections_of_a_frame_are_taken_back_one_after_the_other(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0, mask=None)])
    paths = [write_corrections(storage, [correction("dan", at, seconds=float(at))]) for at in (1, 2)]
    take_back(storage, paths[1], "dan")
    assert counting(storage) == {2: ("dan", MASK)}
    take_back(storage, paths[0], "dan")
    assert counting(storage) == {2: ("ann", None)}


def test_what_somebody_has_said_since_stays(storage: JobStorage) -> None:
    mine = write_corrections(storage, [correction("dan", 0)])
    write_corrections(storage, [correction("eve", 1, mask=None)])
    with pytest.raises(CannotMend, match="eve has spoken of object 2 on frame 5 since"):
        take_back(storage, mine, "dan")
    assert counting(storage) == {2: ("eve", None)}


def test_a_file_is_taken_back_once_however_often_it_is_asked(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0)])
    mine = write_corrections(storage, [correction("dan", 1)])
    take_back(storage, mine, "dan")
    written = len(list(storage.listing("reviews")))
    assert take_back(storage, mine, "dan") == mine
    assert len(list(storage.listing("reviews"))) == written


def test_a_path_without_corrections_is_named(storage: JobStorage) -> None:
    with pytest.raises(CannotMend, match="'reviews/none' holds no correction"):
        take_back(storage, "reviews/none", "dan")
