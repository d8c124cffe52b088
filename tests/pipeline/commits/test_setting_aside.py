"""Videos that are labeled again in part: the tables have their former rows until new ones take their place at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import compact
from pipeline.commits.log import CommitLog
from pipeline.commits.read_history import read_history
from pipeline.commits.setbacks import Setback
from pipeline.commits.snapshot import JobState
from pipeline.driver.rounds import is_open
from pipeline.errors import AlreadyExists, LostOwnership
from pipeline.output.former_rows import FormerRows
from pipeline.output.layout import FORMER, segment_of
from pipeline.output.merge import MERGER_ID, merge_segments
from pipeline.output.segments import retire
from pipeline.records import Reason, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.dying_storage import Died, DyingStorage, deaths
from tests.support.labeled import corrected, driver, labeled, publish
from tests.support.quick_storage import QuickStorage

OLD, NEW = 6, 3
"""Frames of the first labels, and of those of the next round."""


def take_in(log: CommitLog, keeper: SegmentKeeper, number: int, *video_ids: str) -> None:
    log.set_round(number, max(1, number - 1))
    keeper.set_aside(video_ids)


def frames(storage: JobStorage, round: int | None = None) -> dict[str, int]:
    """How many frames the tables have of each video. Each row of each table is there once."""
    found = tables.open(storage.uri, storage.storage_options, round=round)
    masks = found.masks(columns=["video_id", "object_id", "frame_index"]).to_table().to_pylist()
    keys = [tuple(row.values()) for row in masks]
    assert len(set(keys)) == len(keys)
    counts = {row["video_id"]: row["num_frames"] for row in found.videos().to_pylist()}
    assert sorted(counts) == sorted(row["video_id"] for row in found.videos().to_pylist())
    assert {name: 2 * num for name, num in counts.items() if num} == {
        name: sum(key[0] == name for key in keys) for name in {key[0] for key in keys}
    }
    return counts


@pytest.fixture
def job(disk_storage: JobStorage, tmp_path: Path) -> tuple[JobStorage, CommitLog, SegmentKeeper]:
    """Four videos in one segment, of which `a`, `b` and `c` are labeled again."""
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, *map(labeled, "abcd"))])
    take_in(log, keeper, 2, *"abc")
    return disk_storage, log, keeper


Job = tuple[JobStorage, CommitLog, SegmentKeeper]


def test_former_rows_count_until_one_entry_puts_new_ones_in_their_place(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    assert frames(storage) == dict.fromkeys("abcd", OLD)
    assert (log.state.set_aside(), log.state.round) == (set("abc"), 2)
    assert is_open(log.state, "a")
    assert not is_open(log.state, "d"), "none of these is in the tables any more"
    before = tables.open(storage.uri)
    number = log.state.next_entry
    keeper.commit([publish(storage, tmp_path, corrected("a"))])
    assert log.state.next_entry == number + 1
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD}
    assert before.masks().to_table().num_rows == 2 * (NEW + 3 * OLD), "an open reader goes on with the log"
    history = read_history(storage, number)
    assert [(one.video_id, one.kind, one.why) for one in history.changes] == [("a", "again", Reason.REVIEW)]
    assert history.sums.rows_in["masks"] == 2 * NEW
    assert history.sums.rows_out is not None
    assert history.sums.rows_out["masks"] == 2 * OLD
    keeper.commit([publish(storage, tmp_path, corrected("b"), corrected("c", ""))])
    assert read_history(storage, number).changes[-1].why == Reason.RETRY, "it was labeled with what it had before"
    assert frames(storage, round=1) == dict.fromkeys("abcd", OLD)
    assert (log.state.formers, log.state.set_aside()) == ({}, set())
    keeper.sweep()
    assert frames(storage) == {"a": NEW, "b": NEW, "c": NEW, "d": OLD}
    assert {segment_of(stored.path) for stored in storage.listing("masks")} == set(log.state.segments)
    assert len({segment_of(path) for path in storage.tree(FORMER)}) == 1
    log.set_round(3, 3)
    keeper.set_aside("a")
    keeper.commit([publish(storage, tmp_path, labeled("a"))])
    keeper.sweep()
    assert storage.tree(FORMER) == []


@pytest.mark.slow
@pytest.mark.parametrize("is_erased", [False, True])
def test_readers_of_changes_hear_nothing_of_a_video_until_its_new_rows_are_there(
    job: Job, tmp_path: Path, is_erased: bool
) -> None:
    storage, log, keeper = job
    number = log.state.next_entry
    nothing = dict.fromkeys(("masks", "tracks", "videos"), 0)
    sums = read_history(storage, number - 1).sums
    assert (sums.rows_in, sums.rows_out, sums.num_compactions) == (nothing, nothing, 0)
    assert read_history(storage, number - 1).changes == ()
    keeper.commit([publish(storage, tmp_path, labeled("e"))])
    compact(storage, tmp_path / "spool")
    log.catch_up()
    keeper.commit([publish(storage, tmp_path, corrected("a"))])
    if is_erased:
        log.erase_history()
    history = read_history(storage, number - 1)
    told = {(one.video_id, one.kind.value, str(one.why)) for one in history.changes}
    assert told == {("a", "again", "review"), ("e", "added", "")}
    assert history.sums.num_compactions == 1
    assert history.sums.rows_out == {"masks": 2 * OLD, "tracks": 2, "videos": 1}


def test_a_segment_of_new_videos_and_corrected_ones_counts_as_both(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    number = log.state.next_entry
    mixed = publish(storage, tmp_path, corrected("a"), labeled("e"), labeled("d"))
    outcomes = keeper.commit([mixed])
    assert sorted(one.video_id for one in outcomes) == ["a", "e"]
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD, "e": OLD}
    told = {(one.video_id, one.kind.value) for one in read_history(storage, number).changes}
    assert told == {("a", "again"), ("e", "added")}
    assert keeper.commit([mixed]) == [], "a report that comes twice changes nothing"
    assert mixed.name in log.state.removed


def test_other_labels_of_a_video_that_was_replaced_come_too_late(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    first, late = (publish(storage, tmp_path, corrected("a", name)) for name in ("h2", "late"))
    keeper.commit([first])
    keeper.commit([late])
    assert (log.state.finished["a"].review_hash, frames(storage)["a"]) == ("h2", NEW)


@pytest.mark.slow
def test_a_video_that_fails_keeps_its_rows_and_the_log_says_why(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    status = Status.QUARANTINED
    keeper.commit([], {"a": 2})
    assert log.state.strikes == {"a": 2}, "what kills workers is known, although its rows count"
    keeper.commit([publish(storage, tmp_path, corrected("a", status=status), corrected("b"), labeled("e"))])
    assert frames(storage) == {"a": OLD, "b": NEW, "c": OLD, "d": OLD, "e": OLD}
    assert log.state.finished.setbacks == {"a": Setback(status, "h2", "crash", "it kills its worker", 1)}
    assert (log.state.set_aside(), log.state.strikes) == ({"c"}, {})
    assert log.state.finished["a"].review_hashes == ("", "h2")
    assert log.state.finished.are_well(pa.array(["a", "b"])).tolist() == [False, True], "a listing looks for it again"
    log.roll_up()
    assert CommitLog(storage, "reader").load() == log.state
    assert JobState.from_parquet(log.state.to_parquet()).finished["a"] == log.state.finished["a"]
    compact(storage, tmp_path / "spool")
    log.catch_up()
    take_in(log, keeper, 3, "a")
    keeper.commit([publish(storage, tmp_path, corrected("a", status=status))])
    assert log.state.finished.setbacks["a"].num_failures == 2
    take_in(log, keeper, 3, "a")
    keeper.commit([publish(storage, tmp_path, corrected("a", "h3", status=status))])
    assert log.state.finished.setbacks["a"].num_failures == 1, "with other corrections"
    take_in(log, keeper, 3, "a")
    keeper.commit([publish(storage, tmp_path, corrected("a"))])
    assert (frames(storage)["a"], log.state.finished.setbacks) == (NEW, {})


@pytest.mark.slow
def test_a_compaction_leaves_what_is_set_aside_until_its_round_is_over(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    keeper.commit([publish(storage, tmp_path, labeled("e"))])
    assert compact(storage, tmp_path / "spool").num_merged == 2, "those of d and e"
    assert frames(storage) == dict.fromkeys("abcde", OLD)
    keeper.commit([publish(storage, tmp_path, corrected("a"))])  # the driver has not read of the compaction
    (merged,) = (name for name in log.state.segments if MERGER_ID in name)
    assert {log.state.finished[name].segment for name in "de"} == {merged}, "the swap has not written it anew"
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD, "e": OLD}
    assert log.state.set_aside() == {"b", "c"}
    assert CommitLog(storage, "reader").load() == log.state
    keeper.commit([publish(storage, tmp_path, corrected("b"), corrected("c", status=Status.FAILED))])
    assert compact(storage, tmp_path / "spool").num_merged == 4
    log.catch_up()
    keeper.sweep()
    assert (len(log.state.segments), frames(storage)) == (1, {"a": NEW, "b": NEW, "c": OLD, "d": OLD, "e": OLD})
    assert frames(storage, round=1) == dict.fromkeys("abcd", OLD)


@pytest.mark.slow
def test_a_compaction_merges_what_is_still_set_aside_when_the_next_round_is_under_way(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    take_in(log, keeper, 3, "d")  # the others are in no table any more
    held = {name: log.state.finished[name].segment for name in "ad"}
    keeper.commit([publish(storage, tmp_path, labeled("e"))])
    assert compact(storage, tmp_path / "spool").num_merged == 2, "those of a and e"
    log.catch_up()
    assert {name: log.state.finished[name].segment == held[name] for name in "ad"} == {"a": False, "d": True}
    assert frames(storage) == dict.fromkeys("abcde", OLD)
    keeper.commit([publish(storage, tmp_path, corrected("a"), corrected("d"))])
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": NEW, "e": OLD}


@pytest.mark.slow
def test_what_is_put_back_has_its_former_rows_for_good_and_is_labeled_again_by_another_round(
    job: Job, tmp_path: Path
) -> None:
    storage, log, keeper = job
    log.append(strikes={"b": 1})
    keeper.commit([publish(storage, tmp_path, corrected("a"))])
    late = publish(storage, tmp_path, corrected("b"))
    entry = log.state.next_entry
    log.put_back(["a", "b", "d", "nowhere"])
    assert (log.state.set_aside(), log.state.strikes) == ({"c"}, {})
    assert read_history(storage, entry).changes == ()
    log.put_back(["b"])
    assert log.state.next_entry == entry + 1, "it says so already"
    assert CommitLog(storage, "reader").load() == log.state
    log.roll_up()
    assert CommitLog(storage, "reader").load().set_aside() == {"c"}
    keeper.commit([late])
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD}, "nobody waits for these labels any more"
    keeper.sweep()
    take_in(log, keeper, 3, "b")
    keeper.commit([publish(storage, tmp_path, corrected("b"))])
    assert (frames(storage)["b"], frames(storage, round=2)["b"]) == (NEW, OLD)


def merge_as_earlier(storage: JobStorage, folder: Path) -> None:
    """What a compaction of an earlier program does in the middle of a round: it merges all segments."""
    log = CommitLog(storage, "compactor-0")
    names = sorted(log.load().segments)
    log.compact([merge_segments(storage, names, log.state.epoch, folder)], names)
    retire(storage, names, log.state.spared())


@pytest.mark.slow
def test_the_driver_goes_on_when_an_earlier_program_has_merged_what_is_set_aside(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    merge_as_earlier(storage, tmp_path)
    assert frames(storage) == dict.fromkeys("abcd", OLD)
    keeper.commit([publish(storage, tmp_path, corrected("a"))])  # the driver has not read of the compaction
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD}
    assert log.state.set_aside() == {"b", "c"}
    assert CommitLog(storage, "reader").load() == log.state


class Disturbed(QuickStorage):
    """Something happens before its next entry of the log, or the answer to that is lost and the write repeated."""

    before: Callable[[], object] | None = None
    is_repeated = False

    def create(self, path: str, data: bytes) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()
        super().create(path, data)
        if self.is_repeated:
            raise AlreadyExists(path)


@pytest.mark.slow
@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_compaction_or_a_lost_answer_while_the_entry_is_written_changes_nothing(
    tmp_path: Path, is_repeated: bool
) -> None:
    storage = Disturbed(str(tmp_path / "job"))
    log, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, *map(labeled, "abcd"))])
    for change in (
        lambda: take_in(log, keeper, 2, *"ab"),
        lambda: keeper.commit([publish(storage, tmp_path, corrected("a"), labeled("e"))]),
    ):
        storage.is_repeated = is_repeated
        if not is_repeated:
            keeper.commit([publish(storage, tmp_path, labeled(f"x{log.state.next_entry}"))])  # something to merge
            storage.before = lambda: merge_as_earlier(QuickStorage(storage.uri), tmp_path)
        change()
    others = {name: OLD for name in log.state.finished if name.startswith("x")}
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD, "e": OLD} | others
    assert (log.state.set_aside(), bool(others)) == ({"b"}, not is_repeated)
    assert CommitLog(QuickStorage(storage.uri), "reader").load() == log.state


def test_a_driver_that_has_lost_the_job_replaces_nothing(job: Job, tmp_path: Path) -> None:
    storage, _, keeper = job
    _, other = driver(storage, tmp_path, "driver-2")
    with pytest.raises(LostOwnership):
        keeper.commit([publish(storage, tmp_path, corrected("a"))])
    with pytest.raises(LostOwnership):
        keeper.set_aside("d")
    assert frames(storage) == dict.fromkeys("abcd", OLD)
    other.commit([publish(storage, tmp_path, corrected("a"))])
    assert frames(storage)["a"] == NEW


def adopted(storage: JobStorage, folder: Path) -> list[str]:
    _, keeper = driver(storage, folder, "driver-2")
    return sorted(outcome.video_id for outcome in keeper.adopt("f"))


def test_what_a_worker_published_after_the_setting_aside_is_adopted(job: Job, tmp_path: Path) -> None:
    storage, _, _ = job
    publish(storage, tmp_path, corrected("a"), epoch=1)
    publish(storage, tmp_path, corrected("a", "another attempt"), corrected("d"), epoch=1)
    assert adopted(storage, tmp_path) == ["a"]
    assert frames(storage) == {"a": NEW, "b": OLD, "c": OLD, "d": OLD}


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_former_rows_of_a_video_that_has_no_prompts_any_more_go_as_others_do(
    job: Job, tmp_path: Path, is_forgotten: bool
) -> None:
    """A run was killed in a round, and the corrections that were all the prompts of the video were withdrawn."""
    storage, log, keeper = job
    if is_forgotten:
        keeper.forget("a", {"a": Reason.RETRY})
    keeper.commit([publish(storage, tmp_path, corrected("a", "", Status.NO_PROMPTS), corrected("b"), corrected("c"))])
    assert frames(storage) == {"a": 0, "b": NEW, "c": NEW, "d": OLD}
    assert log.state.formers == {}
    assert frames(storage, round=1) == dict.fromkeys("abcd", OLD), "that is what keep_rounds= keeps"
    assert CommitLog(storage, "reader").load() == log.state
    take_in(log, keeper, 4, "d")
    keeper.commit([publish(storage, tmp_path, corrected("d"))])
    keeper.sweep()
    assert {segment_of(path) for path in storage.tree(FORMER)} == log.state.kept.keys()


@pytest.mark.slow
def test_copies_of_former_rows_and_labels_of_the_round_before_are_not_adopted(job: Job, tmp_path: Path) -> None:
    storage, _, _ = job
    publish(storage, tmp_path, corrected("a"), worker="driver", epoch=1)
    publish(storage, tmp_path, corrected("a"), worker="compactor", epoch=1)
    publish(storage, tmp_path, corrected("b"), labeled("e"), worker="w0", epoch=0)
    publish(storage, tmp_path, corrected("c"), labeled("f"), worker="w0", epoch=0)
    publish(storage, tmp_path, corrected("c"), worker="w0", epoch=1)
    assert adopted(storage, tmp_path) == ["c", "e", "f"], "labels that come too early do not hide the right ones"
    assert frames(storage) == dict.fromkeys("abdef", OLD) | {"c": NEW}


@pytest.mark.slow
def test_a_round_that_an_earlier_program_began_goes_on_beside_what_is_set_aside(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, *map(labeled, "abc"))])
    log.set_round(2, 1)
    keeper.forget("a", {"a": Reason.REVIEW}, "a")  # it was killed here
    log, keeper = driver(disk_storage, tmp_path, "driver-2")
    assert is_open(log.state, ())
    take_in(log, keeper, 2, "b")
    assert (log.state.formers.keys(), log.state.set_aside()) == ({"a", "b"}, {"b"})
    assert frames(disk_storage) == {"b": OLD, "c": OLD}
    assert frames(disk_storage, round=1) == dict.fromkeys("abc", OLD)
    keeper.commit([publish(disk_storage, tmp_path, corrected("a"), corrected("b"))])
    assert frames(disk_storage) == {"a": NEW, "b": NEW, "c": OLD}
    assert (log.state.formers, is_open(log.state, "ab")) == ({}, False)


def begun(folder: Path) -> str:
    """A job of three videos in two segments."""
    uri = str(folder / "job")
    _, keeper = driver(QuickStorage(uri), folder)
    keeper.commit(
        [publish(QuickStorage(uri), folder, *map(labeled, "ab")), publish(QuickStorage(uri), folder, labeled("c"))]
    )
    return uri


def whole_round(storage: QuickStorage, folder: Path, writer_id: str) -> None:
    """What a run does with two corrected videos: what was published is adopted, what is set aside is labeled."""
    log, keeper = driver(storage, folder, writer_id)
    keeper.adopt("f")
    todo = sorted(name for name in "ac" if log.state.finished[name].review_hash != "h2")
    take_in(log, keeper, 2, *todo)
    epoch = log.state.epoch
    for name in todo:
        keeper.commit([publish(storage, folder, corrected(name), epoch=epoch)])
    compact(storage, folder / "spool")
    log.catch_up()
    keeper.sweep()


@pytest.mark.slow
@pytest.mark.parametrize("every_nth", [pytest.param(1, marks=pytest.mark.chaos), 8])
def test_wherever_a_run_dies_rows_are_all_old_or_all_new_and_the_next_run_ends_the_round(
    tmp_path: Path, every_nth: int
) -> None:
    alive = DyingStorage(begun(tmp_path / "alive"))
    whole_round(alive, tmp_path, "driver-2")
    seen = set()
    for number, after in deaths(alive.num_writes, every_nth):
        folder = tmp_path / f"{number}-{after}"
        uri = begun(folder)
        with pytest.raises(Died):
            whole_round(DyingStorage(uri, dies_at=number, dies_after=after), folder, "driver-2")
        storage = QuickStorage(uri)
        found = frames(storage)
        assert found in ({"a": a, "b": OLD, "c": c} for a in (OLD, NEW) for c in (OLD, NEW))
        seen.add((found["a"], found["c"]))
        whole_round(storage, folder, "driver-3")
        state = CommitLog(storage, "reader").load()
        assert frames(storage) == {"a": NEW, "b": OLD, "c": NEW}
        assert frames(storage, round=1) == dict.fromkeys("abc", OLD)
        assert (state.round, state.formers) == (2, {})
        assert {segment_of(stored.path) for stored in storage.listing("masks")} == set(state.segments)
    assert seen in ({(OLD, OLD), (NEW, OLD), (NEW, NEW)}, {(OLD, OLD), (NEW, NEW)})


def kept_rows(storage: JobStorage, former: str, video_id: str, folder: Path) -> int | None:
    """How many masks a worker can keep of a video that had `OLD` frames; None where nothing is left."""
    rows = FormerRows(storage, former, video_id, folder)
    return None if rows.read() is None else rows.masks([1, 2]).num_rows


@pytest.mark.slow
@pytest.mark.parametrize("every_nth", [pytest.param(1, marks=pytest.mark.chaos), 3])
def test_rows_to_keep_of_what_is_set_aside_outlive_a_prune_wherever_that_dies(tmp_path: Path, every_nth: int) -> None:
    def set_aside(folder: Path) -> str:
        uri = begun(folder)
        log, keeper = driver(QuickStorage(uri), folder)
        take_in(log, keeper, 2, "a")
        return uri

    def prune(storage: QuickStorage, folder: Path) -> None:
        _, keeper = driver(storage, folder, "driver-2")
        keeper.forget("b", {"b": Reason.PRUNE})
        keeper.erase("ac".__contains__)

    alive = DyingStorage(set_aside(tmp_path / "alive"))
    prune(alive, tmp_path)
    for number, after in deaths(alive.num_writes, every_nth):
        folder = tmp_path / f"{number}-{after}"
        uri = set_aside(folder)
        with pytest.raises(Died):
            prune(DyingStorage(uri, dies_at=number, dies_after=after), folder)
        state = CommitLog(QuickStorage(uri), "reader").load()
        assert state.set_aside() == {"a"}, (number, after)
        assert kept_rows(QuickStorage(uri), state.formers["a"], "a", folder) == 2 * OLD, (number, after)
    state = CommitLog(alive, "reader").load()
    assert kept_rows(alive, state.formers["a"], "a", tmp_path) == 2 * OLD
    assert kept_rows(alive, state.formers["a"], "b", tmp_path) is None, "what was pruned is nowhere"


def test_what_an_earlier_program_took_from_under_the_videos_is_set_aside_anew(job: Job, tmp_path: Path) -> None:
    """With `keep_rounds=0` that program spares no segment that a move of rows names."""
    storage, log, keeper = job
    (former,) = set(log.state.formers.values())
    keeper.set_aside("abc")
    assert set(log.state.formers.values()) == {former}
    storage.delete_tree(FORMER)
    keeper.set_aside("abc")
    assert log.state.set_aside() == set("abc")
    assert [kept_rows(storage, log.state.formers[name], name, tmp_path) for name in "abc"] == [2 * OLD] * 3
    assert frames(storage) == dict.fromkeys("abcd", OLD)


def test_videos_that_are_not_ok_or_not_finished_are_not_set_aside(job: Job, tmp_path: Path) -> None:
    storage, log, keeper = job
    keeper.commit([publish(storage, tmp_path, labeled("failed", status=Status.FAILED), labeled("e"))])
    number, segments = log.state.next_entry, set(log.state.segments)
    keeper.set_aside(["failed", "never heard of"])
    assert (log.state.next_entry, set(log.state.segments)) == (number, segments)
    assert log.state.formers.keys() == set("abc"), "it has no rows that could stay"


def test_a_prune_deletes_former_rows_of_what_an_earlier_program_forgot(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    """They lie in segments with rows of others, which may be those that leave."""
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, *map(labeled, "abc"))])
    log.set_round(2, 1)
    keeper.forget("a", {"a": Reason.REVIEW}, "a")
    assert disk_storage.tree(FORMER)
    keeper.forget("b", {"b": Reason.PRUNE})
    keeper.erase("ac".__contains__)
    assert (log.state.formers, disk_storage.tree(FORMER)) == ({}, [])
    assert CommitLog(disk_storage, "reader").load() == log.state
