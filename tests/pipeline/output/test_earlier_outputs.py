"""An output of commit 249c986, left by a driver that was killed in the middle of a video, is read and continued.

`tests/fixtures/job_of_249c986/make.py` says how it was made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import compact
from pipeline.commits.history import Kind
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import look
from pipeline.commits.read_history import read_history
from pipeline.config.compose import job_config
from pipeline.driver.job import open_job, plan_job, reconcile
from pipeline.output.saved_sessions import num_saved
from pipeline.records import Status
from pipeline.status import as_text, read_status
from pipeline.storage.job_storage import JobStorage
from tests.support.clips import iou
from tests.support.drawn_job import DrawnVideo, drawn_video
from tests.support.jobs import JobFolder
from tests.support.labeled import driver, publish
from tests.support.traces import traces

FIXTURE = Path(__file__).parents[2] / "fixtures" / "job_of_249c986"
NUM_FRAMES = {"first": 5, "second": 4, "long": 16}
NUM_SAVED = 4
OPTIONS = ("model=mini", "model.device=cpu", "checkpoint.every_frames=2")


@pytest.fixture
def old(tmp_path: Path) -> JobFolder:
    """A copy of the old job, as if its driver had been killed on this machine."""
    job = JobFolder(tmp_path / "old")
    shutil.copytree(FIXTURE, job.folder)
    (job.output / "_owner.json").write_text(json.dumps(owner_of_a_dead_process(job.output)))
    return job


def owner_of_a_dead_process(output: Path) -> dict[str, object]:
    """The old `_owner.json`, with a process of this machine that has ended. Nothing else of it is changed."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    machine = f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return json.loads((output / "_owner.json").read_text()) | {"machine": machine, "process_id": process.pid}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """The same inputs, labeled by today's code in one run."""
    job = JobFolder(tmp_path_factory.mktemp("undisturbed"))
    shutil.copytree(FIXTURE / "in", job.folder / "in")
    assert job.run(*OPTIONS) == 0
    return job


def frames_of_last_run(job: JobFolder) -> int:
    return int(json.loads((job.output / "_status.json").read_text())["num_frames"])


def assert_same_tables(job: JobFolder, expected: JobFolder) -> None:
    """The same rows; masks that agree as well as two processors do."""
    found, wanted = job.tables(), expected.tables()
    assert found.statuses == wanted.statuses
    key = ["video_id", "object_id", "frame_index", "pts_seconds", "is_prompt"]
    assert found.masks.select(key).equals(wanted.masks.select(key))
    for ours, theirs in zip(found.masks["rle"].to_pylist(), wanted.masks["rle"].to_pylist(), strict=True):
        assert iou(coco.decode(ours).astype(bool), coco.decode(theirs).astype(bool)) >= 0.999
    key = ["video_id", "object_id", "status", "message", "category", "num_prompts", "prompt_frames", "num_masks"]
    assert found.tracks.select(key).equals(wanted.tracks.select(key))


def test_its_tables_are_read_exactly(old: JobFolder) -> None:
    job = tables.open(str(old.output))
    assert {video_id: finished.status for video_id, finished in job.state.finished.items()} == {
        "first": Status.OK,
        "second": Status.OK,
        "broken": Status.FAILED,
        "unprompted": Status.NO_PROMPTS,
    }
    assert job.state.strikes == {"long": 1}
    assert (job.state.epoch, job.state.next_entry) == (2, 6)
    found = old.tables()
    keys = [tuple(row.values()) for row in found.masks.select(["video_id", "object_id", "frame_index"]).to_pylist()]
    assert keys == [(v, o, f) for v in ("first", "second") for o in (1, 2) for f in range(NUM_FRAMES[v])]
    assert found.videos["broken"]["error_class"] == "input"
    assert all(mask.pixels_HW.any() for mask in job.video_masks("first"))
    assert job.job_config()["config"]["model"]["name"] == "mini"


def test_its_status_is_told(old: JobFolder) -> None:
    text = as_text(read_status(JobStorage(str(old.output))))
    assert "state    interrupted: driver host-" in text
    assert "4 of 5 in the tables (2 ok, 1 failed, 1 no_prompts)" in text
    assert "long (1)" in text
    assert "1 unfinished video" in text
    assert "1 × input: bytes of video 'broken'" in text


def test_a_driver_of_it_that_lives_is_left_alone(old: JobFolder) -> None:
    document = owner_of_a_dead_process(old.output)
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    path = old.output / "_owner.json"
    path.write_text(json.dumps(document | {"process_id": os.getpid(), "started": started}))
    owner = look(JobStorage(str(old.output)))
    assert owner is not None
    assert not owner.is_gone
    assert old.run(*OPTIONS) == 3


@pytest.mark.slow
def test_the_same_command_goes_on_from_the_frame_that_was_saved(old: JobFolder, undisturbed: JobFolder) -> None:
    before = {path: change for path, change in old.files().items() if path.endswith(".parquet")}
    assert old.run(*OPTIONS) == 0
    assert frames_of_last_run(old) == NUM_FRAMES["long"] - NUM_SAVED
    assert frames_of_last_run(undisturbed) == sum(NUM_FRAMES.values())
    after = old.files()
    assert all(after.get(path) == change for path, change in before.items() if "/_log/" not in path)
    assert_same_tables(old, undisturbed)
    assert JobStorage(str(old.output)).tree("_sessions") == []


@pytest.mark.slow
def test_its_segments_are_merged_and_videos_leave_it_without_a_trace(old: JobFolder, tmp_path: Path) -> None:
    """Its rows lack columns of today, which are null then."""
    before = old.tables()
    storage = JobStorage(str(old.output))
    assert compact(storage, tmp_path / "spool").num_made == 1
    merged = old.tables()
    assert merged.equals(before)
    assert {row["source_version"] for row in merged.videos.values()} == {None}
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    keeper = SegmentKeeper(storage, log, tmp_path / "spool")
    keeper.forget(["first", "unprompted"])
    keeper.erase({"second", "broken"}.__contains__)
    assert traces(old.output, "unprompted") == []
    after = old.tables()
    assert after.videos.keys() == {"second", "broken"}
    assert after.masks.equals(before.masks.filter(pc.equal(before.masks["video_id"], "second")))
    assert log.state.strikes == {}
    assert old.changes() == dict.fromkeys(("second", "broken"), ("added", "unknown"))


def test_its_log_tells_what_changed_but_not_why(old: JobFolder) -> None:
    history = read_history(JobStorage(str(old.output)))
    assert {change.video_id: change.why for change in history.changes} == dict.fromkeys(old.tables().videos, "unknown")
    assert {change.kind for change in history.changes} == {Kind.ADDED}
    assert history.sums.rows_in["masks"] == old.tables().masks.num_rows
    assert history.sums.rows_out is None


@pytest.mark.slow
def test_its_segments_are_merged_with_those_of_today(old: JobFolder, tmp_path: Path) -> None:
    """What today's columns tell stays, and is null in the rows of then."""
    storage = JobStorage(str(old.output))
    _, keeper = driver(storage, tmp_path / "spool")
    keeper.commit([publish(storage, tmp_path / "spool", drawn_video(DrawnVideo("drawn", {1: "cat", 2: "dog"})))])
    before = old.tables()
    assert compact(storage, tmp_path / "spool").num_made == 1
    merged = old.tables()
    assert merged.equals(before)
    is_new = pc.equal(merged.tracks["video_id"], "drawn")
    assert merged.tracks.filter(is_new)["doubt"].null_count == 0
    of_then = merged.tracks.filter(pc.invert(is_new))
    assert of_then["doubt"].null_count == of_then.num_rows == 5
    assert len(list((old.output / "tracks").iterdir())) == 1


@pytest.mark.slow
def test_labeling_everything_anew_deletes_what_was_saved_with_other_options(old: JobFolder, tmp_path: Path) -> None:
    config = job_config("label", old.arguments("cluster=serial", *OPTIONS, "relabel=true", "propagate.direction=both"))
    job = open_job(config)
    job.log.claim()
    assert num_saved(job.storage) == 1
    plan = reconcile(job, plan_job(job), SegmentKeeper(job.storage, job.log, tmp_path / "spool"))
    assert plan.num_to_label == len(NUM_FRAMES) + 1, "the broken one is tried again as well"
    assert num_saved(job.storage) == 0


def in_document(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = json.loads((folder / "latest.json").read_text())
        (folder / "latest.json").write_text(json.dumps(document | changes))

    return change


def of_other_weights(folder: Path) -> None:
    document = json.loads((folder / "latest.json").read_text())
    in_document(identity=document["identity"] | {"config_hash": "0" * 16})(folder)


def in_session(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Change the JSON text of the session, which is of the same length then."""
    assert len(old) == len(new)

    def change(folder: Path) -> None:
        (path,) = folder.glob("*.safetensors")
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param(in_document(version=99), id="newer document", marks=pytest.mark.slow),
        pytest.param(in_session(b'\\"MemoryBank\\"', b'\\"MemoryBonk\\"'), id="unknown class", marks=pytest.mark.slow),
        pytest.param(of_other_weights, id="other weights", marks=pytest.mark.slow),
        pytest.param(in_session(b'\\"version\\": 1', b'\\"version\\": 9'), id="newer session", marks=pytest.mark.slow),
    ],
)
def test_a_saved_session_that_does_not_fit_starts_the_video_anew(
    old: JobFolder, undisturbed: JobFolder, unfit: Callable[[Path], None]
) -> None:
    (folder,) = (old.output / "_sessions").iterdir()
    unfit(folder)
    assert old.run(*OPTIONS, "checkpoint.every_frames=100") == 0
    assert frames_of_last_run(old) == NUM_FRAMES["long"]
    assert_same_tables(old, undisturbed)
