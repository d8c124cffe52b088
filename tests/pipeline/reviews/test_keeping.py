"""Which tracks keep their rows in the next round."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.records import Status
from pipeline.reviews.keeping import ADDED, DISCOVER, FIX, SPLIT, TABLE, is_tried_again, is_withdrawn
from pipeline.reviews.reviewed import ReviewedVideo

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prompts", "by", "is_again"),
    [
        (TABLE, TABLE, True),
        (TABLE, DISCOVER, True),
        (DISCOVER, TABLE, False),
        (None, TABLE, True),
        (None, DISCOVER, False),
    ],
)
def test_a_track_that_failed_is_tried_again_unless_its_prompt_is_lost_with_it(
    prompts: str | None, by: str, is_again: bool
) -> None:
    """What a track says of its prompts counts before what made those of the job."""
    assert is_tried_again({"status": Status.FAILED, "prompts": prompts}, by) == is_again
    assert not is_tried_again({"status": Status.OK, "prompts": prompts}, by)


@pytest.mark.parametrize(
    ("correction", "review", "leaves"),
    [
        (ADDED, ReviewedVideo(newest={1: NOON}), True),
        (SPLIT, ReviewedVideo(newest={1: NOON}), True),
        (FIX, ReviewedVideo(newest={1: NOON}), False),
        (None, ReviewedVideo(newest={1: NOON}), False),
        (ADDED, ReviewedVideo({1: "h"}, newest={1: NOON}), False),
        (ADDED, ReviewedVideo(), False),
    ],
)
def test_a_track_leaves_that_reviewers_have_added_and_of_which_they_took_all_back(
    correction: str | None, review: ReviewedVideo, leaves: bool
) -> None:
    assert is_withdrawn({"object_id": 1, "correction": correction}, review) == leaves
