"""The key `u` of a later visit: what a reviewer has said last of a track is taken back, and never what others said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.reviews.verdicts import read_verdicts, write_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.reviewing import Client, reviewing

KEY = ("clip-1", 7)
NAMES = {"video_id": KEY[0], "object_id": KEY[1]}
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
MASKS = ({"size": [48, 64], "counts": "04<"}, {"size": [48, 64], "counts": "88"})


def said(output: str, verdict: str, minute: int, reviewer: str = "ann", **more: Any) -> None:
    by = {"reviewer": reviewer, "reviewed_at": BEGIN + timedelta(minutes=minute)}
    write_verdicts(JobStorage(output), [NAMES | {"verdict": verdict} | by | more])


def fixed(output: str, minute: int, frame: int = 5, reviewer: str = "ann", mask: Any = MASKS[0]) -> None:
    """What fix mode writes: a correction and a verdict of the same moment."""
    by = {"reviewer": reviewer, "reviewed_at": BEGIN + timedelta(minutes=minute)}
    row = {**NAMES, "frame_index": frame, "kind": "mask", "mask_rle": mask, "seconds": float(minute)}
    write_corrections(JobStorage(output), [row | by])
    said(output, "fix", minute, reviewer, frame_index=frame, seconds=float(minute))


def undo(client: Client, status: int = 200, reviewer: str = "ann", **more: Any) -> dict[str, Any]:
    return client.post("api/undo", {**NAMES, "reviewer": reviewer, **more}, status)


def counting(client: Client) -> dict[int, tuple[str, str]]:
    """Who has drawn the mask that counts, by frame."""
    found = read_corrections(client.state.storage).get(KEY[0], ())
    return {one.frame_index: (one.reviewer, (one.rle or {})["counts"]) for one in found}


def verdict(client: Client) -> str | None:
    opinion = read_verdicts(client.state.storage).get(KEY)
    return None if opinion is None else f"{opinion.reviewer} {opinion.verdict.value}"


def test_a_fix_of_an_earlier_visit_is_taken_back_with_its_verdict(output: str) -> None:
    said(output, "accept", 1)
    fixed(output, 2)
    with reviewing(output) as client:
        told = undo(client)
        assert told["frames"] == [5]
        assert told["path"].startswith("reviews/corrections")
        assert told["current"]["verdict"] == "accept"
        assert counting(client) == {}
        assert verdict(client) == "ann accept"
        assert undo(client)["current"] is None
        assert verdict(client) is None
        assert undo(client, 409)["error"] == "you have said nothing of this track"


@pytest.mark.slow
def test_several_fixes_are_taken_back_one_after_the_other_over_visits(output: str) -> None:
    fixed(output, 1)
    fixed(output, 2, mask=MASKS[1])
    fixed(output, 3, frame=2)
    with reviewing(output) as client:
        assert undo(client)["frames"] == [2]
        assert counting(client) == {5: ("ann", "88")}
    with reviewing(output) as client:
        assert undo(client)["frames"] == [5]
        assert counting(client) == {5: ("ann", "04<")}
        assert verdict(client) == "ann fix"
    with reviewing(output) as client:
        assert undo(client)["frames"] == [5]
        assert counting(client) == {}
        assert verdict(client) is None


def test_a_verdict_after_a_fix_is_taken_back_first(output: str) -> None:
    fixed(output, 1)
    said(output, "reject", 2, comment="hopeless")
    with reviewing(output) as client:
        told = undo(client)
        assert (told["frames"], told["taken"]["comment"]) == ([], "hopeless")
        assert verdict(client) == "ann fix"
        assert counting(client) == {5: ("ann", "04<")}


def test_where_somebody_else_spoke_since_nothing_is_taken_back_and_it_is_told(output: str) -> None:
    fixed(output, 1)
    fixed(output, 2, frame=3, reviewer="bob")
    with reviewing(output) as client:
        assert undo(client, 409)["error"] == "nothing is taken back: bob has said fix of this track since"
        assert undo(client, 409, reviewer="eve")["error"] == (
            "nothing of this track is yours: bob has said fix of this track"
        )
        assert counting(client) == {5: ("ann", "04<"), 3: ("bob", "04<")}
        assert undo(client, reviewer="bob")["frames"] == [3]
        assert undo(client)["frames"] == [5], "bob has taken back what stood in the way"


def test_a_correction_of_a_frame_that_another_has_drawn_since_stays(output: str) -> None:
    fixed(output, 1)
    with reviewing(output) as client:
        row = {**NAMES, "frame_index": 5, "kind": "mask", "mask_rle": MASKS[1], "reviewer": "bob"}
        write_corrections(client.state.storage, [row | {"reviewed_at": BEGIN + timedelta(minutes=2)}])
        assert "bob has spoken of object 7 on frame 5 since" in undo(client, 409)["error"]
        assert counting(client) == {5: ("bob", "88")}


def test_fix_mode_takes_back_a_fix_alone(output: str) -> None:
    fixed(output, 1)
    said(output, "accept", 2)
    with reviewing(output) as client:
        assert undo(client, of="fix")["frames"] == [5]
        assert verdict(client) == "ann accept"
        assert "you have corrected nothing of object 7" in undo(client, 409, of="fix")["error"]


def document(output: str, minute: int, frames: dict[int, int], comment: str | None = None, says: bool = True) -> None:
    """What comes back from CVAT: a file for all tracks. `frames` are those that are corrected, by object."""
    by = {"reviewer": "ann", "reviewed_at": BEGIN + timedelta(minutes=minute), "handout": "h1"}
    rows = [
        {"video_id": KEY[0], "object_id": one, "frame_index": frame, "kind": "mask", "mask_rle": MASKS[minute % 2]}
        for one, frame in frames.items()
    ]
    write_corrections(JobStorage(output), [row | by for row in rows])
    verdicts = [{"video_id": KEY[0], "object_id": one, "verdict": "fix", "comment": comment, **by} for one in frames]
    if says:
        write_verdicts(JobStorage(output), verdicts)


def test_of_a_document_from_another_program_one_track_is_taken_back_with_its_verdict(output: str) -> None:
    said(output, "accept", 1)
    document(output, 2, {7: 5, 3: 5})
    row = {"video_id": KEY[0], "object_id": 3, "frame_index": 5, "kind": "hidden", "reviewer": "bob"}
    write_corrections(JobStorage(output), [row | {"reviewed_at": BEGIN + timedelta(minutes=3)}])
    with reviewing(output) as client:
        told = undo(client)
        assert (told["frames"], told["taken"]["verdict"], told["current"]["verdict"]) == ([5], "fix", "accept")
        assert verdict(client) == "ann accept"
        (left,) = read_corrections(client.state.storage)[KEY[0]]
        assert (left.object_id, left.reviewer) == (3, "bob")
        assert read_verdicts(client.state.storage)[KEY[0], 3].verdict == "fix"


@pytest.mark.slow
def test_the_verdict_of_a_handout_stays_until_its_last_correction_is_taken_back(output: str) -> None:
    document(output, 1, {7: 5})
    document(output, 2, {7: 2}, says=False)  # the verdict is the same, and is not written again
    document(output, 4, {7: 5}, says=False)
    with reviewing(output) as client:
        for left in ({2: ("ann", "04<"), 5: ("ann", "88")}, {5: ("ann", "88")}):
            assert undo(client)["taken"] is None
            assert (counting(client), verdict(client)) == (left, "ann fix")
        assert undo(client)["taken"]["verdict"] == "fix"
        assert (counting(client), verdict(client)) == ({}, None)


def test_what_a_later_document_remarks_is_taken_back_before_the_correction(output: str) -> None:
    document(output, 1, {7: 5})
    said(output, "fix", 2, handout="h1", comment="hopeless")
    with reviewing(output) as client:
        assert undo(client)["taken"]["comment"] == "hopeless"
        assert (counting(client), verdict(client)) == ({5: ("ann", "88")}, "ann fix")
        assert undo(client)["frames"] == [5]
        assert (counting(client), verdict(client)) == ({}, None)


def split(output: str, handout: str | None = None) -> None:
    """Track 7 ends on frame 5, where track 3 begins."""
    row = {"video_id": KEY[0], "frame_index": 5, "reviewer": "ann", "reviewed_at": BEGIN, "handout": handout}
    row["seconds"] = None if handout else 2.0
    rows: list[dict[str, Any]] = [
        row | {"object_id": 7, "kind": "hidden"},
        row | {"object_id": 3, "kind": "mask", "mask_rle": MASKS[0], "split_from": 7},
    ]
    if handout:
        rows.append(row | {"object_id": 7, "kind": "mask", "mask_rle": MASKS[0], "frame_index": 1})
    write_corrections(JobStorage(output), rows)
    of = {"seconds": None, "handout": handout} if handout else {"seconds": 2.0, "frame_index": 5}
    said(output, "fix", 0, **of)


def test_a_split_that_is_taken_back_on_its_new_track_takes_the_verdict_of_the_old_one_along(output: str) -> None:
    said(output, "accept", -1)
    split(output)
    with reviewing(output) as client:
        assert undo(client, object_id=3)["frames"] == [5]
        assert (counting(client), verdict(client)) == ({}, "ann accept")


def test_the_old_track_of_a_split_stays_fixed_where_the_document_corrects_it_elsewhere(output: str) -> None:
    split(output, "h1")
    with reviewing(output) as client:
        undo(client, object_id=3)
        assert (counting(client), verdict(client)) == ({1: ("ann", "04<")}, "ann fix")
        undo(client)
        assert (counting(client), verdict(client)) == ({}, None)


def test_three_verdicts_of_one_visit_are_taken_back_by_their_files(client: Client) -> None:
    paths = [client.say(*KEY, word)["path"] for word in ("accept", "reject", "fix")]
    lefts = ("ann reject", "ann accept", None)
    for path, word, left in zip(reversed(paths), ("fix", "reject", "accept"), lefts, strict=True):
        assert undo(client, path=path)["taken"]["verdict"] == word
        assert verdict(client) == left
