"""Which tracks keep their rows in the next round."""

from __future__ import annotations

import pytest

from pipeline.records import Status
from pipeline.reviews.keeping import DISCOVER, TABLE, is_tried_again


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
