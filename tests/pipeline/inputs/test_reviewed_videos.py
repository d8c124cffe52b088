"""Which videos are labeled again for what people said of them."""

from __future__ import annotations

import pytest

from pipeline.commits.finished import FinishedVideo
from pipeline.commits.setbacks import Setback
from pipeline.inputs.reviewed_videos import is_corrected, taken_back
from pipeline.records import Status
from pipeline.reviews.reviewed import ReviewedVideo

HIDDEN = ReviewedVideo({1: "h"}, files=("reviews/c",))
MASK = ReviewedVideo({1: "h"}, files=("reviews/c",), shown=frozenset({1}))


@pytest.mark.parametrize(
    ("status", "prompt_hash", "review", "is_again"),
    [
        (Status.OK, "p", HIDDEN, True),
        (Status.FAILED, "p", HIDDEN, False),
        (Status.FAILED, "", HIDDEN, True),
        (Status.FAILED, "", MASK, False),
        (Status.NO_PROMPTS, "", HIDDEN, False),
        (Status.NO_PROMPTS, "", MASK, True),
    ],
)
def test_a_video_that_failed_waits_for_retry_unless_only_masks_prompted_it_that_are_withdrawn(
    status: Status, prompt_hash: str, review: ReviewedVideo, is_again: bool
) -> None:
    assert is_corrected(review, FinishedVideo(status, prompt_hash, "s")) == is_again
    same = FinishedVideo(status, prompt_hash, "s", review_hash=review.review_hash)
    assert not is_corrected(review, same), "it was labeled with these corrections"


def test_corrections_are_taken_back_where_those_of_the_masks_count_again() -> None:
    def set_back(labeled_with: str, failed_with: str) -> FinishedVideo:
        setback = Setback(Status.FAILED, failed_with, "crash", "", 1)
        return FinishedVideo(Status.OK, "p", "s", review_hash=labeled_with, setback=setback)

    done = {
        "withdrawn": set_back("", "h2"),
        "still said": set_back("", MASK.review_hash),
        "tried again": set_back("", ""),
        "not looked at": set_back("", "h2"),
    }
    reviews = {"withdrawn": ReviewedVideo(), "still said": MASK, "tried again": ReviewedVideo()}
    assert taken_back(reviews, done, done) == {"withdrawn"}
