"""What fix mode saves by its endpoint, of masks that are there already: no network is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.mending.correction import Correction
from pipeline.review_server.answers import ReviewError
from pipeline.review_server.fixing import Fixing
from pipeline.reviews.corrections import read_corrections
from pipeline.reviews.verdicts import read_verdict_files
from tests.support.reviewing import Client, reviewing
from tests.support.unseen_correction import unseen_correction

KEY = ("clip-1", 3)


def fixing(client: Client, correction: Correction) -> Fixing:
    return Fixing(client.state, cast("Any", SimpleNamespace(correction=lambda correction_id: correction)))


def verdicts(client: Client) -> list[dict[str, Any]]:
    return [row for _, rows in read_verdict_files(client.state.storage) for row in rows]


@pytest.mark.slow
def test_a_fix_of_a_track_that_was_drawn_by_lot_says_so_as_other_verdicts_do(output: str) -> None:
    with reviewing(output, queue={KEY: True, ("clip-1", 7): False}) as client:
        for object_id in (3, 7):
            key = "clip-1", object_id
            fixing(client, unseen_correction(object_id, key=key)).save({"id": "one"})
        assert {row["object_id"]: row["is_audit"] for row in verdicts(client)} == {3: True, 7: False}


def test_comment_and_category_are_saved_with_the_verdict(client: Client) -> None:
    body = {"id": "one", "comment": "the left wheel", "category": "cart"}
    fixing(client, unseen_correction(KEY[1], key=KEY)).save(body)
    (row,) = verdicts(client)
    assert (row["verdict"], row["comment"], row["category"]) == ("fix", "the left wheel", "cart")
    with pytest.raises(ReviewError, match="comment needs a text"):
        fixing(client, unseen_correction(KEY[1], key=KEY)).save({"id": "one", "comment": 3})


def test_a_split_that_is_taken_back_can_be_made_again(client: Client) -> None:
    server = fixing(client, unseen_correction(KEY[1], key=KEY))
    told = server.save({"id": "one", "is_split": True})
    server.withdraw({"id": "one", "video_id": KEY[0], "object_id": KEY[1], **told})
    assert read_corrections(client.state.storage) == {}
    server.save({"id": "one", "is_split": True})
    assert len(read_corrections(client.state.storage)[KEY[0]]) == 2
