"""What a run takes in: the driver's hashes are those of the worker, and change exactly when labels would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.reviews.corrections import write_corrections
from pipeline.reviews.reviewed import ReviewedVideo, SplitFrom, read_reviews, read_video
from pipeline.reviews.verdicts import write_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.rounds import square

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def correction(object_id: int, frame_index: int, minute: int = 1, left: int | None = 2, **more: Any) -> dict[str, Any]:
    mask = {"kind": "hidden"} if left is None else {"kind": "mask", "mask_rle": square((24, 32), left, 3)}
    row = {"video_id": "a", "object_id": object_id, "frame_index": frame_index, "reviewer": "ann"}
    return row | mask | {"reviewed_at": at(minute)} | more


def verdict(object_id: int, word: str, minute: int) -> dict[str, Any]:
    said = {"video_id": "a", "object_id": object_id, "verdict": word, "reviewer": "ann"}
    return said | {"reviewed_at": at(minute)}


def review(storage: JobStorage) -> ReviewedVideo:
    return read_reviews(storage)["a"]


def test_a_worker_finds_what_the_driver_planned_with(disk_storage: JobStorage) -> None:
    write_corrections(
        disk_storage, [correction(1, 3), correction(2, 0, left=None), correction(1, 1, 2, category="cat")]
    )
    write_corrections(disk_storage, [correction(1, 3, 5, left=7), correction(1, 3, video_id="b")])
    planned = review(disk_storage)
    write_corrections(disk_storage, [correction(1, 3, 9, left=12), correction(5, 5, 9)])  # while the job runs
    found = read_video(disk_storage, "a", planned.files)
    assert found.object_hashes == dict(planned.object_hashes)
    assert [(one.frame_index, one.category) for one in found.objects[1]] == [(1, "cat"), (3, None)]
    assert found.objects[1][1].rle == square((24, 32), 7, 3)
    assert review(disk_storage).review_hash != planned.review_hash


def test_who_corrected_and_when_makes_no_difference_and_what_is_withdrawn_is_as_if_it_never_was(
    disk_storage: JobStorage,
) -> None:
    write_corrections(disk_storage, [correction(1, 3)])
    before = review(disk_storage).review_hash
    write_corrections(disk_storage, [correction(1, 3, 4, reviewer="bob"), correction(2, 3, 4)])
    assert review(disk_storage).review_hash != before
    write_corrections(disk_storage, [correction(2, 3, 5, kind="withdraw", mask_rle=None)])
    assert review(disk_storage).review_hash == before
    write_corrections(disk_storage, [correction(1, 3, 6, kind="withdraw", mask_rle=None)])
    withdrawn = review(disk_storage)
    assert (withdrawn.review_hash, len(withdrawn.files), withdrawn.has_masks) == ("", 4, False)
    assert (withdrawn.object_hashes, withdrawn.newest) == ({}, {1: at(6), 2: at(5)})
    assert read_video(disk_storage, "a", withdrawn.files).touched == {(1, 3), (2, 3)}


def test_of_a_split_both_know_the_new_half_also_when_it_was_withdrawn(disk_storage: JobStorage) -> None:
    write_corrections(disk_storage, [correction(1, 3, left=None), correction(7, 3, split_from=1), correction(7, 4, 2)])
    planned = review(disk_storage)
    assert planned.shown == {7}
    found = read_video(disk_storage, "a", planned.files)
    assert found.splits == planned.splits == {7: SplitFrom(now=frozenset({1}), ever=frozenset({1}))}
    write_corrections(disk_storage, [correction(7, at, 5, kind="withdraw", mask_rle=None) for at in (3, 4)])
    planned = review(disk_storage)
    assert (planned.shown, planned.object_hashes.keys()) == (frozenset(), {1})
    found = read_video(disk_storage, "a", planned.files)
    assert found.objects.keys() == {1}
    assert found.splits == planned.splits == {7: SplitFrom(now=frozenset(), ever=frozenset({1}))}


def test_settled_are_accepted_and_rejected_tracks_that_nobody_corrected_since(disk_storage: JobStorage) -> None:
    verdicts = [verdict(1, "accept", 1), verdict(2, "reject", 2), verdict(3, "fix", 3), verdict(4, "accept", 4)]
    write_verdicts(disk_storage, [*verdicts, verdict(1, "skip", 9)])
    write_corrections(disk_storage, [correction(2, 0, 1), correction(4, 0, 5)])
    assert review(disk_storage).settled == {1: at(1), 2: at(2)}


def test_what_was_saved_after_the_corrections_that_were_taken_in_is_left_out_where_that_is_asked(
    disk_storage: JobStorage,
) -> None:
    def taken_in(*hashes: str) -> ReviewedVideo | None:
        return read_reviews(disk_storage, lambda video_id: hashes if video_id == "a" else None).get("a")

    write_corrections(disk_storage, [correction(7, 3), correction(7, 4)])
    first = review(disk_storage)
    write_corrections(disk_storage, [correction(1, 3, 5), correction(7, 3, 5, kind="withdraw", mask_rle=None)])
    second = review(disk_storage)
    write_corrections(disk_storage, [correction(1, 3, 6, kind="withdraw", mask_rle=None), correction(9, 3, 6)])
    assert taken_in(first.review_hash) == first
    assert taken_in(first.review_hash, second.review_hash) == second, "the last one, with which labeling failed"
    assert taken_in("of an earlier program") == review(disk_storage), "nobody knows what was taken in"
    assert taken_in("") is None
    write_verdicts(disk_storage, [verdict(7, "accept", 2)])
    found = taken_in("")
    assert found is not None
    assert (found.files, found.settled) == ((), {7: at(2)}), "verdicts count at once"


def test_a_job_that_nobody_reviewed_costs_one_listing(disk_storage: JobStorage) -> None:
    assert read_reviews(disk_storage) == {}


def test_each_new_half_has_its_own_split_and_one_that_is_withdrawn_counts_no_more(disk_storage: JobStorage) -> None:
    write_corrections(disk_storage, [correction(7, 3, split_from=1), correction(8, 4, split_from=2)])
    first, second = (SplitFrom(frozenset({old}), frozenset({old})) for old in (1, 2))
    assert review(disk_storage).splits == {7: first, 8: second}
    write_corrections(disk_storage, [correction(7, 3, 5, kind="withdraw", mask_rle=None, split_from=1)])
    found = review(disk_storage)
    assert found.splits == {7: SplitFrom(frozenset(), frozenset({1})), 8: second}
    assert read_video(disk_storage, "a", found.files).splits == found.splits


def test_a_track_is_settled_as_the_reviewer_saw_it_also_where_it_was_labeled_again_before_the_verdict(
    disk_storage: JobStorage,
) -> None:
    write_verdicts(disk_storage, [verdict(1, "accept", 9) | {"labeled_at": at(2)}])
    assert review(disk_storage).settled == {1: at(2)}


def test_corrections_of_another_video_in_the_same_file_are_not_this_videos(disk_storage: JobStorage) -> None:
    of_another = [correction(1, 3, 5, left=9, video_id="b"), correction(9, 0, video_id="b", split_from=1)]
    write_corrections(disk_storage, [correction(1, 3), *of_another])
    planned = review(disk_storage)
    found = read_video(disk_storage, "a", planned.files)
    assert (found.objects.keys(), found.splits) == ({1}, {})
    assert found.objects[1][0].rle == square((24, 32), 2, 3)
    assert found.object_hashes == dict(planned.object_hashes)
