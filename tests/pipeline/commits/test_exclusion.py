"""A compaction and a prune: whichever comes second is refused, and nothing that was to be removed comes back."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from pipeline.commits.compaction import compact
from pipeline.commits.exclusion import Mark, Work, at_work
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import Heartbeat
from pipeline.commits.process import facts_of_this_process
from pipeline.driver.prune import prune
from pipeline.errors import ConfigError, StorageError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.write import prompts_table, write_table
from pipeline.output.layout import BUSY, busy_mark
from tests.support.dying_storage import Died
from tests.support.labeled import driver, labeled, publish
from tests.support.no_files_left import NoFilesLeft
from tests.support.quick_storage import QuickStorage
from tests.support.traces import traces
from tests.support.waiting import wait_until


@pytest.fixture
def storage(tmp_path: Path) -> QuickStorage:
    """Two segments, with a video that no table has."""
    storage = QuickStorage(str(tmp_path / "job"))
    _, keeper = driver(storage, tmp_path / "spool")
    keeper.commit(
        [publish(storage, tmp_path, labeled("a"), labeled("gone-b")), publish(storage, tmp_path, labeled("c"))]
    )
    return storage


def prune_all_but_a(storage: QuickStorage, folder: Path) -> None:
    rows = [{"video_id": "a", "uri": "a.mp4", "object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 1.0, 9.0, 9.0]}]
    write_table(str(folder / "prompts.parquet"), prompts_table(rows))
    log, keeper = driver(storage, folder / "spool", "driver-2")
    tables = InputTables(None, str(folder / "prompts.parquet"))
    prune(make_plan(tables, CommitLog(storage, "r").load().finished), storage, log.state, keeper)


@pytest.mark.slow
def test_a_prune_beside_a_compaction_is_refused_because_its_rows_could_come_back(
    storage: QuickStorage, tmp_path: Path
) -> None:
    class Racing(QuickStorage):
        """Prunes when the last object of the merged segment is written, and dies then."""

        def put_file(self, local: Path, path: str) -> int:
            size = super().put_file(local, path)
            if path.startswith("videos/"):
                with pytest.raises(ConfigError, match="a compaction is at work on this output"):
                    prune_all_but_a(storage, tmp_path)
                raise Died
            return size

    with pytest.raises(Died):
        compact(Racing(storage.uri), tmp_path / "spool")
    prune_all_but_a(storage, tmp_path)
    assert traces(Path(storage.uri), "gone-b") == []


@pytest.mark.slow
def test_a_compaction_beside_a_prune_is_refused(storage: QuickStorage, tmp_path: Path) -> None:
    with at_work(storage, Work.PRUNE), pytest.raises(ConfigError, match="prune=true is at work") as refused:
        compact(storage, tmp_path / "spool")
    assert len(str(refused.value).splitlines()) == 1
    assert compact(storage, tmp_path / "spool").num_merged == 2
    assert storage.listing(BUSY) == []


@pytest.mark.parametrize("work", Work)
def test_two_of_a_kind_do_not_exclude_each_other(storage: QuickStorage, work: Work) -> None:
    with at_work(storage, work), at_work(storage, work):
        assert len(storage.listing(BUSY)) == 2


def test_who_was_killed_counts_until_it_is_sure_that_nothing_of_it_lives(storage: QuickStorage) -> None:
    ended = subprocess.Popen(["true"])
    facts = facts_of_this_process()
    ended.wait()
    for work, other, blocks in ((Work.PRUNE, Work.COMPACTION, False), (Work.COMPACTION, Work.PRUNE, True)):
        mark = Mark(writer_id="killed", **{**facts, "process_id": ended.pid})
        storage.replace(busy_mark(work, "killed"), mark.to_json())
        if blocks:
            with pytest.raises(ConfigError), at_work(storage, other):
                pass
        with at_work(storage, other, Heartbeat(stale_seconds=-1.0) if blocks else None):
            assert len(storage.listing(BUSY)) == 1


def test_who_cannot_show_that_it_lives_writes_nothing_more(storage: QuickStorage) -> None:
    with at_work(storage, Work.COMPACTION, Heartbeat(stale_seconds=-1.0)) as check, pytest.raises(StorageError):
        check()


def test_an_error_of_the_system_does_not_end_the_signs_of_life(tmp_path: Path) -> None:
    storage = NoFilesLeft(str(tmp_path))
    with at_work(storage, Work.COMPACTION, Heartbeat(every_seconds=0.01)):
        (mark,) = storage.listing(BUSY)
        (tmp_path / "full").touch()
        wait_until((tmp_path / "refused").exists, "a sign of life that fails")
        (tmp_path / "full").unlink()
        (thread,) = (one for one in threading.enumerate() if one.name == "maskmill-at-work")
        before = storage.modified(mark.path)
        wait_until(lambda: not thread.is_alive() or storage.modified(mark.path) != before, "another sign of life")
        assert thread.is_alive()
