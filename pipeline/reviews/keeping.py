"""Which tracks keep their rows in the next round. Workers act by it, and plans count by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from pipeline.records import Status
from pipeline.reviews.reviewed import ReviewedVideo, SplitFrom

TABLE, DISCOVER = "table", "discover"
FIX, ADDED, SPLIT = "fix", "added", "split"
_REVIEW = "review:"

Row = Mapping[str, Any]
"""A row of `tracks` or `videos`."""


def made_of(review_hash: str | None, otherwise: str) -> str:
    """What the prompts of an object are: column `prompts` of `tracks`. `review_hash` stands for its corrections."""
    return f"{_REVIEW}{review_hash}" if review_hash else otherwise


def labeled_at(track: Row, video: Row) -> datetime:
    """When the rows of a track were made."""
    at: datetime = track.get("labeled_at") or video["kept_since"] or video["finished_at"]
    return at


def is_unchanged(track: Row, review_hash: str | None) -> bool:
    """Whether a track was labeled with these corrections; tracks of earlier programs had none."""
    before = track["prompts"] or ""
    return (before if before.startswith(_REVIEW) else "") == made_of(review_hash, "")


def is_tried_again(track: Row, by: str) -> bool:
    """Whether a track failed, and something can prompt it again. `by` is what made prompts that it does not name.

    The prompt of an object that a worker found is its mask, which is lost where the object failed.
    """
    return track["status"] != Status.OK and (track["prompts"] or by) != DISCOVER


def is_withdrawn(track: Row, review: ReviewedVideo) -> bool:
    """Whether reviewers have added a track and taken back all that they had said of it: it leaves the tables."""
    object_id = track["object_id"]
    is_taken_back = object_id in review.newest and object_id not in review.object_hashes
    return track["correction"] in (ADDED, SPLIT) and is_taken_back


def settled_objects(tracks: Iterable[Row], video: Row, settled: Mapping[int, datetime]) -> set[int]:
    """The tracks that reviewers have accepted or rejected as they are."""
    return {track["object_id"] for track in tracks if is_settled(track, video, settled)}


def unchanged_objects(
    tracks: Collection[Row],
    hashes: Mapping[int, str],
    splits: Mapping[int, SplitFrom],
    settled: Collection[int],
    by: str,
) -> set[int]:
    """The tracks that a round would label as they are. `hashes` stand for the corrections of objects now.

    `settled` are those that keep their rows in any case, and `by` is what made prompts that tracks do not name.
    """
    unchanged = {
        track["object_id"]
        for track in tracks
        if is_unchanged(track, hashes.get(track["object_id"])) and not is_tried_again(track, by)
    }
    were_split = {track["object_id"] for track in tracks if track["correction"] == SPLIT}
    return unchanged - _of_other_splits(were_split, were_split.intersection(settled), splits)


def _of_other_splits(
    were_split: Collection[int], settled: Collection[int], splits: Mapping[int, SplitFrom]
) -> set[int]:
    """Objects that end where another one was split from them, and of which that is new, or was withdrawn since.

    A reviewer says both halves of a split. But somebody may have spoken of the old object on that frame since, so that
    its corrections stay the same when the new half is withdrawn. New halves that are `settled` stay, withdrawn or not.
    """
    found: set[int] = set()
    for object_id, split in splits.items():
        if object_id not in settled and bool(split.now) != (object_id in were_split):
            found |= split.now or split.ever
    return found


def is_settled(track: Row, video: Row, settled: Mapping[int, datetime]) -> bool:
    """Whether reviewers have accepted or rejected a track as it is; see `ReviewedVideo.settled`."""
    seen = settled.get(track["object_id"])
    return seen is not None and labeled_at(track, video) <= seen
