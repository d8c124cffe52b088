"""A correction that is taken back leaves what others had said before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CannotMend
from pipeline.mending.taking_back import last_correction, take_back
from pipeline.reviews.corrections import Correction, read_corrections, read_rows, write_corrections
from pipeline.storage.job_storage import JobStorage

MORNING = datetime(2026, 3, 1, 9, tzinfo=UTC)
MASK = {"size": [4, 4], "counts": "04<"}
OTHER = {"size": [4, 4], "counts": "88"}
TRACK = ("clip", 2)
FRAME = 5


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return JobStorage(str(tmp_path))


def correction(reviewer: str, minute: int, object_id: int = 2, mask: Any = MASK, **more: Any) -> dict[str, Any]:
    return {
        "video_id": "clip",
        "object_id": object_id,
        "frame_index": FRAME,
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
    mine = write_corrections(storage, [correction("dan", 1, mask=OTHER)])
    path = take_back(storage, mine, TRACK, "dan")
    assert counting(storage) == {2: ("ann", MASK)}
    ((_, row),) = read_rows(storage, [path])
    assert (row["points_xy"], row["point_labels"]) == ([[1.0, 2.0]], [1])
    assert row["labeled_at"] == MORNING  # of the labels that ann saw
    assert path not in (first, mine)


def test_where_nothing_was_said_before_nothing_counts(storage: JobStorage) -> None:
    path = take_back(storage, write_corrections(storage, [correction("dan", 0)]), TRACK, "dan")
    assert counting(storage) == {}
    assert [(row["kind"], row["reviewer"]) for _, row in read_rows(storage, [path])] == [("withdraw", "dan")]


def test_a_split_is_taken_back_whole_and_in_one_file(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0)])
    rows = [correction("dan", 1, mask=None), correction("dan", 1, object_id=8, split_from=2)]
    path = take_back(storage, write_corrections(storage, rows), TRACK, "dan")
    assert counting(storage) == {2: ("ann", MASK)}
    assert {row["object_id"]: row["kind"] for _, row in read_rows(storage, [path])} == {2: "mask", 8: "withdraw"}


def test_two_corrections_of_a_frame_are_taken_back_one_after_the_other(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0, mask=None)])
    paths = [write_corrections(storage, [correction("dan", at, seconds=float(at))]) for at in (1, 2)]
    take_back(storage, paths[1], TRACK, "dan")
    assert counting(storage) == {2: ("dan", MASK)}
    take_back(storage, paths[0], TRACK, "dan")
    assert counting(storage) == {2: ("ann", None)}


def test_what_somebody_has_said_since_stays(storage: JobStorage) -> None:
    mine = write_corrections(storage, [correction("dan", 0)])
    write_corrections(storage, [correction("eve", 1, mask=None)])
    with pytest.raises(CannotMend, match="eve has spoken of object 2 on frame 5 since"):
        take_back(storage, mine, TRACK, "dan")
    assert counting(storage) == {2: ("eve", None)}


def test_a_file_is_taken_back_once_however_often_it_is_asked(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0)])
    mine = write_corrections(storage, [correction("dan", 1)])
    take_back(storage, mine, TRACK, "dan")
    written = len(list(storage.listing("reviews")))
    assert take_back(storage, mine, TRACK, "dan") == mine
    assert len(list(storage.listing("reviews"))) == written


def test_a_path_without_corrections_of_the_track_is_named(storage: JobStorage) -> None:
    with pytest.raises(CannotMend, match="'reviews/none' holds no correction of object 2 of video 'clip'"):
        take_back(storage, "reviews/none", TRACK, "dan")
    others = write_corrections(storage, [correction("dan", 0, object_id=3)])
    with pytest.raises(CannotMend, match="holds no correction of object 2 of video 'clip'"):
        take_back(storage, others, TRACK, "dan")


def standing(storage: JobStorage) -> dict[tuple[str, int], list[int]]:
    """The frames on which each track is corrected."""
    found: dict[tuple[str, int], list[int]] = {}
    for video_id, said in read_corrections(storage).items():
        for one in said:
            found.setdefault((video_id, one.object_id), []).append(one.frame_index)
    return found


def test_of_a_document_of_many_tracks_one_is_taken_back(storage: JobStorage) -> None:
    """What came back from CVAT is one file for all objects of all videos."""
    rows = [correction("ann", 0), correction("ann", 0, frame_index=1), correction("ann", 0, object_id=7)]
    document = write_corrections(storage, [*rows, correction("ann", 0, video_id="clip-2")])
    write_corrections(storage, [correction("bob", 1, object_id=7, mask=OTHER)])
    found = last_correction(storage, *TRACK, "ann")
    assert found is not None
    assert (sorted(found.frame_indexes), found.since) == ([1, FRAME], "")
    take_back(storage, document, TRACK, "ann")
    assert standing(storage) == {("clip", 7): [FRAME], ("clip-2", 2): [FRAME]}
    with pytest.raises(CannotMend, match="bob has spoken of object 7 on frame 5 since"):
        take_back(storage, document, ("clip", 7), "ann")


def split_document(storage: JobStorage) -> str:
    """Object 2 is corrected on frame 1, and split on frame 5 into 8, and on frame 9 into 9; 3 is none of them."""
    hidden = [correction("ann", 0, mask=None, frame_index=at) for at in (FRAME, 7, 9)]
    split = [correction("ann", 0, object_id=8, frame_index=at, split_from=2) for at in (FRAME, 6)]
    last = correction("ann", 0, object_id=9, frame_index=9, split_from=2)
    others = [correction("ann", 0, frame_index=1), correction("ann", 0, object_id=3)]
    return write_corrections(storage, [*others, *hidden, *split, last])


@pytest.mark.parametrize(
    ("object_id", "left"),
    [
        (2, {3: [FRAME]}),
        (8, {2: [1, 9], 3: [FRAME], 9: [9]}),
        (9, {2: [1, FRAME, 7], 3: [FRAME], 8: [FRAME, 6]}),
        (3, {2: [1, FRAME, 7, 9], 8: [FRAME, 6], 9: [9]}),
    ],
    ids=["the old track", "the first part", "the last part", "another track"],
)
def test_a_track_that_a_document_splits_is_whole_again(
    storage: JobStorage, object_id: int, left: dict[int, list[int]]
) -> None:
    take_back(storage, split_document(storage), ("clip", object_id), "ann")
    assert standing(storage) == {("clip", one): frames for one, frames in left.items()}


def test_several_documents_are_told_apart_by_what_stands_of_their_handout(storage: JobStorage) -> None:
    write_corrections(storage, [correction("ann", 0, handout="h1"), correction("ann", 0, object_id=7, handout="h1")])
    later = write_corrections(storage, [correction("ann", 1, frame_index=1, handout="h1")])
    found = last_correction(storage, *TRACK, "ann")
    assert found is not None
    assert (found.path, found.handout, found.is_last_of_handout) == (later, "h1", False)
    take_back(storage, later, TRACK, "ann")
    found = last_correction(storage, *TRACK, "ann")
    assert found is not None
    assert (found.frame_indexes, found.is_last_of_handout) == ((FRAME,), True)
