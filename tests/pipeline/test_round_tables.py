"""The tables as they were at the end of a round of reviews, whatever was labeled, merged and deleted since."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import tables
from pipeline.commits.compaction import compact
from pipeline.commits.log import CommitLog
from pipeline.commits.read_rounds import read_rounds
from pipeline.errors import NoRound
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo
from tests.support.drawn_rounds import Rounds

TWO = {1: "cat", 2: "dog"}


def contents(job: tables.JobTables) -> dict[str, list[object]]:
    keys = [("video_id", "ascending"), ("object_id", "ascending"), ("frame_index", "ascending")]
    rows = {"masks": job.masks().to_table().sort_by(keys), "tracks": job.tracks(), "videos": job.videos()}
    return {
        name: table.drop_columns([c for c in table.column_names if c == "segment"]).to_pylist()
        for name, table in rows.items()
    }


@pytest.fixture
def rounds(tmp_path: Path, storage: JobStorage) -> Rounds:
    """Two videos in one segment; a round in which one of them is labeled again."""
    job = Rounds(storage, tmp_path)
    job.commit(DrawnVideo("a", TWO), DrawnVideo("b", TWO))
    return job


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
    assert rounds.open(round=2).video("c").object_ids == [1, 2]
    with pytest.raises(KeyError, match="no finished video 'c'"):
        rounds.open(round=3).video("c")


def test_a_round_that_cannot_be_read_is_named_with_those_that_can(rounds: Rounds) -> None:
    with pytest.raises(NoRound, match=r"round 2 cannot be read; there is round 1: a run that takes reviews in opens"):
        rounds.open(round=2)
    for _ in range(3):
        rounds.begin("a", keep=1)
        rounds.commit(DrawnVideo("a", TWO))
    with pytest.raises(NoRound, match=r"round 2 cannot be read; there are rounds 3 to 4: masks that were replaced"):
        rounds.open(round=2)
    assert contents(rounds.open(round=3))


def test_tables_of_a_round_that_is_deleted_meanwhile_say_it(rounds: Rounds) -> None:
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", TWO))
    old = rounds.open(round=1)
    for _ in range(2):
        rounds.begin("a", keep=0)
        rounds.commit(DrawnVideo("a", TWO))
    rounds.keeper.sweep()
    with pytest.raises(NoRound, match="there is round 4"):
        old.masks().to_table()


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
