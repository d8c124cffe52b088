"""Segments and log agree, whatever stops in between: no row is lost, none is doubled."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipeline import tables
from pipeline.commits.committer import rewrite_without
from pipeline.commits.log import CommitLog
from pipeline.driver.results import JobLedger
from pipeline.errors import LostOwnership, StorageError
from pipeline.output.rows import Provenance
from pipeline.output.schema import TABLES
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import SegmentWriter
from pipeline.output.segments import read_footer
from pipeline.records import Segment, Status
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from tests.support.dying_storage import Died, DyingStorage, deaths
from tests.support.full_disk import FULL, full_disk
from tests.support.labeled import driver, labeled, publish
from tests.support.quick_storage import QuickStorage

KEYS = [("video_id", "ascending"), ("object_id", "ascending"), ("frame_index", "ascending")]


def masks(storage: JobStorage) -> pa.Table:
    return tables.open(storage.uri, storage.storage_options).masks().to_table().sort_by(KEYS)


def expected_masks(*videos: tuple[str, int]) -> pa.Table:
    return pa.concat_tables([labeled(video_id, frames).masks for video_id, frames in videos]).sort_by(KEYS)


def statuses(storage: JobStorage) -> dict[str, str]:
    videos = tables.open(storage.uri, storage.storage_options).videos()
    assert len(set(videos["video_id"].to_pylist())) == videos.num_rows, "a video is in the tables twice"
    return dict(zip(videos["video_id"].to_pylist(), videos["status"].to_pylist(), strict=True))


def globbed(storage: JobStorage) -> pa.Table:
    """What a plain glob of the files shows, without the log."""
    filesystem, root = storage.arrow_filesystem()
    paths = [f"{root}/{stored.path}" for stored in storage.listing("masks")]
    return ds.dataset(paths, filesystem=filesystem, format="parquet").to_table().sort_by(KEYS)


def test_committed_segments_are_in_the_tables(storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(storage, tmp_path)
    counted = keeper.commit([publish(storage, tmp_path, labeled("b", 4), labeled("a", 7))], {"c": 1})
    keeper.commit([publish(storage, tmp_path, labeled("c", status=Status.FAILED))])
    assert {outcome.video_id for outcome in counted} == {"a", "b"}
    assert masks(storage).equals(expected_masks(("a", 7), ("b", 4)).combine_chunks())
    assert statuses(storage) == {"a": "ok", "b": "ok", "c": "failed"}


def test_published_but_uncommitted_rows_do_not_show(disk_storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    publish(disk_storage, tmp_path, labeled("b"))
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    assert statuses(disk_storage) == {"a": "ok"}


@pytest.mark.slow
def test_a_video_labeled_twice_counts_once(storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(storage, tmp_path)
    first = publish(storage, tmp_path, labeled("a", 7), labeled("b", 4))
    again = publish(storage, tmp_path, labeled("b", 4), labeled("c", 3))
    only_again = publish(storage, tmp_path, labeled("a", 7))
    assert [outcome.video_id for outcome in keeper.commit([first])] == ["a", "b"]
    assert [outcome.video_id for outcome in keeper.commit([again, only_again])] == ["c"]
    assert keeper.commit([first, again, only_again]) == [], "a receipt that comes twice changes nothing"
    assert masks(storage).equals(expected_masks(("a", 7), ("b", 4), ("c", 3)).combine_chunks())
    assert globbed(storage).num_rows == masks(storage).num_rows, "replaced files are gone"
    assert log.state.removed == {again.name, only_again.name}


def test_two_attempts_in_one_commit_count_once(disk_storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    segments = [publish(disk_storage, tmp_path, labeled("a", 5), labeled(other, 3)) for other in ("b", "c")]
    keeper.commit(segments)
    assert masks(disk_storage).equals(expected_masks(("a", 5), ("b", 3), ("c", 3)).combine_chunks())


def test_a_rewritten_segment_lacks_only_the_named_videos(storage: JobStorage, tmp_path: Path) -> None:
    segment = publish(storage, tmp_path, labeled("a", 5), labeled("b", 4), labeled("c", status=Status.FAILED))
    copy = rewrite_without(storage, segment.name, {"a"}, tmp_path, epoch=9)
    assert copy is not None
    assert [outcome.video_id for outcome in copy.outcomes] == ["b", "c"]
    assert copy.num_rows == {"masks": 8, "tracks": 2, "videos": 2}
    footer = read_footer(storage, copy.name)
    assert footer.segment == copy
    assert (footer.origin.epoch, footer.origin.fingerprint) == (9, "f")
    assert rewrite_without(storage, segment.name, {"a", "b", "c"}, tmp_path, epoch=9) is None


class NoUploads(JobStorage):
    """A store that takes no files."""

    def put_file(self, local: Path, path: str) -> int:
        raise StorageError("no answer")


def test_a_copy_that_cannot_be_published_is_not_kept_on_disk(disk_storage: JobStorage, tmp_path: Path) -> None:
    segment = publish(disk_storage, tmp_path, labeled("a"), labeled("b"))
    spool = tmp_path / "copies"
    with pytest.raises(StorageError, match="no answer"):
        rewrite_without(NoUploads(disk_storage.uri), segment.name, {"a"}, spool, epoch=9)
    assert list(spool.iterdir()) == []


@pytest.mark.slow
def test_forgotten_videos_leave_the_tables_and_can_be_labeled_again(storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, labeled("a", 5), labeled("b", 4))])
    keeper.commit([publish(storage, tmp_path, labeled("c", 3))])
    keeper.forget(["a", "c", "never heard of"])
    assert masks(storage).equals(expected_masks(("b", 4)).combine_chunks())
    assert set(log.state.finished) == {"b"}
    keeper.commit([publish(storage, tmp_path, labeled("a", 6, prompt_hash="p2"))])
    assert masks(storage).equals(expected_masks(("a", 6), ("b", 4)).combine_chunks())
    assert log.state.finished["a"].prompt_hash == "p2"
    assert globbed(storage).num_rows == masks(storage).num_rows


@pytest.mark.slow
def test_many_segments_are_forgotten_in_several_entries(disk_storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled(f"v{n}", 1), labeled(f"w{n}", 1)) for n in range(18)])
    keeper.forget([f"v{n}" for n in range(18)])
    assert set(log.state.finished) == {f"w{n}" for n in range(18)}
    assert globbed(disk_storage).num_rows == 36


@pytest.mark.slow
def test_whole_segments_of_a_dead_run_are_adopted(storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, labeled("a", 5))])
    publish(storage, tmp_path, labeled("b", 4))
    publish(storage, tmp_path, labeled("a", 5), labeled("c", 3))
    publish(storage, tmp_path, labeled("other model", 2), fingerprint="g")
    half = publish(storage, tmp_path, labeled("half", 2))
    storage.delete([f"masks/{half.name}.parquet"])
    storage.replace("videos/not ours.parquet", b"?")
    _, successor = driver(storage, tmp_path, "driver-2")
    assert sorted(outcome.video_id for outcome in successor.adopt("f")) == ["b", "c"]
    assert masks(storage).equals(expected_masks(("a", 5), ("b", 4), ("c", 3)).combine_chunks())
    assert successor.adopt("f") == []


def test_a_full_spool_is_said_and_the_same_call_works_when_there_is_room(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b"))])
    with full_disk(), pytest.raises(StorageError, match=rf"the spool .* failed: .*{FULL}.* Free some space"):
        keeper.forget(["a"])
    assert statuses(disk_storage) == {"a": "ok", "b": "ok"}
    keeper.forget(["a"])
    assert statuses(disk_storage) == {"b": "ok"}


def test_a_receipt_that_comes_after_adoption_changes_nothing(disk_storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    late = publish(disk_storage, tmp_path, labeled("a"))
    assert [outcome.video_id for outcome in keeper.adopt("f")] == ["a"]
    entries = log.state.next_entry
    assert keeper.commit([late]) == []
    assert log.state.next_entry == entries


def test_rows_that_were_dropped_on_purpose_are_not_adopted(disk_storage: JobStorage, tmp_path: Path) -> None:
    class KeepsFiles(JobStorage):
        def delete(self, paths: object) -> None:
            raise StorageError("stopped before the deletes")

    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b"))])
    keeper._storage = KeepsFiles(disk_storage.uri)
    keeper.forget(["a"])
    assert len(disk_storage.listing("masks")) == 2, "the old file is still there"
    _, successor = driver(disk_storage, tmp_path, "driver-2")
    assert successor.adopt("f") == []
    assert statuses(disk_storage) == {"b": "ok"}


def test_a_clean_end_leaves_only_files_that_count(storage: JobStorage, tmp_path: Path) -> None:
    log, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, labeled("a", 5))])
    stray = publish(storage, tmp_path, labeled("b", 4))
    storage.replace("tracks/e000001-dead-worker-0123456789ab.parquet", b"torn")
    storage.replace("tracks/notes.parquet", b"somebody else's")
    assert keeper.sweep() == 2
    assert storage.read("tracks/notes.parquet") == b"somebody else's"
    assert globbed(storage).equals(masks(storage).combine_chunks())
    storage.delete(["tracks/notes.parquet"])
    assert [len(storage.listing(table)) for table in ("masks", "tracks", "videos")] == [1, 1, 1]
    assert stray.name in log.state.removed
    entries = log.state.next_entry
    assert keeper.sweep() == 0
    assert log.state.next_entry == entries, "nothing to do writes nothing"


def test_a_clean_end_deletes_what_killed_writers_left_aside_long_ago_and_a_prune_all_that_they_left(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    for name, age_seconds in (("old", 7200), ("at work", 0)):
        disk_storage.replace(f"_tmp/{name}", b"rows of a video")
        written_at = time.time() - age_seconds
        os.utime(Path(disk_storage.uri, "_tmp", name), (written_at, written_at))
    keeper.sweep()
    assert [stored.path for stored in disk_storage.listing("_tmp")] == ["_tmp/at work"]
    keeper.erase(lambda _video_id: True)
    assert disk_storage.listing("_tmp") == [], "it may hold rows of a video that was pruned"


@pytest.mark.parametrize("table", TABLES)
def test_a_lost_object_is_named_with_the_remedy_and_in_nobodys_way_who_needs_no_row_of_it(
    disk_storage: JobStorage, tmp_path: Path, table: str
) -> None:
    """Somebody has deleted it, or a rule of the bucket has. A run that rewrote its segment ended with a traceback."""
    log, keeper = driver(disk_storage, tmp_path)
    lost = publish(disk_storage, tmp_path, labeled("a"), labeled("b"))
    keeper.commit([lost, publish(disk_storage, tmp_path, labeled("c"))])
    Path(disk_storage.uri, table, f"{lost.name}.parquet").unlink()
    with pytest.raises(StorageError, match=rf"{table}/{lost.name}\.parquet is missing, and the .* put it back") as told:
        keeper.forget(["a"])
    assert not told.value.transient, "waiting does not bring it back"
    assert set(log.state.finished) == {"a", "b", "c"}
    again = publish(disk_storage, tmp_path, labeled("c", 9), labeled("d"))
    keeper.commit([again])
    keeper.forget(["a", "b"])
    assert set(log.state.finished) == {"c", "d"}


def test_a_driver_that_lost_the_job_deletes_nothing(disk_storage: JobStorage, tmp_path: Path) -> None:
    _, old = driver(disk_storage, tmp_path)
    old.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b"))])
    publish(disk_storage, tmp_path, labeled("c"))
    _, new = driver(disk_storage, tmp_path, "driver-2")
    assert len(new.adopt("f")) == 1
    with pytest.raises(LostOwnership):
        old.sweep()
    with pytest.raises(LostOwnership):
        old.forget(["a"])
    assert statuses(disk_storage) == {"a": "ok", "b": "ok", "c": "ok"}
    assert set(globbed(disk_storage)["video_id"].to_pylist()) == {"a", "b", "c"}


class LosesAnswers(JobStorage):
    """Does the n-th create, then says that it could not."""

    loses_at = -1

    def create(self, path: str, data: bytes) -> None:
        super().create(path, data)
        self.loses_at -= 1
        if self.loses_at == 0:
            raise StorageError("the connection broke")


@pytest.mark.parametrize("step", ["commit", "forget"])
def test_a_step_whose_answer_was_lost_can_be_repeated(disk_storage: JobStorage, tmp_path: Path, step: str) -> None:
    storage = LosesAnswers(disk_storage.uri)
    log, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, labeled("a", 5), labeled("b", 4))])
    again = publish(storage, tmp_path, labeled("b", 4), labeled("c", 3))

    def run() -> None:
        if step == "commit":
            keeper.commit([again])
        else:
            keeper.forget(["a"])

    storage.loses_at = 1
    with pytest.raises(StorageError):
        run()
    run()
    assert log.state == CommitLog(disk_storage, "r").load()
    left = ("a", "b", "c") if step == "commit" else ("b",)
    assert statuses(storage) == dict.fromkeys(left, "ok")


def test_a_ledgers_repeated_commit_returns_what_the_first_made_final(disk_storage: JobStorage, tmp_path: Path) -> None:
    storage = LosesAnswers(disk_storage.uri)
    log, keeper = driver(storage, tmp_path)
    writer = SegmentWriter(storage, tmp_path, SegmentOrigin(1, "driver", "f"))
    provenance = Provenance("driver", "mini", "f", "")
    ledger = JobLedger(keeper, writer, provenance, lambda: JobTables(storage, log.state))
    segment = publish(storage, tmp_path, labeled("a"), labeled("b"))
    storage.loses_at = 1
    with pytest.raises(StorageError):
        ledger.commit([segment], {})
    assert [outcome.video_id for outcome in ledger.commit([segment], {})] == ["a", "b"]


def a_job(storage: JobStorage, spool: Path, writer_id: str) -> None:
    """A small job: what a driver does from its start to its end, over what an earlier one may have left.

    Videos a to f are wanted. An attempt too many (c) and an outdated video (old) are among the segments.
    """
    frames = {"a": 5, "b": 4, "c": 3, "d": 2, "e": 1, "f": 2}
    log, keeper = driver(storage, spool, writer_id)
    keeper.adopt("f")
    keeper.forget([video_id for video_id, finished in log.state.finished.items() if finished.prompt_hash == "outdated"])
    remaining = [video_id for video_id in frames if video_id not in log.state.finished]
    groups = [[v for v in remaining if v in group] for group in ("ab", "cd", "ec", "f")]
    published: list[Segment] = []
    for group in groups:
        if group:
            published.append(publish(storage, spool, *(labeled(v, frames[v]) for v in group), epoch=log.state.epoch))
        if len(published) == 2:
            keeper.commit(published, {"b": 1})
            published = []
    keeper.commit(published)
    keeper.sweep()


def outdated(storage: JobStorage, spool: Path) -> None:
    """What an earlier run left: segments with an outdated video each."""
    _, keeper = driver(storage, spool, "driver-0")
    for kept in "bd":
        frames = {"b": 4, "d": 2}[kept]
        old = labeled(f"old-{kept}", 3, prompt_hash="outdated")
        keeper.commit([publish(storage, spool, labeled(kept, frames), old)])


@pytest.mark.slow
@pytest.mark.parametrize("every_nth", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_driver_that_dies_at_any_write_loses_and_doubles_nothing(tmp_path: Path, every_nth: int) -> None:
    before, spool = tmp_path / "before", tmp_path / "spool"
    outdated(QuickStorage(str(before)), spool)
    undisturbed = DyingStorage(str(shutil.copytree(before, tmp_path / "undisturbed")))
    a_job(undisturbed, spool, "driver-1")
    expected = masks(undisturbed)
    assert Counter(expected["video_id"].to_pylist()) == {"a": 10, "b": 8, "c": 6, "d": 4, "e": 2, "f": 4}
    assert undisturbed.num_writes > 30
    for dies_at, dies_after in deaths(undisturbed.num_writes, every_nth):
        uri = str(shutil.copytree(before, tmp_path / f"{dies_at}-{dies_after}"))
        with pytest.raises(Died):
            a_job(DyingStorage(uri, dies_at=dies_at, dies_after=dies_after), spool, "driver-1")
        storage = QuickStorage(uri)
        statuses(storage)
        a_job(storage, spool, "driver-2")
        assert masks(storage).equals(expected), uri
        assert globbed(storage).equals(expected), uri
        assert statuses(storage) == dict.fromkeys("abcdef", "ok"), uri
