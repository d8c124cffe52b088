"""Objects of a job that are not what was published: each reader names the one, and nobody copies what is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.commits.committer import copy_of
from pipeline.commits.log import CommitLog
from pipeline.commits.read_history import read_history
from pipeline.errors import StorageError
from pipeline.output.former_rows import FormerRows
from pipeline.output.layout import log_entry, roll_up, segment_object
from pipeline.output.merge import Merger, MergeTask
from pipeline.output.segments import read_batches, read_whole
from pipeline.records import Segment
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """One bit of the first page is another one."""
    return data[:30] + bytes([data[30] ^ 1]) + data[31:]


def emptied(data: bytes) -> bytes:
    return b""


def foreign(data: bytes) -> bytes:
    return b"<html>" * 50


@pytest.fixture
def job(disk_storage: JobStorage, tmp_path: Path) -> tuple[JobStorage, list[Segment]]:
    """Two segments of a video each."""
    _, keeper = driver(disk_storage, tmp_path)
    segments = [publish(disk_storage, tmp_path, labeled(name, 30, (1, 2))) for name in ("a", "b")]
    keeper.commit(segments)
    return disk_storage, segments


def damage(job: tuple[JobStorage, list[Segment]], table: str, how: Callable[[bytes], bytes]) -> str:
    storage, (segment, _) = job
    path = segment_object(table, segment.name)
    storage.replace(path, how(storage.read(path)))
    return path


@pytest.mark.parametrize("how", [truncated, flipped, emptied, foreign])
@pytest.mark.parametrize("table", ["masks", "tracks", "videos"])
def test_a_damaged_object_is_named_with_what_to_do(
    job: tuple[JobStorage, list[Segment]], table: str, how: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    storage, segments = job
    path = damage(job, table, how)
    merged = Merger(storage, str(tmp_path)).work(MergeTask(tuple(segment.name for segment in segments), 1))
    assert path in str(merged.error)
    assert "put it back, as from a backup" in str(merged.error)
    said = rf"{path} is damaged \(.*\): put it back, as from a backup"
    with pytest.raises(StorageError, match=said):
        list(read_batches(storage, table, segments[0]))
    opened = tables.open(storage.uri)
    read = {"masks": lambda: opened.masks().to_table(), "tracks": opened.tracks, "videos": opened.videos}
    if how is not flipped:  # what is damaged there says nothing of values
        with pytest.raises(StorageError, match=said):
            read[table]()
        with pytest.raises(StorageError, match=said):
            read_whole(storage, table, segments[0].name)


def test_rows_that_read_as_others_are_not_copied(job: tuple[JobStorage, list[Segment]], tmp_path: Path) -> None:
    """Their copy would have checksums of its own, so that nobody could tell that it is damaged."""
    storage, (segment, _) = job
    path = segment_object("masks", segment.name)
    data = storage.read(path)
    before = pq.read_table(Path(storage.uri) / path)

    def reads_as_others(place: int) -> bool:
        storage.replace(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            return not pq.read_table(Path(storage.uri) / path).equals(before)
        except (OSError, ValueError):
            return False

    assert any(map(reads_as_others, range(4, len(data) - 8)))
    with pytest.raises(StorageError, match=f"{path} is damaged"):
        copy_of(storage, segment.name, lambda video_id: True, tmp_path, 1)
    with pytest.raises(StorageError, match=f"{segment.name} is damaged"):
        FormerRows(storage, segment.name, "a", tmp_path).masks([1, 2])


@pytest.mark.parametrize("how", [truncated, emptied, foreign])
def test_a_damaged_entry_of_the_log_is_named(
    job: tuple[JobStorage, list[Segment]], how: Callable[[bytes], bytes]
) -> None:
    storage, _ = job
    storage.replace(log_entry(1), how(storage.read(log_entry(1))))
    for read in (CommitLog(storage, "reader").load, lambda: read_history(storage)):
        with pytest.raises(
            StorageError, match=f"{log_entry(1)} is no entry of a log .*: put it back, as from a backup"
        ):
            read()


@pytest.mark.parametrize("how", [truncated, emptied, foreign, lambda data: data[:60] + b"?" + data[61:]])
def test_a_damaged_roll_up_is_named_and_can_be_deleted(
    job: tuple[JobStorage, list[Segment]], how: Callable[[bytes], bytes]
) -> None:
    storage, _ = job
    log = CommitLog(storage, "writer")
    log.load()
    log.roll_up()
    path = roll_up(log.state.next_entry)
    storage.replace(path, how(storage.read(path)))
    with pytest.raises(StorageError, match=f"{path} is damaged .* or delete it"):
        list(CommitLog(storage, "reader").load().finished)
    storage.delete([path])
    assert CommitLog(storage, "reader").load() == log.state
