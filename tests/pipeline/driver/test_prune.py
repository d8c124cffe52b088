"""What leaves an output with `prune=true`: every trace of the videos that no table has, and nothing of the others."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.log import CommitLog
from pipeline.commits.read_history import read_history
from pipeline.commits.run_document import CauseOfFailure, RunDocument, keep_run, write_last_run
from pipeline.commits.status_file import RunStatus, write_status
from pipeline.commits.waiting_list import WaitingList, write_waiting
from pipeline.config.worker_config import CheckpointConfig
from pipeline.driver.prune import is_pruned, prune
from pipeline.errors import ConfigError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.kept_listing import KeptListing, write_kept
from pipeline.inputs.plan import Plan, make_plan
from pipeline.inputs.write import prompts_table, write_table
from pipeline.output.layout import VERIFY_WALKS
from pipeline.output.saved_sessions import SessionStore
from pipeline.output.segments import list_segments
from pipeline.records import Status
from pipeline.reviews.corrections import write_corrections
from pipeline.reviews.verdicts import read_verdicts, write_verdicts
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes
from tests.support.dying_storage import Died, DyingStorage, deaths
from tests.support.labeled import driver, labeled, mask_rows, publish
from tests.support.quick_storage import QuickStorage
from tests.support.s3_server import S3Server
from tests.support.traces import traces

GONE = ("gone-labeled", "gone-failed", "gone-saved", "gone-struck", "gone-forgotten")


def a_job(storage: JobStorage, spool: Path) -> None:
    """An output with three wanted videos, and with others of which it knows in every way that there is."""
    log, keeper = driver(storage, spool, "driver-0")
    keeper.commit([publish(storage, spool, labeled("a"), labeled("gone-labeled"))], {"gone-struck": 1, "b": 1})
    keeper.commit([publish(storage, spool, labeled("gone-failed", status=Status.FAILED), labeled("gone-forgotten"))])
    keeper.forget(["gone-forgotten"])
    log.roll_up()
    keeper.commit([publish(storage, spool, labeled("c"))])
    said = {"object_id": 1, "reviewer": "ann", "reviewed_at": datetime(2026, 11, 29, tzinfo=UTC)}
    write_verdicts(storage, [{**said, "video_id": name, "verdict": "accept"} for name in ("a", "gone-labeled")])
    write_corrections(storage, [{**said, "video_id": "gone-saved", "frame_index": 1, "kind": "hidden"}])
    storage.replace(VERIFY_WALKS, parquet_bytes(pa.table({"video_id": ["gone-labeled"]})))
    publish(storage, spool, labeled("gone-labeled"))  # of a worker that was killed before its commit
    for video_id in ("gone-saved", "b"):
        session = SessionStore(storage, {"video_id": video_id}, CheckpointConfig())
        assert session.save(b"state", mask_rows(video_id, (1,), 3).to_batches(), 3)
    write_status(storage, RunStatus(state="stopped", last_error="video 'gone-failed': it is broken"))
    ended = RunDocument(
        output=str(storage),
        started_at="2026-11-02T02:00:00+00:00",
        ended_at="2026-11-02T06:00:00+00:00",
        seconds=14400.0,
        state="budget",
        exit_code=0,
        message="2 videos left",
        causes=[CauseOfFailure(kind="failed", error_class="input", message="gone-failed: it is broken", count=1)],
    )
    write_last_run(storage, ended)
    keep_run(storage, ended)
    write_kept(
        storage, KeptListing(place="p", start_after="in/z", open_paths=["/gone-failed.mp4"], missing=("gone-saved",))
    )
    write_waiting(storage, WaitingList(pa.array(["b", "gone-saved"], pa.large_string()), np.array([1, 2])))
    if storage.is_local:
        half = Path(storage.uri) / "_tmp" / "half"
        half.parent.mkdir(exist_ok=True)
        half.write_text("rows of gone-labeled that a killed driver was writing")


def planned(folder: Path, storage: JobStorage, *names: str) -> Plan:
    rows = [
        {"video_id": name, "uri": f"{name}.mp4", "object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 1.0, 9.0, 9.0]}
        for name in (*names, "nobody")
    ]
    write_table(str(folder / "prompts.parquet"), prompts_table(rows).slice(0, len(names)))
    return make_plan(InputTables(None, str(folder / "prompts.parquet")), CommitLog(storage, "r").load().finished)


def pruned(storage: JobStorage, folder: Path, writer_id: str) -> tuple[CommitLog, SegmentKeeper]:
    """What a driver does that takes the job for a run with `prune=true`, up to where it starts workers."""
    log, keeper = driver(storage, folder / "spool", writer_id)
    prune(planned(folder, storage, "a", "b", "c"), storage, log.state, keeper)
    return log, keeper


def kept(storage: JobStorage) -> dict[str, object]:
    """What the job has of the wanted videos: their rows, and what waits for the next run."""
    job = tables.open(storage.uri, storage.storage_options)
    masks = job.masks(["a", "c"]).to_table().sort_by([(key, "ascending") for key in ("video_id", "object_id")])
    saved = SessionStore(storage, {"video_id": "b"}, CheckpointConfig()).load()
    return {
        "masks": masks,
        "videos": job.videos(["a", "c"]).drop_columns(["segment"]),
        "strikes": job.state.strikes.get("b"),
        "verdict": read_verdicts(storage)["a", 1],
        "saved": saved and (saved.state, saved.num_frames),
    }


@pytest.mark.slow
def test_no_byte_of_a_former_video_stays_and_no_row_of_another_goes(tmp_path: Path) -> None:
    storage = QuickStorage(str(tmp_path / "out"))
    a_job(storage, tmp_path / "spool")
    before = kept(storage)
    assert all(traces(tmp_path / "out", video_id) for video_id in GONE)
    log, _ = pruned(storage, tmp_path, "driver-1")
    assert {video_id: traces(tmp_path / "out", video_id) for video_id in GONE} == {video_id: [] for video_id in GONE}
    assert kept(storage) == before
    assert set(tables.open(storage.uri).videos()["video_id"].to_pylist()) == {"a", "c"}
    assert list_segments(storage).keys() == log.state.segments.keys()
    assert CommitLog(storage, "r").load() == log.state
    assert is_pruned(planned(tmp_path, storage, "a", "b", "c"), log.state)
    history = read_history(storage)
    assert [change.video_id for change in history.changes] == ["a", "c"]
    assert history.sums.num_unnamed == 3, "two that were pruned, and one that was forgotten before"


@pytest.mark.slow
def test_an_object_store_keeps_no_trace_either(tmp_path: Path, s3_server: S3Server) -> None:
    storage = JobStorage(f"{s3_server.new_folder()}/job", s3_server.options())
    a_job(storage, tmp_path / "spool")
    before = kept(storage)
    pruned(storage, tmp_path, "driver-1")
    assert kept(storage) == before
    filesystem, path = fsspec.url_to_fs(storage.uri, **s3_server.options())
    filesystem.get(f"{path}/", f"{tmp_path}/copy/", recursive=True)
    assert list((tmp_path / "copy").rglob("*.parquet"))
    assert [video_id for video_id in GONE if traces(tmp_path / "copy", video_id)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "every_nth",
    [19, pytest.param(4, marks=pytest.mark.slow), pytest.param(1, marks=[pytest.mark.slow, pytest.mark.chaos])],
)
def test_a_driver_that_dies_at_any_write_is_followed_by_one_that_finds_what_is_left(
    tmp_path: Path, every_nth: int
) -> None:
    a_job(QuickStorage(str(tmp_path / "before")), tmp_path / "spool")
    undisturbed = DyingStorage(str(shutil.copytree(tmp_path / "before", tmp_path / "undisturbed")))
    pruned(undisturbed, tmp_path, "driver-1")
    expected = kept(QuickStorage(undisturbed.uri))
    assert undisturbed.num_writes > 20
    for dies_at, dies_after in deaths(undisturbed.num_writes, every_nth):
        output = tmp_path / f"{dies_at}-{dies_after}"
        shutil.copytree(tmp_path / "before", output)
        with pytest.raises(Died):
            pruned(DyingStorage(str(output), dies_at=dies_at, dies_after=dies_after), tmp_path, "driver-1")
        storage = QuickStorage(str(output))
        state = CommitLog(storage, "r").load()
        left = [video_id for video_id in GONE if traces(output, video_id)]
        assert not (left and is_pruned(planned(tmp_path, storage, "a", "b", "c"), state)), (output, left)
        assert kept(storage) == expected, output
        log, _ = pruned(storage, tmp_path, "driver-2")
        assert [video_id for video_id in GONE if traces(output, video_id)] == [], output
        assert kept(storage) == expected, output
        assert is_pruned(planned(tmp_path, storage, "a", "b", "c"), log.state)
        assert [change.video_id for change in read_history(storage).changes] == ["a", "c"], output


@pytest.mark.slow
def test_former_videos_stay_when_nobody_prunes_and_are_counted(tmp_path: Path) -> None:
    storage = QuickStorage(str(tmp_path / "out"))
    a_job(storage, tmp_path / "spool")
    plan = planned(tmp_path, storage, "a", "b")
    assert (plan.num_videos, plan.num_former) == (2, 3)
    assert sorted(plan.former(CommitLog(storage, "r").load().finished)) == ["c", "gone-failed", "gone-labeled"]


@pytest.mark.slow
def test_tables_without_videos_remove_nothing(tmp_path: Path) -> None:
    storage = QuickStorage(str(tmp_path / "out"))
    a_job(storage, tmp_path / "spool")
    log, keeper = driver(storage, tmp_path / "spool", "driver-1")
    with pytest.raises(ConfigError, match=r"would remove all 4 videos of .* because the tables name no video"):
        prune(planned(tmp_path, storage), storage, log.state, keeper)
    assert traces(tmp_path / "out", "gone-labeled")
