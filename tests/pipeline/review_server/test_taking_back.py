"""Taking a saved correction back by the page's endpoint: no model is needed for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.reviews.verdicts import read_verdicts
from tests.support.reviewing import Client
from tests.support.waiting import clock_moves_on

KEY = ("clip-1", 7)
NAMES = {"video_id": KEY[0], "object_id": KEY[1]}


def saved(client: Client, reviewer: str, counts: str) -> dict[str, Any]:
    """What fix mode writes of frame 5, and answers."""
    clock_moves_on()
    now = datetime.now(UTC)
    row = {**NAMES, "frame_index": 5, "kind": "mask", "mask_rle": {"size": [4, 4], "counts": counts}}
    path = write_corrections(client.state.storage, [row | {"reviewer": reviewer, "reviewed_at": now}])
    verdict, _ = client.state.book.write({**NAMES, "verdict": "fix", "reviewer": reviewer, "reviewed_at": now})
    return {"path": path, "verdict_path": verdict.path}


def test_an_earlier_reviewers_correction_and_verdict_count_again(client: Client) -> None:
    saved(client, "ann", "04<")
    mine = saved(client, "dan", "88")
    assert client.post("api/fix/withdraw", {**NAMES, "reviewer": "dan", **mine})["verdict_path"] is None
    (one,) = read_corrections(client.state.storage)[KEY[0]]
    assert (one.reviewer, one.rle) == ("ann", {"size": [4, 4], "counts": "04<"})
    assert read_verdicts(client.state.storage)[KEY].reviewer == "ann"


def test_two_of_my_own_are_taken_back_one_after_the_other_with_their_verdicts(client: Client) -> None:
    first, second = saved(client, "dan", "04<"), saved(client, "dan", "88")
    told = client.post("api/fix/withdraw", {**NAMES, "reviewer": "dan", **second})
    first["verdict_path"] = told["verdict_path"]
    client.post("api/fix/withdraw", {**NAMES, "reviewer": "dan", **first})
    assert read_corrections(client.state.storage) == {}
    assert read_verdicts(client.state.storage) == {}


def test_what_another_reviewer_has_said_since_stays_and_is_told(client: Client) -> None:
    mine = saved(client, "dan", "88")
    saved(client, "ann", "04<")
    told = client.post("api/fix/withdraw", {**NAMES, "reviewer": "dan", **mine}, status=400)
    assert "ann has spoken of object 7 on frame 5 since" in told["error"]
    assert read_corrections(client.state.storage)[KEY[0]][0].reviewer == "ann"
