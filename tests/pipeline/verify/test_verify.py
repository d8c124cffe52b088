"""`conf=verify`: tracks of a job are walked back by an ordinary job, and what came out is kept beside them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.command import ExitCode
from pipeline.config.compose import job_config
from pipeline.demo.inputs import FRAMES_PER_SECOND
from pipeline.driver import driver
from pipeline.errors import ClusterDown, ConfigError
from pipeline.reviews.cycles import read_cycles
from pipeline.run import main
from pipeline.storage.job_storage import JobStorage
from pipeline.verify import verify
from tests.support.jobs import JobFolder

CUT_SECONDS = 2 / FRAMES_PER_SECOND
"""At the third frame of the second clip."""


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> JobFolder:
    job = JobFolder(tmp_path_factory.mktemp("verify"), small_checkpoint).write(
        ["one", "two"], num_frames=4, num_objects=2
    )
    videos = job.folder / "in" / "videos.parquet"
    cuts = pa.array([None, [CUT_SECONDS]], pa.list_(pa.float64()))
    pq.write_table(pq.read_table(videos).append_column("cuts_seconds", cuts), videos)
    assert job.run() == 0
    return job


def words(job: JobFolder, *more: str) -> list[str]:
    given = ["cluster=serial", "verify.tracks=all", "verify.min_predicted_iou=0"]
    return ["conf=verify", f"output={job.output}", *given, *more]


def mask_at(uri: Path, video_id: str, object_id: int, frame_index: int) -> dict[str, Any]:
    where = f"object_id = {object_id} and frame_index = {frame_index}"
    (row,) = tables.open(str(uri)).masks([video_id], columns=["rle"], where=where).to_table().to_pylist()
    rle: dict[str, Any] = row["rle"]
    return rle


@pytest.mark.slow
def test_walks_end_where_a_job_of_ones_own_would_end(
    labeled: JobFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is stopped before it has labeled a walk; the same command goes on, and the job's own rows stay."""
    before = labeled.tables()

    @contextmanager
    def no_cluster(_: object) -> Iterator[Any]:
        raise ClusterDown("no worker")
        yield

    config = job_config("verify", words(labeled)[1:])
    assert verify.run(config, driver.Parts(open_executor=no_cluster)) == 1
    kept = {path.name: path.read_bytes() for path in (labeled.output / "_verify").glob("*.parquet")}
    assert set(kept) == {"walks.parquet", "videos.parquet", "prompts.parquet"}
    assert main(words(labeled)) == 0
    told = capsys.readouterr().out
    assert "this run 2 videos" in told
    assert "_verify" not in told, "its tables are deleted at the end"
    found = read_cycles(JobStorage(str(labeled.output)))
    assert len(found) == 4
    assert not (labeled.output / "_verify").exists()
    assert labeled.tables().equals(before)
    shots = pq.read_table(io.BytesIO(kept["videos.parquet"]))["cuts_seconds"]
    assert shots.to_pylist() == [None, [CUT_SECONDS]], "nothing is walked across a cut, as nothing was followed"
    for name in ("videos", "prompts"):
        (tmp_path / f"{name}.parquet").write_bytes(kept[f"{name}.parquet"])
    given = [f"videos={tmp_path}/videos.parquet", f"prompts={tmp_path}/prompts.parquet", f"output={tmp_path}/walked"]
    own = [f"model.checkpoint={labeled.checkpoint}", "cluster=serial", "propagate.direction=backward"]
    assert main([*given, *own]) == 0
    for (video_id, object_id), cycle in found.items():
        assert (cycle.from_frame, cycle.to_frame) == (3 if video_id == "one" else 1, 0)
        both = [mask_at(uri, video_id, object_id, 0) for uri in (tmp_path / "walked", labeled.output)]
        expected = coco.iou([both[0]], [both[1]], [0])[0, 0]
        assert cycle.iou == pytest.approx(float(expected), abs=1e-6)
        seen = range(cycle.to_frame, cycle.from_frame)
        pairs = [
            [mask_at(uri, video_id, object_id, frame) for uri in (tmp_path / "walked", labeled.output)]
            for frame in seen
        ]
        ious = [float(coco.iou([a], [b], [0])[0, 0]) for a, b in pairs]
        assert cycle.walks_iou == pytest.approx(sum(ious) / len(ious), abs=1e-6), "each frame between is seen twice"
    shown = tables.open(str(labeled.output)).tracks()
    assert shown["walks_iou"].to_pylist() == [found[key].walks_iou for key in sorted(found)]
    assert verify.run(config, driver.Parts(open_executor=no_cluster)) == 0, "nothing is left to walk back"


@pytest.mark.slow
def test_a_track_whose_video_was_away_is_walked_by_the_next_run(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path, small_checkpoint).write(["one", "two"], num_frames=3)
    assert job.run() == 0
    (video,) = (job.folder / "in").rglob("two.mp4")
    away = video.rename(tmp_path / "away.mp4")
    assert main(words(job)) == 0
    assert (
        "  1 track not checked, because their videos cannot be read: the next run takes them" in capsys.readouterr().out
    )
    assert {key[0] for key in read_cycles(JobStorage(str(job.output)))} == {"one"}
    away.rename(video)
    assert main(words(job)) == 0
    assert {key[0] for key in read_cycles(JobStorage(str(job.output)))} == {"one", "two"}


@pytest.mark.slow
def test_where_every_video_is_away_nothing_is_checked_and_the_exit_code_says_so(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path, small_checkpoint).write(["one", "two"], num_frames=3)
    assert job.run() == 0
    for video in (job.folder / "in").rglob("*.mp4"):
        video.rename(video.with_suffix(".away"))
    assert main(words(job)) == ExitCode.FAILURES
    told = capsys.readouterr().out
    assert "verify   nothing is checked: no video of the 2 tracks can be read" in told
    assert "name their new places by videos=" in told
    for video in (job.folder / "in").rglob("*.away"):
        video.rename(video.with_suffix(".mp4"))
    assert main(words(job)) == 0
    assert {key[0] for key in read_cycles(JobStorage(str(job.output)))} == {"one", "two"}


@pytest.mark.slow
def test_tables_that_are_gone_are_a_mistake_and_no_fault_of_maskmill(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path, small_checkpoint).write(["one"], num_frames=2)
    assert job.run() == 0
    (job.folder / "in" / "prompts.parquet").unlink()
    assert main(words(job)) == ExitCode.REFUSED
    assert "maskmill: conf=verify: prompts: " in capsys.readouterr().err


@pytest.mark.slow
def test_where_all_videos_lie_in_a_table_no_job_is_started(
    tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path, small_checkpoint).write(["one"], num_frames=3)
    (video,) = (job.folder / "in").rglob("one.mp4")
    rows = pa.Table.from_pylist([{"video_id": "one", "bytes": video.read_bytes()}])
    pq.write_table(rows, job.folder / "in" / "videos.parquet")
    assert job.run() == 0
    capsys.readouterr()
    assert main(words(job)) == 0
    assert "this run" not in capsys.readouterr().out
    assert not (job.output / "_verify").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [([], "is no job"), (["prompts=p"], "prompts= contradicts conf=verify"), (["check=true"], "check=true")],
)
def test_mistakes_are_refused(tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        verify.run(job_config("verify", [f"output={tmp_path}/none", *more]))
