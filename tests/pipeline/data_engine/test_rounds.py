"""What rounds of reviews brought, and whether another one is worth it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tables
from pipeline.commits.read_rounds import RoundEntries, read_rounds
from pipeline.data_engine.another_round import ErrorLeft, Unseen, another_round, error_left
from pipeline.data_engine.audit import Rate
from pipeline.data_engine.differences import compare_people
from pipeline.data_engine.round_facts import Changed, Labeled, Looked, Round, looked_at, read_facts
from pipeline.notebook.rows import Rows
from pipeline.review_server.verdict_book import VerdictBook
from pipeline.reviews.corrections import write_corrections
from pipeline.rounds import door
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo
from tests.support.drawn_rounds import Rounds
from tests.support.reviewed import say_of
from tests.support.waiting import clock_moves_on

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def said(video_id: str, object_id: int, verdict: str, seconds: float | None = None, **more: Any) -> dict[str, Any]:
    row = {"video_id": video_id, "object_id": object_id, "verdict": verdict, "reviewer": "ann", "reviewed_at": NOW}
    return row | {"seconds": seconds, "is_audit": None} | more


def corrected(video_id: str, object_id: int, kind: str = "hidden", **more: Any) -> dict[str, Any]:
    row = {"video_id": video_id, "object_id": object_id, "frame_index": 1, "kind": kind}
    return row | {"reviewer": "ann", "reviewed_at": NOW, "seconds": 8.0} | more


def test_the_newest_verdict_of_a_track_counts_and_all_of_the_time_once() -> None:
    later = NOW + timedelta(minutes=1)
    found = looked_at(
        [
            said("a", 1, "reject", 10),
            said("a", 1, "accept", 5, reviewed_at=later, reviewer="bob"),
            said("a", 2, "fix", 20, is_audit=True),
            said("a", 3, "skip", 4),
            said("b", 1, "accept", is_audit=True),
            said("b", 2, "reject", 1),
            said("b", 2, "withdraw", 1, reviewed_at=later),
        ],
        [corrected("a", 2), corrected("a", 2, "withdraw"), corrected("c", 1)],
    )
    assert found.verdicts == {"accept": 2, "fix": 1}
    assert (found.num_tracks, found.num_corrections, found.reviewers) == (3, 1, ("ann", "bob")), "(a, 2) was withdrawn"
    # Of the 20 s of the verdict on (a, 2) 16 are those of its corrections; (c, 1) has a correction alone.
    assert found.seconds == 10 + 5 + 20 + 4 + 2 + 8
    assert (found.seen, found.audit) == (Rate(0, 1), Rate(1, 2))


def test_a_track_that_was_drawn_by_lot_stays_in_the_sample_when_somebody_thinks_again() -> None:
    """Whoever opened it again outside of the queue took it out of the sample, and a mended one is opened again."""
    later, last = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    first = said("a", 1, "accept", is_audit=True)
    again = looked_at([first, said("a", 1, "fix", reviewed_at=later)], [])
    assert (again.seen, again.audit) == (Rate(0, 0), Rate(1, 1))
    anew = [first, said("a", 1, "withdraw", reviewed_at=later), said("a", 1, "fix", reviewed_at=last)]
    assert (looked_at(anew, []).seen, looked_at(anew, []).audit) == (Rate(1, 1), Rate(0, 0)), "it was taken back"


def test_what_was_taken_back_and_corrections_that_fit_no_frame_took_time_and_do_not_count() -> None:
    later = NOW + timedelta(minutes=1)
    found = looked_at(
        [said("a", 1, "fix", 10), said("a", 1, "withdraw", reviewed_at=later)],
        [
            corrected("a", 1),
            corrected("a", 1, "withdraw", reviewed_at=later, seconds=None),
            corrected("a", 2, frame_index=3),
            corrected("a", 2, frame_index=3, reviewed_at=later),  # once more on the same frame
            corrected("a", 2, frame_index=4),
            corrected("unknown", 1),
        ],
        {"a": 4},
    )
    assert (found.num_tracks, dict(found.verdicts), found.num_corrections) == (0, {}, 1)
    assert found.seconds == 10 + 3 * 8 + 8


def test_people_differ_where_one_accepts_what_another_finds_bad() -> None:
    later, last = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    bob: dict[str, Any] = {"reviewer": "bob", "reviewed_at": later}
    verdicts = [
        said("a", 1, "accept"),
        said("a", 1, "reject", **bob),
        said("a", 2, "fix"),
        said("a", 2, "reject", **bob),  # both find it bad
        said("b", 1, "accept"),
        said("b", 1, "reject", **bob),
        said("b", 1, "withdraw", **bob | {"reviewed_at": last}),
        said("b", 2, "accept"),
        said("b", 2, "skip", **bob),
        said("c", 1, "reject"),
        said("c", 1, "fix", **bob),
        said("c", 1, "accept", reviewed_at=last),  # ann has thought again
    ]
    found = compare_people(verdicts)
    assert found.num_tracks == 3, "a 1, a 2 and c 1"
    assert [(one.video_id, one.object_id, list(one.verdicts.items())) for one in found.differences] == [
        ("a", 1, [("ann", "accept"), ("bob", "reject")]),
        ("c", 1, [("bob", "fix"), ("ann", "accept")]),
    ]
    together = looked_at(verdicts, [])
    assert {name: dict(alone.verdicts) for name, alone in together.people.items()} == {
        "ann": {"accept": 4, "fix": 1},
        "bob": {"reject": 2, "fix": 1},
    }
    assert looked_at(verdicts[:1], []).people == {}, "of one person the line above says all"


@pytest.mark.slow
def test_tracks_of_which_people_say_different_things_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)
    job.commit(DrawnVideo("a", dict.fromkeys(range(1, 9)), 12))
    at = datetime.now(UTC)
    for number in range(1, 9):
        second = {"reviewer": "bob", "reviewed_at": at + timedelta(milliseconds=5)}
        say_of(job.storage.uri, said("a", number, "accept", reviewed_at=at))
        say_of(job.storage.uri, said("a", number, "accept" if number == 2 else "reject", **second))
    assert door([f"output={job.storage.uri}"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  differ    ")]
    assert line.startswith(
        "  differ    7 of 8 tracks that several people judged: object 1 of a (ann accept, bob reject), object 3 of a"
    )
    assert line.endswith("object 6 of a (ann accept, bob reject), and 2 more (json=true names all)")


@pytest.mark.slow
def test_what_an_undo_says_once_more_is_no_new_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)
    job.commit(DrawnVideo("a", {1: "cat", 2: "dog"}, 4), DrawnVideo("b", {1: None}))
    book = VerdictBook(job.storage)
    moment = datetime.now(UTC) - timedelta(minutes=1)
    book.write(said("a", 1, "fix", 10.0, reviewed_at=moment))
    book.write(said("a", 2, "accept", 4.0, reviewed_at=moment))
    dan, _ = book.write(said("a", 2, "reject", 2.0, reviewed_at=moment + timedelta(seconds=1), reviewer="dan"))
    assert book.undo(dan.path, ("a", 2), "dan") is not None
    write_corrections(
        job.storage,
        [
            corrected("a", 1, reviewed_at=moment, seconds=None),
            corrected("a", 1, frame_index=99, reviewed_at=moment, seconds=None),
            corrected("nowhere", 1, reviewed_at=moment, seconds=None),
        ],
    )
    clock_moves_on()  # tables of reviews count milliseconds
    job.begin("b")
    clock_moves_on()
    dan, _ = book.write(said("a", 1, "reject", 7.0, reviewed_at=datetime.now(UTC), reviewer="dan"))
    clock_moves_on()
    assert book.undo(dan.path, ("a", 1), "dan") is not None
    job.commit(DrawnVideo("b", {1: None}))
    assert door([f"output={job.storage.uri}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  looked at ")]
    assert lines == [
        # Until round 2, ann's verdicts stand: the second one because dan took his back.
        "  looked at 2 tracks by ann, dan: 1 accept, 1 fix, 1 corrected frame; 16 s of work",
        "  looked at nothing that counts: what dan said was skipped, taken back or does not fit; 7 s of work",
    ]


def one_round(number: int, looked: Looked = Looked(), changed: Changed | None = None) -> Round:  # noqa: B008
    return Round(RoundEntries(number, 0, 1, NOW, None, True), Labeled(1, 1, 1), looked, changed)


def looked(audit: Rate, seen: Rate = Rate(20, 40), seconds: float = 600.0) -> Looked:  # noqa: B008
    return Looked({"accept": 1}, audit.num + seen.num, 0, ("ann",), seconds, seen, audit)


MOVED = Changed(10, 10, iou_mean=0.75, worst=("a", 1), worst_iou=0.1)


@pytest.mark.parametrize(
    ("rounds", "is_worth", "words"),
    [
        ([one_round(1)], None, "not known: nobody has looked at tracks drawn by lot"),
        ([one_round(1, looked(Rate(0, 400)))], False, "no: 0.0% (0.0% … 1.0%)"),
        ([one_round(1, looked(Rate(0, 10)))], False, "though the interval reaches beyond: look at more tracks drawn"),
        ([one_round(1, looked(Rate(2, 10)))], True, "what corrections change is not known before a run"),
        # 50 tracks in 600 s; half of them are bad: 25 tracks of 100 masks, of which a quarter moves. 600 / 625 = 1.0.
        ([one_round(1, looked(Rate(2, 10))), one_round(2, changed=MOVED)], True, "625 masks, 1.0 s each"),
        ([one_round(1, looked(Rate(2, 10), seconds=6000)), one_round(2, changed=MOVED)], False, "9.6 s each, where"),
        # Only 2 % of 500 tracks are bad: 10, though half of those looked at were.
        ([one_round(1, looked(Rate(1, 40), Rate(5, 10))), one_round(2, changed=MOVED)], True, "finds about 12 of them"),
    ],
)  # fmt: skip
def test_another_round_is_worth_it_while_it_mends_masks_for_less_than_they_cost_by_hand(
    rounds: Sequence[Round], is_worth: bool | None, words: str
) -> None:
    left = error_left(rounds, Unseen(num_tracks=500, masks_per_track=100.0))
    found = another_round(rounds, left, good_enough=0.02)
    assert found.is_worth is is_worth
    assert words in found.sentence
    assert found.sentence.startswith({True: "yes: ", False: "no: ", None: "not known: "}[is_worth])


def test_no_round_is_worth_it_where_nothing_is_left_to_look_at() -> None:
    for rounds in ([one_round(1)], [one_round(1, looked(Rate(5, 10)))]):
        found = another_round(rounds, error_left(rounds, Unseen(0, 0.0)), good_enough=0.02)
        assert found.is_worth is False
        assert found.sentence == "no: somebody has looked at every visible track as it is now"


def test_the_error_left_is_that_of_the_last_round_with_tracks_drawn_by_lot() -> None:
    rounds = [one_round(1, looked(Rate(5, 10))), one_round(2, looked(Rate(1, 20))), one_round(3)]
    left = error_left(rounds, Unseen(200, 10.0))
    assert isinstance(left, ErrorLeft)
    assert (left.number, left.num_bad) == (2, 10.0)
    low, high = left.bounds
    # Wilson's interval of 1 in 20, as R's `binom::binom.wilson(1, 20)` gives it: 0.0089 … 0.2361.
    assert (round(low / 200, 4), round(high / 200, 4)) == (0.0089, 0.2361)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two videos; ann corrects object 1 of one, bob rejects one drawn by lot; a second round takes that in."""
    folder = tmp_path_factory.mktemp("rounds")
    job = Rounds(JobStorage(str(folder / "job")), folder)
    full, half = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    full[:, :] = True
    half[:, :4] = True
    first = {(number, step): full for number in (1, 2) for step in range(4)}
    job.commit(DrawnVideo("a", {1: "cat", 2: "dog"}, 4, masks=first), DrawnVideo("b", {1: None, 5: None}))
    began = datetime.now(UTC)
    write_corrections(job.storage, [corrected("a", 1, reviewed_at=began, seconds=12.0)])
    say_of(
        job.storage.uri,
        said("a", 1, "fix", 30.0, reviewed_at=began),
        said("a", 2, "accept", 10.0, reviewed_at=began),
        said("b", 5, "reject", 5.0, reviewed_at=began, is_audit=True, reviewer="bob"),
    )
    job.begin("a")
    again = first | {(1, step): half for step in (1, 3)}
    job.commit(DrawnVideo("a", {1: "cat", 2: "dog"}, 4, masks=again), kept=[("a", 2)])
    return job.storage.uri


@pytest.mark.slow
def test_rounds_are_told_in_a_few_lines(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"maskmill: rounds of reviews of {job}"
    assert lines[2:8] == [
        "  labeled   4 objects of 2 videos, 19 masks",
        "  gone      1 object: 1 rejected",
        "  looked at 3 tracks by ann, bob: 1 accept, 1 fix, 1 reject, 1 corrected frame; 45 s of work",
        "  of these  2 tracks by ann: 1 accept, 1 fix, 1 corrected frame; 40 s of work",
        "  of these  1 track by bob: 1 reject; 5 s of work",
        "  by lot    1 of 1 bad: 100.0% (20.7% … 100.0% at 95 %)",
    ]
    assert lines[9:12] == [
        "  labeled   1 object of 1 video, 4 masks",
        # Half of the pixels on two of four frames: (1 + 0.5 + 1 + 0.5) / 4.
        "  changed   1 object labeled again: mean IoU with the former masks 0.75, lowest 0.75 of object 1 of a",
        "  looked at nothing",
    ]
    assert (
        lines[-2] == "left     2 tracks at which nobody has looked as they are now, about 2 of them bad (0 … 2 at 95 %)"
    )
    assert lines[-1].startswith(
        "another  no: 100.0% (20.7% … 100.0%) of the tracks at which nobody has looked are bad;"
    )
    assert lines[-1].endswith("24.0 s each, where one by hand takes 4.5 s")


@pytest.mark.slow
def test_rounds_are_a_document_for_programs(job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "rounds.json"
    assert door([f"output={job}", "json=true", f"to={place}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(place.read_text())
    first, second = found["rounds"]
    assert [(one["round"], one["first_entry"], one["entry"]) for one in (first, second)] == [(1, 0, 2), (2, 2, 4)]
    assert first["looked_at"]["seconds"] == 45.0
    assert [(one["reviewer"], one["num_tracks"], one["seconds"]) for one in first["looked_at"]["people"]] == [
        ("ann", 2, 40.0),
        ("bob", 1, 5.0),
    ]
    assert (first["looked_at"]["num_compared"], first["looked_at"]["differences"]) == (0, [])
    assert second["looked_at"]["people"] == []
    assert second["changed"]["iou_mean"] == pytest.approx(0.75)
    assert second["labeled"] == {"num_videos": 1, "num_objects": 1, "num_masks": 4}
    assert [one["gone"] for one in (first, second)] == [
        {"num_without_masks": 0, "num_rejected": 1},
        {"num_without_masks": 0, "num_rejected": 0},
    ]
    # Of the tracks that are there now (a, 1) was labeled again since, and (b, 1) was never looked at.
    assert found["left"]["num_unseen"] == 2
    assert found["another"]["is_worth"] is False


@pytest.mark.slow
def test_objects_that_left_are_told_in_the_round_in_which_they_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)

    def say(object_id: int, verdict: str) -> None:
        clock_moves_on()  # tables of reviews count milliseconds
        say_of(job.storage.uri, said("a", object_id, verdict, reviewed_at=datetime.now(UTC)))

    job.commit(DrawnVideo("a", {1: None, 2: None, 7: None}), DrawnVideo("b", {1: None}), DrawnVideo("c", {1: None}))
    for object_id, verdict in ((1, "reject"), (2, "reject"), (2, "accept")):
        say(object_id, verdict)
    clock_moves_on()
    job.begin("a", "b", "c")
    job.commit(DrawnVideo("a", {1: None, 2: None}), DrawnVideo("b", {}), kept=[("a", 1), ("a", 2)])
    job.keeper.forget(["c"])  # it waits to be labeled again as a whole
    for object_id, verdict in ((1, "reject"), (2, "reject")):
        say(object_id, verdict)
    clock_moves_on()
    job.begin("a")
    job.commit(DrawnVideo("a", {}))
    assert door([f"output={job.storage.uri}"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("  gone ")] == [
        "  gone      1 object: 1 rejected",
        "  gone      3 objects: 2 without masks now, 1 rejected",
    ], "in the third round both objects lost their masks, and each is told once"


def test_a_job_without_reviews_has_one_round_and_no_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)
    job.commit(DrawnVideo("a", {1: None}))
    assert door([f"output={job.storage.uri}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  looked at nothing" in lines
    assert lines[-1].startswith("another  not known: nobody has looked")


@pytest.mark.slow
def test_what_is_not_known_any_more_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)
    job.commit(DrawnVideo("a", {1: None}))
    for _ in range(2):
        job.begin("a", keep=0)
        job.commit(DrawnVideo("a", {1: None}))
    assert door([f"output={job.storage.uri}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("  labeled")] == [
        "  labeled   1 video; their tables are deleted (keep_rounds=)",
        "  labeled   1 video; their tables are deleted (keep_rounds=)",
        "  labeled   1 object of 1 video, 6 masks",
    ]


def test_a_place_without_a_job_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={tmp_path}/none"]) == 2
    assert "holds no job" in capsys.readouterr().err


@pytest.mark.slow
def test_of_the_videos_with_objects_to_compare_no_other_objects_are_read(tmp_path: Path) -> None:
    """Up to 32 videos were read with all that they have, for one object of each."""
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)
    box, moved = np.zeros((48, 64), bool), np.zeros((48, 64), bool)
    box[:, :20] = moved[:, 10:30] = True
    masks = {(object_id, frame): box for object_id in range(9) for frame in range(4)}
    videos = [DrawnVideo(name, dict.fromkeys(range(9)), 4, masks=masks) for name in "abc"]
    job.commit(*videos)
    job.begin("a", "b", "c")
    again = [replace(video, masks=masks | {(2, frame): moved for frame in range(4)}) for video in videos]
    job.commit(*again, kept=[(name, object_id) for name in "abc" for object_id in range(9) if object_id != 2])
    num_read = []

    class Watched(tables.JobTables):
        def masks(self, *args: Any, **options: Any) -> Rows:
            rows = super().masks(*args, **options)
            num_read.append(rows.count_rows())
            return rows

    state = tables.open(job.storage.uri).state
    first, second = read_facts(
        job.storage, read_rounds(job.storage, state), lambda number: Watched(job.storage, state, round=number), 200
    )
    assert first.changed is None
    assert second.changed is not None
    assert (second.changed.num_objects, second.changed.num_compared) == (3, 3)
    assert second.changed.iou_mean == pytest.approx(1 / 3)
    assert num_read == [3 * 4, 3 * 4]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [[], [("a", 1)]])
def test_masks_that_a_correction_added_before_the_former_ones_count_whatever_else_was_corrected(
    tmp_path: Path, kept: list[tuple[str, int]]
) -> None:
    """They counted only where another object of the video was labeled again, too, and had masks there before."""
    job = Rounds(JobStorage(str(tmp_path / "job")), tmp_path)
    box = np.ones((48, 64), bool)
    late = {(object_id, frame): box for object_id in (0, 1) for frame in range(10) if object_id or frame >= 5}
    video = DrawnVideo("a", {0: None, 1: None}, 10, masks=late)
    job.commit(video)
    job.begin("a")
    job.commit(replace(video, masks=late | {(0, frame): box for frame in range(2, 5)}), kept=kept)
    state = tables.open(job.storage.uri).state
    spans = read_rounds(job.storage, state)
    changed = read_facts(job.storage, spans, lambda number: tables.JobTables(job.storage, state, round=number), 200)[
        -1
    ].changed
    assert changed is not None
    assert (changed.worst, changed.worst_iou) == (("a", 0), pytest.approx(5 / 8)), "of 8 frames 3 had no mask"
    assert changed.num_objects == 2 - len(kept)
