"""Merging small segments: the same rows before, during and after, whatever happens in between."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import command as job_command
from pipeline import compact as compact_module
from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import Sizes, compact, plan_groups
from pipeline.commits.job_record import JobRecord, write_record
from pipeline.commits.log import CommitLog, StaleEntry
from pipeline.commits.owner import Ownership, look, new_writer_id
from pipeline.compact import HELP
from pipeline.errors import LostOwnership, OwnedByAnother, StorageError, UnusableStore
from pipeline.output.layout import log_entry
from pipeline.output.merge import Merged, Merger, MergeTask, merge_segments
from pipeline.output.schema import SORT_KEYS, TABLES
from pipeline.storage.job_storage import JobStorage
from tests.support.dying_storage import Died, DyingStorage, deaths
from tests.support.full_disk import FULL, full_disk
from tests.support.labeled import driver, labeled, publish
from tests.support.quick_storage import QuickStorage
from tests.support.small_segments import commit_segments, glob_rows, rows

pytestmark = pytest.mark.slow


def test_merging_keeps_every_row_and_sorts_by_video(storage: JobStorage, tmp_path: Path) -> None:
    commit_segments(storage, tmp_path / "spool", 9)
    before = rows(storage)

    done = compact(storage, tmp_path / "spool")

    assert (done.num_merged, done.num_made) == (9, 1)
    assert rows(storage) == before
    state = CommitLog(storage, "reader").load()
    (name,) = state.segments
    assert state.segments[name].num_videos == len(before["videos"])
    for table in TABLES:
        assert [stored.path for stored in storage.listing(table)] == [f"{table}/{name}.parquet"]
        with storage.open_input(f"{table}/{name}.parquet") as file:
            stored_rows = pq.read_table(file).select(SORT_KEYS[table]).to_pylist()
        assert stored_rows == sorted(stored_rows, key=lambda row: tuple(row.values()))
    assert tables.open(storage.uri, storage.storage_options).videos()["segment"].unique().to_pylist() == [name]
    assert compact(storage, tmp_path / "spool").num_made == 0
    assert not list((tmp_path / "spool").glob("maskmill-*"))


def test_groups_are_neighbors_that_fit_and_large_segments_stay(disk_storage: JobStorage, tmp_path: Path) -> None:
    log = commit_segments(disk_storage, tmp_path / "spool", 8)
    largest = max(size.num_bytes for size in log.state.segments.values())

    groups = plan_groups(log.state, Sizes(small_bytes=largest + 1, most_bytes=3 * largest))

    ids = {
        name: [v for v, finished in log.state.finished.items() if finished.segment == name]
        for name in log.state.segments
    }
    firsts = [min(ids[name]) for group in groups for name in group]
    assert firsts == sorted(firsts)
    assert all(sum(log.state.segments[name].num_bytes for name in group) <= 3 * largest for group in groups)
    assert len(groups) > 1
    assert all(len(group) > 1 for group in groups)
    assert plan_groups(log.state, Sizes(small_bytes=10, most_bytes=100)) == []


def test_several_groups_are_committed_one_after_the_other(disk_storage: JobStorage, tmp_path: Path) -> None:
    log = commit_segments(disk_storage, tmp_path / "spool", 12)
    before, largest = rows(disk_storage), max(size.num_bytes for size in log.state.segments.values())
    done = compact(disk_storage, tmp_path / "spool", Sizes(small_bytes=largest + 1, most_bytes=2 * largest))
    assert done.num_made > 1
    assert rows(disk_storage) == before


class Crowd:
    """Mergers that have several tasks at a time, answer the last one first, and fail at the first one."""

    def __init__(self, storage: JobStorage, spool: Path) -> None:
        self._merger = Merger(storage, str(spool))

    def merge(self, tasks: Iterable[MergeTask]) -> Iterator[Merged]:
        first, *others = islice(tasks, 3)
        for task in reversed(others):
            yield self._merger.work(task)
        yield Merged(first, None, StorageError("the disk of this merger is full"))
        assert not list(tasks), "a further group was begun after the error"


def test_an_error_of_one_merger_ends_it_when_the_others_are_done(disk_storage: JobStorage, tmp_path: Path) -> None:
    commit_segments(disk_storage, tmp_path / "spool", 18)
    before, state = rows(disk_storage), CommitLog(disk_storage, "reader").load()
    largest = max(size.num_bytes for size in state.segments.values())
    sizes = Sizes(small_bytes=largest + 1, most_bytes=2 * largest)
    groups = plan_groups(state, sizes)
    assert len(groups) > 3
    with pytest.raises(StorageError, match="this merger is full"):
        compact(disk_storage, tmp_path / "spool", sizes, Crowd(disk_storage, tmp_path))
    left = CommitLog(disk_storage, "reader").load().segments
    assert left.keys() >= {*groups[0], *groups[3]}
    assert not left.keys() & {*groups[1], *groups[2]}
    assert rows(disk_storage) == before


def test_killed_before_or_after_any_write_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    whole = QuickStorage(str(tmp_path / "whole"))
    commit_segments(whole, tmp_path / "spool", 3)
    before = rows(whole)
    counting = DyingStorage(str(tmp_path / "count"))
    shutil.copytree(whole.uri, counting.uri)
    compact(counting, tmp_path / "spool")
    assert counting.num_writes > 12

    for number, (write, dies_after) in enumerate(deaths(counting.num_writes)):
        uri = str(tmp_path / f"killed-{number}")
        shutil.copytree(whole.uri, uri)
        with pytest.raises(Died):
            compact(DyingStorage(uri, dies_at=write, dies_after=dies_after), tmp_path / "spool")
        storage = QuickStorage(uri)
        assert rows(storage) == before, (write, dies_after)
        compact(storage, tmp_path / "spool")
        assert rows(storage) == before, (write, dies_after)
        assert {table: glob_rows(storage, table) for table in TABLES} == {t: len(r) for t, r in before.items()}
        shutil.rmtree(uri)


def test_a_job_goes_on_while_its_segments_are_merged(storage: JobStorage, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    log, keeper = driver(storage, spool)
    keeper.commit([publish(storage, spool, labeled("a")), publish(storage, spool, labeled("b"))])

    assert compact(storage, spool).num_merged == 2
    keeper.commit([publish(storage, spool, labeled("c"))])  # the driver's next number is taken by the compaction
    assert compact(storage, spool).num_merged == 2
    keeper.forget(["b"])  # it lies in a segment that this driver has never heard of
    keeper.commit([publish(storage, spool, labeled("b", prompt_hash="p2"))])
    keeper.sweep()

    assert set(log.state.finished) == {"a", "b", "c"}
    assert log.state.finished["b"].prompt_hash == "p2"
    expected = JobStorage(str(tmp_path / "expected"))
    _, other = driver(expected, spool)
    other.commit([publish(expected, spool, labeled("a"), labeled("b", prompt_hash="p2"), labeled("c"))])
    assert rows(storage) == rows(expected)


def test_the_end_of_a_job_keeps_what_a_compaction_made_meanwhile(disk_storage: JobStorage, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    _, keeper = driver(disk_storage, spool)
    keeper.commit([publish(disk_storage, spool, labeled("a")), publish(disk_storage, spool, labeled("b"))])
    before = rows(disk_storage)
    compact(disk_storage, spool)
    assert keeper.sweep() == 0
    assert rows(disk_storage) == before


def test_forgetting_everything_of_a_segment_that_was_merged_meanwhile(disk_storage: JobStorage, tmp_path: Path) -> None:
    """The case without a copy: nothing is left of the old segment, so only the removal tells."""
    spool = tmp_path / "spool"
    log, keeper = driver(disk_storage, spool)
    keeper.commit([publish(disk_storage, spool, labeled("a")), publish(disk_storage, spool, labeled("b"))])
    compact(disk_storage, spool)
    keeper.forget(["a"])
    assert set(log.state.finished) == {"b"}
    assert {row["video_id"] for row in rows(disk_storage)["masks"]} == {"b"}


def test_a_segment_that_is_merged_while_the_driver_reads_it_is_forgotten_where_it_is_now(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    log, keeper = driver(disk_storage, spool)
    keeper.commit(
        [publish(disk_storage, spool, labeled("a"), labeled("b")), publish(disk_storage, spool, labeled("c"))]
    )
    racing = RacingRead(disk_storage.uri)
    racing.race = lambda: compact(disk_storage, spool)  # type: ignore[method-assign]
    keeper = SegmentKeeper(racing, log, spool)
    keeper.forget(["a"])
    assert len(disk_storage.read(log_entry(2))) > 0, "the compaction came in between"
    assert set(log.state.finished) == {"b", "c"}
    for table, found in rows(disk_storage).items():
        assert {row["video_id"] for row in found} == {"b", "c"}, table


class RacingRead(JobStorage):
    """Runs `race` once, just after the footer of a segment was read."""

    race = staticmethod(lambda: None)

    def num_bytes(self, path: str) -> int:
        found = super().num_bytes(path)
        race, self.race = self.race, lambda: None  # type: ignore[method-assign]
        race()
        return found


class RacingStorage(JobStorage):
    """Runs `race` once, just before the compaction's merged segment is published."""

    race = staticmethod(lambda: None)

    def put_file(self, local: Path, path: str) -> int:
        race, self.race = self.race, lambda: None  # type: ignore[method-assign]
        race()
        return super().put_file(local, path)


def test_where_both_want_a_segment_the_driver_wins(tmp_path: Path) -> None:
    spool, uri = tmp_path / "spool", str(tmp_path / "job")
    storage = JobStorage(uri)
    _, keeper = driver(storage, spool)
    keeper.commit([publish(storage, spool, labeled("a")), publish(storage, spool, labeled("b"))])
    racing = RacingStorage(uri)
    racing.race = lambda: keeper.forget(["a"])  # type: ignore[method-assign]

    assert compact(racing, spool).num_made == 0

    assert {row["video_id"] for row in rows(storage)["masks"]} == {"b"}
    assert {table: glob_rows(storage, table) for table in TABLES} == {t: len(r) for t, r in rows(storage).items()}
    assert set(CommitLog(storage, "reader").load().finished) == {"b"}


def test_two_compactions_at_once(tmp_path: Path) -> None:
    spool, uri = tmp_path / "spool", str(tmp_path / "job")
    commit_segments(JobStorage(uri), spool, 5)
    before = rows(JobStorage(uri))
    racing = RacingStorage(uri)
    racing.race = lambda: compact(JobStorage(uri), spool)  # type: ignore[method-assign]
    compact(racing, spool)
    assert rows(JobStorage(uri)) == before
    compact(JobStorage(uri), spool)
    assert glob_rows(JobStorage(uri), "masks") == len(before["masks"])


def test_a_compaction_needs_no_ownership_but_a_lost_job_stays_lost(disk_storage: JobStorage, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    _, first = driver(disk_storage, spool, "driver-1")
    first.commit([publish(disk_storage, spool, labeled("a")), publish(disk_storage, spool, labeled("b"))])
    compact(disk_storage, spool)
    driver(disk_storage, spool, "driver-2")
    with pytest.raises(LostOwnership, match="driver-2"):
        first.commit([publish(disk_storage, spool, labeled("c"))])
    with pytest.raises(LostOwnership, match="driver-2"):
        first.sweep()


def single_driver_record() -> JobRecord:
    return JobRecord(
        fingerprint={}, config={"single_driver": True}, checkpoint={}, files={}, versions="", written_at=""
    )


def single_driver_job(uri: str, spool: Path) -> JobStorage:
    """A job of three segments with `single_driver=true`, as its driver sees the storage."""
    storage = JobStorage(uri, single_driver=True)
    write_record(storage, single_driver_record())
    commit_segments(storage, spool, 3)
    return storage


def ownership(storage: JobStorage) -> Ownership:
    return Ownership(storage, CommitLog(storage, new_writer_id()))


def test_a_single_drivers_job_is_merged_only_while_it_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = single_driver_job(str(tmp_path / "job"), tmp_path / "spool")
    before, words = rows(storage), [f"output={storage.uri}", f"spool_dir={tmp_path}"]
    running = ownership(storage)
    running.acquire()
    num_entries = CommitLog(storage, "reader").load().next_entry

    assert job_command.main(HELP, compact_module.CompactArguments, compact_module.run, words) == 2
    printed = capsys.readouterr().err
    assert "single_driver=true" in printed
    assert len(printed.splitlines()) == 1
    assert CommitLog(storage, "reader").load().next_entry == num_entries

    running.release()
    assert job_command.main(HELP, compact_module.CompactArguments, compact_module.run, words) == 0
    assert rows(storage) == before
    assert len(CommitLog(storage, "reader").load().segments) == 1


def test_a_single_drivers_job_cannot_start_while_it_is_merged(tmp_path: Path) -> None:
    storage = single_driver_job(str(tmp_path / "job"), tmp_path / "spool")
    refused: list[object] = []

    class StartedDuringUploads(JobStorage):
        def put_file(self, local: Path, path: str) -> int:
            with pytest.raises(OwnedByAnother) as error:
                ownership(storage).acquire()
            refused.append(error)
            return super().put_file(local, path)

    assert compact(StartedDuringUploads(storage.uri), tmp_path / "spool").num_merged == 3
    assert refused
    assert look(storage) is None


def test_a_store_that_needs_a_single_driver_is_merged_for_a_job_that_has_one(tmp_path: Path) -> None:
    storage = single_driver_job(f"memory://{tmp_path}", tmp_path / "spool")
    before = rows(storage)
    record = storage.read("job.json")
    storage.delete(["job.json"])
    with pytest.raises(UnusableStore, match="single_driver=true"):
        compact(JobStorage(storage.uri), tmp_path / "spool")
    storage.replace("job.json", record)
    assert compact(JobStorage(storage.uri), tmp_path / "spool").num_merged == 3
    assert rows(storage) == before


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_object_is_an_error_and_changes_nothing(disk_storage: JobStorage, tmp_path: Path, table: str) -> None:
    commit_segments(disk_storage, tmp_path / "spool", 3)
    next(Path(disk_storage.uri, table).glob("*.parquet")).unlink()
    with pytest.raises(StorageError, match=rf"{table}/.*\.parquet is missing, and the commit log counts its rows"):
        compact(disk_storage, tmp_path / "spool")
    assert len(CommitLog(disk_storage, "reader").load().segments) == 3


def test_temporary_files_of_a_killed_compaction_go_with_the_next_one(tmp_path: Path) -> None:
    uri, spool = str(tmp_path / "job"), tmp_path / "spool"
    commit_segments(JobStorage(uri), tmp_path, 2)
    racing = RacingStorage(uri)

    def leave_what_a_kill_now_would() -> None:
        (folder,) = spool.iterdir()
        shutil.copytree(folder, folder.with_name(f"{folder.name}-killed"))

    racing.race = leave_what_a_kill_now_would  # type: ignore[method-assign]
    compact(racing, spool)
    assert list(spool.glob("*-killed/*.masks.parquet"))

    compact(JobStorage(uri), spool)
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("room_bytes", [500, 4_000])
def test_a_full_spool_ends_it_with_nothing_lost_and_nothing_left(
    disk_storage: JobStorage, tmp_path: Path, room_bytes: int
) -> None:
    """Without room for the rows that wait, and with room for these but not for the files of the new segment."""
    commit_segments(disk_storage, tmp_path / "spool", 4)
    before = rows(disk_storage)
    with full_disk(room_bytes), pytest.raises(StorageError, match=rf"the spool .*{FULL}"):
        compact(disk_storage, tmp_path)
    assert not list(tmp_path.glob("maskmill-*"))
    assert rows(disk_storage) == before
    assert compact(disk_storage, tmp_path).num_merged == 4
    assert rows(disk_storage) == before


class FullStorage(JobStorage):
    """A store without room for the objects of one table."""

    full_table = ""

    def put_file(self, local: Path, path: str) -> int:
        if path.startswith(self.full_table):
            raise StorageError("No space left", transient=False)
        return super().put_file(local, path)


@pytest.mark.parametrize("full", TABLES)
def test_a_full_store_ends_it_with_nothing_lost_and_nothing_left(
    disk_storage: JobStorage, tmp_path: Path, full: str
) -> None:
    commit_segments(disk_storage, tmp_path / "spool", 4)
    before, objects = rows(disk_storage), {table: disk_storage.listing(table) for table in TABLES}
    full_storage = FullStorage(disk_storage.uri)
    full_storage.full_table = full
    with pytest.raises(StorageError, match="No space left"):
        compact(full_storage, tmp_path / "spool")
    assert {table: disk_storage.listing(table) for table in TABLES} == objects
    assert compact(disk_storage, tmp_path / "spool").num_merged == 4
    assert rows(disk_storage) == before


def test_readers_follow_when_segments_are_merged_under_them(disk_storage: JobStorage, tmp_path: Path) -> None:
    commit_segments(disk_storage, tmp_path / "spool", 4)
    job = tables.open(disk_storage.uri)
    before = job.tracks()
    masks = job.masks()
    stale_masks = masks.dataset
    compact(disk_storage, tmp_path / "spool")
    assert job.tracks().equals(before)
    with pytest.raises(FileNotFoundError):
        stale_masks.to_table()
    assert masks.count_rows() == masks.to_table().num_rows == len(rows(disk_storage)["masks"])


def test_masks_of_a_video_are_found_where_they_were_merged_to(disk_storage: JobStorage, tmp_path: Path) -> None:
    log = commit_segments(disk_storage, tmp_path / "spool", 4)
    job = tables.open(disk_storage.uri)
    compact(disk_storage, tmp_path / "spool")
    num_masks = [len(list(job.video_masks(video_id))) for video_id in log.state.finished]
    assert sum(num_masks) == len(rows(disk_storage)["masks"]) > 0


def test_an_entry_that_forgets_a_video_and_keeps_its_rows_is_refused(disk_storage: JobStorage, tmp_path: Path) -> None:
    log = commit_segments(disk_storage, tmp_path / "spool", 2)
    with pytest.raises(ValueError, match="would stay"):
        log.append(forget=[next(iter(log.state.finished))])


def test_compacting_what_has_left_the_log_is_stale(disk_storage: JobStorage, tmp_path: Path) -> None:
    log = commit_segments(disk_storage, tmp_path / "spool", 2)
    other = CommitLog(disk_storage, "compactor")
    other.load()
    names = sorted(log.state.segments)
    SegmentKeeper(disk_storage, log, tmp_path / "spool").forget([next(iter(log.state.finished))])
    with pytest.raises(StaleEntry):
        other.compact([publish(disk_storage, tmp_path / "spool", labeled("x"))], names)


def test_a_merged_segment_that_the_drivers_sweep_has_deleted_never_counts(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    """The driver ends while a compaction is between its upload and its entry, and finds a segment that nobody names."""
    log = commit_segments(disk_storage, tmp_path / "spool", 2)
    before, names = rows(disk_storage), sorted(log.state.segments)
    other = CommitLog(disk_storage, "compactor")
    other.load()
    merged = merge_segments(disk_storage, names, log.state.epoch, tmp_path)
    assert SegmentKeeper(disk_storage, log, tmp_path / "spool").sweep() == 1
    with pytest.raises(StaleEntry, match=f"{merged.name} is in the log already"):
        other.compact([merged], names)
    assert rows(disk_storage) == before
