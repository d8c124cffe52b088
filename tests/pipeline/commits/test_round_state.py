"""Rounds of reviews in the log: what an earlier round needs stays as long as it was asked for, and nothing longer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import compact
from pipeline.commits.log import CommitLog
from pipeline.commits.snapshot import JobState
from pipeline.output.layout import FORMER, segment_of
from pipeline.output.segments import read_footer
from pipeline.records import Reason, Segment, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.dying_storage import Died, DyingStorage, deaths
from tests.support.labeled import driver, labeled, publish
from tests.support.quick_storage import QuickStorage


def reviewed(segment: Segment, review_hash: str) -> Segment:
    """A segment of videos that were labeled with these corrections."""
    outcomes = tuple(
        dataclasses.replace(one, details=dataclasses.replace(one.details, review_hash=review_hash))
        for one in segment.outcomes
    )
    return dataclasses.replace(segment, outcomes=outcomes)


def put_away(storage: JobStorage) -> set[str | None]:
    return {segment_of(path) for path in storage.tree(FORMER)}


def take_in(log: CommitLog, keeper: SegmentKeeper, number: int, *video_ids: str, keep_rounds: int = 1) -> None:
    log.set_round(number, max(1, number - keep_rounds))
    keeper.set_aside(video_ids)


def forget(log: CommitLog, keeper: SegmentKeeper, number: int, *video_ids: str, keep_rounds: int = 1) -> None:
    """What programs did before they set videos aside: the tables lack them in the middle of a round."""
    log.set_round(number, max(1, number - keep_rounds))
    keeper.forget(video_ids, dict.fromkeys(video_ids, Reason.REVIEW), video_ids)


@pytest.mark.slow
def test_a_round_keeps_what_it_replaces_until_another_has_come(storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(storage, tmp_path)
    first = publish(storage, tmp_path, labeled("a"), labeled("b"))
    keeper.commit([first])
    take_in(log, keeper, 2, "a")
    assert log.state.formers == {"a": first.name}
    assert (log.state.round, put_away(storage)) == (2, {first.name})
    assert log.state.set_aside() == {"a"}
    second = reviewed(publish(storage, tmp_path, labeled("a", 3)), "h2")
    keeper.commit([second])
    keeper.sweep()
    assert log.state.formers == {}
    assert put_away(storage) == {first.name}
    assert log.state.finished["a"].review_hash == "h2"
    assert log.state.finished["b"].review_hash == ""
    assert JobState.from_parquet(log.state.to_parquet()) == log.state
    assert CommitLog(storage, "reader").load() == log.state

    others = log.state.finished["b"].segment
    take_in(log, keeper, 3, "a", "b")
    keeper.commit([publish(storage, tmp_path, labeled("a"), labeled("b"))])
    keeper.sweep()
    assert (log.state.oldest_round, log.state.kept) == (2, {second.name: 2, others: 2})
    assert put_away(storage) == {second.name, others}


def test_rows_of_a_video_that_an_earlier_program_forgot_and_that_fails_stay_for_the_next_try_and_go_with_other_prompts(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    first = publish(disk_storage, tmp_path, labeled("a"), labeled("b"))
    keeper.commit([first])
    forget(log, keeper, 2, "a", "b", keep_rounds=0)
    keeper.commit([publish(disk_storage, tmp_path, *(labeled(name, status=Status.FAILED) for name in ("a", "b")))])
    keeper.sweep()
    assert log.state.formers == {"a": first.name, "b": first.name}
    keeper.forget(["a"], {"a": Reason.RETRY})
    assert log.state.formers.keys() == {"a", "b"}
    keeper.forget(["b"], {"b": Reason.PROMPTS})
    assert log.state.formers.keys() == {"a"}
    keeper.sweep()
    assert put_away(disk_storage) == {first.name}
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    keeper.sweep()
    assert (log.state.formers, put_away(disk_storage)) == ({}, set())


@pytest.mark.slow
def test_a_compaction_keeps_what_an_earlier_round_needs_and_hashes_of_corrections(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    take_in(log, keeper, 2, "a")
    keeper.commit([reviewed(publish(disk_storage, tmp_path, labeled("a")), "h2")])
    keeper.commit([publish(disk_storage, tmp_path, labeled("b"))])
    take_in(log, keeper, 3, "b")
    keeper.commit([publish(disk_storage, tmp_path, labeled("b"))])
    before = set(log.state.segments)
    assert compact(disk_storage, tmp_path).num_merged == 2
    state = CommitLog(disk_storage, "reader").load()
    assert state.finished["a"].review_hash == "h2"
    needed = {name for name in before if state.kept.get(name) == 2}
    assert len(needed) == 1  # that of video a, which is from round 2
    assert needed < put_away(disk_storage)
    assert {segment_of(stored.path) for stored in disk_storage.listing("masks")} == set(state.segments)


@pytest.mark.slow
def test_a_pruned_job_keeps_no_earlier_round(disk_storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b"))])
    take_in(log, keeper, 2, "a")
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    keeper.forget(["b"], {"b": Reason.PRUNE})
    keeper.erase({"a"}.__contains__)
    assert put_away(disk_storage) == set()
    state = CommitLog(disk_storage, "reader").load()
    assert (state.round, state.oldest_round, state.kept) == (2, 2, {})


def begun(folder: Path) -> tuple[str, Segment]:
    """A job whose two videos lie in one segment."""
    uri = str(folder / "job")
    _, keeper = driver(QuickStorage(uri), folder)
    first = publish(QuickStorage(uri), folder, labeled("a"), labeled("b"))
    keeper.commit([first])
    return uri, first


def open_round(storage: QuickStorage, folder: Path, writer_id: str) -> None:
    log, keeper = driver(storage, folder, writer_id)
    take_in(log, keeper, 2, "a")
    keeper.sweep()


@pytest.mark.slow
def test_a_driver_that_dies_anywhere_in_the_change_to_a_round_loses_no_row(tmp_path: Path) -> None:
    alive = DyingStorage(begun(tmp_path / "alive")[0])
    open_round(alive, tmp_path, "driver-2")
    places = deaths(alive.num_writes)
    assert len(places) > 6
    for number, after in places:
        folder = tmp_path / f"{number}-{after}"
        uri, first = begun(folder)
        with pytest.raises(Died):
            open_round(DyingStorage(uri, dies_at=number, dies_after=after), folder, "driver-2")
        storage = QuickStorage(uri)
        open_round(storage, folder, "driver-3")
        state = CommitLog(storage, "reader").load()
        assert state.formers == {"a": first.name}
        assert put_away(storage) == {first.name}
        assert state.set_aside() == {"a"}
        for name in ("a", "b"):
            assert [one.video_id for one in read_footer(storage, state.finished[name].segment).segment.outcomes] == [
                name
            ]
