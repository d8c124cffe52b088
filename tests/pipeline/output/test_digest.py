"""Digests: rows of many small segments in one object, a shortcut that never changes what a reader gets."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import compact
from pipeline.commits.log import CommitLog
from pipeline.errors import NewerVersion, StorageError
from pipeline.output import digest
from pipeline.output.digest import DigestWriter, digest_of, read_digests
from pipeline.output.layout import DIGESTS
from pipeline.records import Segment
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish
from tests.support.quick_storage import QuickStorage


@pytest.fixture
def storage(tmp_path: Path) -> QuickStorage:
    return QuickStorage(str(tmp_path / "job"))


@pytest.fixture
def segments(storage: QuickStorage, tmp_path: Path) -> list[Segment]:
    """Four committed segments, the first three of them in a digest."""
    _, keeper = driver(storage, tmp_path)
    names = (("a", "b"), ("c",), ("d",), ("e",))
    found = [publish(storage, tmp_path, *(labeled(name, 2) for name in ids)) for ids in names]
    keeper.commit(found)
    DigestWriter(storage, num_segments=3).add(found[:3])
    return found


def names_of(segments: list[Segment]) -> list[str]:
    return [segment.name for segment in segments]


@pytest.mark.slow
@pytest.mark.parametrize("table", digest.DIGESTED)
def test_a_digest_has_the_rows_of_its_segments(storage: QuickStorage, segments: list[Segment], table: str) -> None:
    expected = getattr(tables.open(storage.uri), table)(["a", "b", "c", "d"])
    rows, found = read_digests(storage, table, names_of(segments))
    assert found == set(names_of(segments[:3]))
    keys = [("video_id", "ascending")] + [("object_id", "ascending")] * (table == "tracks")
    assert rows.sort_by(keys).equals(expected)
    rows, found = read_digests(storage, table, names_of(segments[1:2]))
    assert (set(rows["video_id"].to_pylist()), found) == ({"c"}, {segments[1].name})


@pytest.mark.slow
def test_too_few_segments_wait_and_write_nothing(storage: QuickStorage, segments: list[Segment]) -> None:
    before = storage.listing(DIGESTS)
    DigestWriter(storage, num_segments=2).add(segments[3:])
    assert storage.listing(DIGESTS) == before


class Counting(JobStorage):
    """Counts the objects that are read."""

    def read(self, path: str) -> bytes:
        self.__dict__.setdefault("paths", []).append(path)
        return super().read(path)


@pytest.mark.slow
def test_a_reader_of_many_segments_opens_only_those_that_no_digest_holds(
    storage: QuickStorage, segments: list[Segment]
) -> None:
    expected = {name: getattr(tables.open(storage.uri), name)() for name in digest.DIGESTED}
    counting = Counting(storage.uri)
    job = tables.JobTables(counting, tables.open(storage.uri).state, many_segments=2)
    for name in digest.DIGESTED:
        counting.__dict__["paths"] = []
        assert getattr(job, name)().equals(expected[name])
        read = counting.__dict__["paths"]
        assert [path for path in read if not path.startswith(DIGESTS)] == [f"{name}/{segments[3].name}.parquet"]
        assert getattr(job, name)(["b", "e"]).num_rows == (2 if name == "videos" else 4)


@pytest.mark.slow
def test_rows_of_segments_that_count_no_more_do_not_count_in_a_digest_either(
    storage: QuickStorage, segments: list[Segment], tmp_path: Path
) -> None:
    def read() -> list[str]:
        job = tables.JobTables(storage, CommitLog(storage, "reader").load(), many_segments=1)
        return [str(video_id) for video_id in job.videos()["video_id"].to_pylist()]

    log = CommitLog(storage, "driver-2")
    log.load()
    log.claim()
    SegmentKeeper(storage, log, tmp_path).forget(["a", "c"])
    assert read() == ["b", "d", "e"]

    compact(storage, tmp_path)
    assert read() == ["b", "d", "e"]
    assert not storage.listing(DIGESTS), "nobody reads them any more"


@pytest.mark.slow
def test_a_store_that_refuses_a_digest_costs_a_reader_time_and_the_driver_nothing(
    storage: QuickStorage, segments: list[Segment]
) -> None:
    class Refusing(QuickStorage):
        def replace(self, path: str, data: bytes) -> None:
            raise StorageError("full")

    DigestWriter(Refusing(storage.uri), num_segments=1).add(segments[3:])
    assert read_digests(storage, "videos", names_of(segments[3:]))[1] == set()


@pytest.mark.slow
def test_a_digest_of_a_newer_version_is_refused(storage: QuickStorage, segments: list[Segment]) -> None:
    path = storage.listing(DIGESTS, "videos-")[0].path
    rows = pq.read_table(f"{storage.uri}/{path}")
    pq.write_table(rows.replace_schema_metadata({"schema_version": "99"}), f"{storage.uri}/{path}")
    with pytest.raises(NewerVersion, match="newer maskmill"):
        read_digests(storage, "videos", names_of(segments))


def test_rows_of_a_large_segment_are_not_reported() -> None:
    video = labeled("a", 1, (1,))
    small = {"videos": video.video, "tracks": video.tracks}
    large = {"videos": video.video, "tracks": video.tracks.take([0] * 5_000)}
    assert digest_of("s", small).keys() == set(digest.DIGESTED)
    assert digest_of("s", large) == {}


@pytest.mark.slow
@pytest.mark.parametrize("place", [12, -20])
def test_a_damaged_digest_is_passed_over_and_goes(storage: QuickStorage, segments: list[Segment], place: int) -> None:
    expected = tables.open(storage.uri).tracks()
    for stored in storage.listing(DIGESTS):
        data = storage.read(stored.path)
        storage.replace(stored.path, data[:place] + b"\xff" * 8 + data[place + 8 :])
    for table in digest.DIGESTED:
        assert read_digests(storage, table, names_of(segments))[1] == set()
    assert tables.open(storage.uri).tracks().equals(expected)
    digest.clean_digests(storage, names_of(segments))
    assert storage.listing(DIGESTS) == []
