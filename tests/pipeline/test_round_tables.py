"""The tables as they were at the end of a round of reviews, whatever was labeled, merged and deleted since."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import changes, compare, evaluate, tables
from pipeline.commits.compaction import compact
from pipeline.commits.log import CommitLog
from pipeline.commits.read_rounds import read_rounds
from pipeline.errors import NoRound, NotInJob
from pipeline.records import Reason, Status
from pipeline.reviews.corrections import write_corrections
from pipeline.reviews.reviewed import read_reviews
from pipeline.reviews.verdicts import write_verdicts
from pipeline.status import as_document, as_text, read_status
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.drawn_rounds import Rounds
from tests.support.labeled import corrected, publish
from tests.support.reviewed import verdict

TWO = {1: "cat", 2: "dog"}


def contents(job: tables.JobTables) -> dict[str, list[object]]:
    keys = [("video_id", "ascending"), ("object_id", "ascending"), ("frame_index", "ascending")]
    rows = {"masks": job.masks().to_table().sort_by(keys), "tracks": job.tracks(), "videos": job.videos()}
    return {
        name: table.drop_columns([c for c in table.column_names if c == "segment"]).to_pylist()
        for name, table in rows.items()
    }


@pytest.fixture
def rounds(tmp_path: Path, disk_storage: JobStorage) -> Rounds:
    """Two videos in one segment; a round in which one of them is labeled again."""
    job = Rounds(disk_storage, tmp_path)
    job.commit(DrawnVideo("a", TWO), DrawnVideo("b", TWO))
    return job


@pytest.mark.slow
def test_tables_of_a_round_are_those_of_its_end(rounds: Rounds) -> None:
    first = contents(rounds.open())
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", TWO, num_frames=3), DrawnVideo("c", TWO))
    second = contents(rounds.open())
    assert first != second
    assert contents(rounds.open(round=1)) == first
    assert contents(rounds.open(round=2)) == second
    assert contents(rounds.open()) == second
    rounds.begin("b", "c")
    rounds.commit(DrawnVideo("b", {1: "cat"}))
    rounds.keeper.sweep()
    compact(rounds.storage, rounds.spool)
    assert contents(rounds.open(round=1)) == first
    assert contents(rounds.open(round=2)) == second
    assert rounds.open(round=2).tracks(["c"])["object_id"].to_pylist() == [1, 2]
    now, before = rounds.open(round=3), rounds.open(round=2)
    assert now.labeled_again() == ["c"]
    rounds.keeper.forget(["a"], {"a": Reason.PROMPTS})
    assert contents(before) == second
    assert contents(now) == contents(rounds.open()), "the round of now goes on with the job"


@pytest.mark.slow
def test_a_video_in_the_middle_of_a_round_has_its_former_rows_and_is_named(rounds: Rounds) -> None:
    first = contents(rounds.open())
    rounds.begin("a")  # and the driver is killed
    job = rounds.open()
    assert job.labeled_again() == ["a"]
    assert contents(job) == contents(rounds.open(round=1)) == first
    assert job.video("a").video_id == "a"
    line = "reviews  round 2; 1 video is labeled again, with its former masks until then"
    assert line in as_text(read_status(rounds.storage)).splitlines()
    rounds.commit(DrawnVideo("a", TWO, num_frames=3))
    assert rounds.open().labeled_again() == []
    assert rounds.open(round=1).masks().to_table().num_rows > rounds.open().masks().to_table().num_rows


@pytest.mark.slow
def test_where_an_earlier_program_began_a_round_a_video_is_named_with_where_its_rows_are(rounds: Rounds) -> None:
    rounds.begin("a", is_forgotten=True)
    job = rounds.open()
    assert job.labeled_again() == job.missing(["a", "b"]) == ["a"]
    with pytest.raises(NotInJob, match=r"'a' is labeled again in round 2 and is not finished yet; .*round=1\) has its"):
        job.video("a")
    assert rounds.open(round=1).videos()["video_id"].to_pylist() == ["a", "b"]
    rounds.commit(DrawnVideo("a", TWO))
    assert rounds.open().labeled_again() == []


def test_where_the_earlier_round_is_readable_no_more_nothing_is_promised(rounds: Rounds) -> None:
    rounds.begin("a", keep=0, is_forgotten=True)
    with pytest.raises(NotInJob, match="no finished video 'a'"):
        rounds.open().video("a")


@pytest.mark.slow
def test_a_round_that_cannot_be_read_is_named_with_those_that_can(rounds: Rounds) -> None:
    with pytest.raises(NoRound, match=r"round 2 cannot be read; there is round 1: a run that takes reviews in opens"):
        rounds.open(round=2)
    old = rounds.open(round=1)
    for _ in range(3):
        rounds.begin("a", keep=1)
        rounds.commit(DrawnVideo("a", TWO))
    rounds.keeper.sweep()
    with pytest.raises(NoRound, match="there are rounds 3 to 4"):
        old.masks().to_table()
    with pytest.raises(NoRound, match=r"round 2 cannot be read; there are rounds 3 to 4: masks that were replaced"):
        rounds.open(round=2)
    assert contents(rounds.open(round=3))


@pytest.mark.slow
def test_rounds_are_found_in_the_log_however_it_was_rolled_up(rounds: Rounds) -> None:
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", TWO))
    rounds.log.roll_up()
    rounds.begin("a", "b")
    rounds.commit(DrawnVideo("a", TWO), DrawnVideo("b", TWO))
    rounds.log.roll_up()
    state = CommitLog(rounds.storage, "reader").load()
    found = read_rounds(rounds.storage, state)
    assert [(one.number, one.first, one.stop) for one in found] == [(1, 0, 2), (2, 2, 4), (3, 4, 6)]
    assert found[0].ended_at == found[1].began_at
    assert found[2].ended_at is None


@pytest.mark.slow
def test_changes_since_the_end_of_a_round_are_those_of_later_ones(
    rounds: Rounds, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", TWO))
    words = [f"output={rounds.storage.uri}"]
    assert changes.door([*words, "round=1"]) == 0
    told = capsys.readouterr().out
    assert "entries 2 to 4" in told
    assert "again    1 video: 1 corrected by reviewers; now 1 ok" in told
    assert changes.door([*words, "round=2"]) == 0
    assert "none     no video came" in capsys.readouterr().out
    assert changes.door([*words, "round=3"]) == 2
    assert "round=3: there are rounds 1 to 2 of" in capsys.readouterr().err
    assert changes.door([*words, "round=1", "entry=2"]) == 2
    assert "entry= and round= say the same thing twice" in capsys.readouterr().err


@pytest.mark.slow
def test_the_status_tells_rounds_and_rejected_tracks_and_what_waits(rounds: Rounds) -> None:
    counts = as_document(read_status(rounds.storage))
    assert "reviews" not in as_text(read_status(rounds.storage))
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", TWO))
    at = datetime.now(UTC)
    write_verdicts(rounds.storage, [{**verdict("a", 1, "reject"), "reviewed_at": at, "labeled_at": None}])
    hidden = {"video_id": "b", "object_id": 1, "frame_index": 1, "kind": "hidden"}
    write_corrections(rounds.storage, [{**hidden, "reviewer": "ann", "reviewed_at": at}])
    found = read_status(rounds.storage)
    line = "reviews  round 2; 1 track with a verdict (1 rejected); corrections of 1 video wait for the next run"
    assert line in as_text(found).splitlines()
    document = as_document(found)
    expected = {"round": 2, "oldest_round": 1, "num_verdicts": 1, "num_rejected": 1, "num_waiting": 1}
    expected |= {"num_again": 0, "num_set_back": 0, "num_gone": 0}
    assert document["reviews"] == expected
    assert document["num_masks"] == counts["num_masks"], "what a reviewer rejects is counted by the log as before"


@pytest.mark.slow
def test_the_status_tells_no_failure_of_corrections_that_were_withdrawn(rounds: Rounds) -> None:
    def correct(object_id: int, kind: str) -> None:
        row = {"video_id": "a", "object_id": object_id, "frame_index": 1, "kind": kind, "reviewer": "ann"}
        write_corrections(rounds.storage, [{**row, "reviewed_at": datetime.now(UTC)}])

    def told() -> tuple[int, int, bool, bool]:
        status = read_status(rounds.storage)
        text = as_text(status)
        counts = status.reviews.num_set_back, status.reviews.waiting.num
        return *counts, "kept     1 video could not be labeled again" in text, "it kills its worker" in text

    correct(1, "hidden")
    rounds.begin("a")
    review_hash = read_reviews(rounds.storage)["a"].review_hash
    failed = corrected("a", review_hash, Status.QUARANTINED)
    rounds.keeper.commit([publish(rounds.storage, rounds.spool, failed)])
    assert told() == (1, 0, True, True)
    correct(2, "hidden")
    assert told() == (1, 1, True, True), "the next run tries it with these"
    correct(2, "withdraw")
    assert told() == (1, 0, True, True)
    correct(1, "withdraw")
    assert told() == (0, 0, False, False), "its masks are what people want"
    assert as_document(read_status(rounds.storage))["causes"] == []
    correct(1, "hidden")
    assert told() == (1, 0, True, True), "the same correction would fail again"


@pytest.mark.slow
def test_a_pruned_job_still_knows_its_rounds_and_tells_nothing_of_them(rounds: Rounds) -> None:
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", TWO))
    second = contents(rounds.open())
    rounds.keeper.erase(lambda _: True)
    rounds.begin("b")
    rounds.commit(DrawnVideo("b", TWO))
    state = CommitLog(rounds.storage, "reader").load()
    found = read_rounds(rounds.storage, state)
    assert [(one.number, one.first, one.is_readable) for one in found] == [(1, 0, False), (2, 2, True), (3, 4, True)]
    with pytest.raises(NoRound, match=r"round 1 cannot be read"):
        rounds.open(round=1)
    assert contents(rounds.open(round=2)) == second, "the prune has summed the log up"
    rounds.log.roll_up()
    rounds.log.roll_up()
    rounds.log.roll_up()
    rounds.begin("b")
    rounds.log.roll_up()
    with pytest.raises(NoRound, match=r"round 2 cannot be read: what its log said was erased by prune=true"):
        rounds.open(round=2)


def box(left: int) -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[10:30, left : left + 20] = True
    return mask


@pytest.mark.slow
def test_what_a_round_brought_is_scored_and_compared_with_truth(
    tmp_path: Path, disk_storage: JobStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first round each mask covers a third of what it covers with the true one together, in the second all."""
    job = Rounds(disk_storage, tmp_path)
    true = {(1, step): box(10 + step) for step in range(4)}
    job.commit(DrawnVideo("a", {1: "cat"}, 4, masks={key: box(20 + key[1]) for key in true}))
    job.begin("a")
    job.commit(DrawnVideo("a", {1: "cat"}, 4, masks=true))
    truth, _ = write_job(tmp_path / "truth", (DrawnVideo("a", {1: "cat"}, 4, masks=true),), broken=())
    words = [f"truth={truth}", "pictures=false"]
    for name, more in {"now": [], "then": ["round=1"]}.items():
        to = f"to={tmp_path / name}"
        assert evaluate.door([f"output={disk_storage.uri}", to, *words, *more]) == 0
    scores = [pq.read_table(tmp_path / name / "objects.parquet")["j"].to_pylist() for name in ("then", "now")]
    assert scores == [pytest.approx([1 / 3]), pytest.approx([1])]
    sides = [f"a={disk_storage.uri}", "a_round=1", f"b={disk_storage.uri}", f"to={tmp_path / 'both'}"]
    assert compare.door([*sides, *words]) == 0
    (row,) = pq.read_table(tmp_path / "both" / "tracks.parquet").to_pylist()
    assert (row["difference"], row["iou_mean"]) == ("masks", pytest.approx(1 / 3))
    assert row["j_and_f_a"] < 0.5 < row["j_and_f_b"] == pytest.approx(1)
    assert "at the end of round 1" in (tmp_path / "both" / "comparison.html").read_text()
    capsys.readouterr()
    assert evaluate.door([f"output={disk_storage.uri}", *words, "round=3"]) == 2
    assert "round 3 cannot be read; there are rounds 1 to 2" in capsys.readouterr().err
