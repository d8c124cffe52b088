"""The worker with the mini model: what it labels, publishes, gives back, and survives."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from botocore.exceptions import NoCredentialsError
from pycocotools import mask as coco

from model.tracking.state import FrameResult, Step
from model.tracking.steps import advance
from pipeline.cluster.executor import make_worker
from pipeline.config.job_config import CheckpointConfig, FlushConfig, ModelConfig, WorkerConfig
from pipeline.errors import StorageError
from pipeline.inputs.plan import make_plan
from pipeline.inputs.shards import InputTables
from pipeline.output.segment_writer import SegmentWriter
from pipeline.records import Report, Status, VideoSource, Weights, WorkItem
from pipeline.storage.job_storage import JobStorage
from pipeline.worker import worker as worker_module
from pipeline.worker.labeler import LabelOptions, label_steps
from pipeline.worker.settings import JobFacts, WorkerSettings
from pipeline.worker.video_in_flight import VideoInFlight
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.media_files import encode_image

NUM_FRAMES = 3
LAZY = FlushConfig(megabytes=1 << 20, seconds=1e9, elapsed_fraction=1.0)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WorkItem]:
    clips = [moving_clip(name, num_frames=NUM_FRAMES, seed=seed) for seed, name in enumerate("abc")]
    videos, prompts = write_job_inputs(tmp_path_factory.mktemp("inputs"), clips)
    plan = make_plan(InputTables(str(videos), str(prompts)), {})
    return {item.video_id: item for item in plan.items()}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker that publishes its first video at once, and others when it is asked to."""
    facts = JobFacts(
        weights=Weights("mini", None, "sha256:0"),
        storage=JobStorage(str(tmp_path / "job")),
        storage_options={},
        epoch=1,
        config_hash="f",
        versions="maskmill 0",
    )
    settings = WorkerSettings(
        facts,
        ModelConfig(name="mini", checkpoint="mini", dtype="float32"),
        flush=LAZY,
        worker=WorkerConfig(beat_seconds=15.0, spool_dir=str(tmp_path / "spool")),
    )
    made = make_worker(settings, "w0")
    made.setup()
    yield made
    made.close()
    assert not list((tmp_path / "spool").iterdir())


def with_worker(settings: WorkerSettings, **changes: Any) -> WorkerSettings:
    """The same settings with other values in the group `worker`."""
    return replace(settings, worker=settings.worker.model_copy(update=changes))


def published(worker: Worker, table: str) -> list[dict[str, object]]:
    folder = Path(worker.settings.job.storage.uri) / table
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    rows: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
    return rows


def finish(worker: Worker, *items: WorkItem) -> list[Report]:
    """Works until nothing is open, then drains."""
    reports = [worker.work(items)]
    while reports[-1].in_flight:
        reports.append(worker.work(()))
    return [*reports, worker.drain()]


def outcomes(reports: list[Report]) -> dict[str, Status]:
    return {
        outcome.video_id: outcome.status
        for report in reports
        for segment in report.segments
        for outcome in segment.outcomes
    }


def test_a_call_ends_with_each_video_and_the_next_one_is_fetched_meanwhile(
    worker: Worker, items: dict[str, WorkItem]
) -> None:
    first = worker.work([items["a"], items["b"]])
    assert outcomes([first]) == {"a": Status.OK}
    assert [(progress.video_id, progress.stage) for progress in first.in_flight] == [("b", "waiting")]
    assert first.num_frames == NUM_FRAMES
    assert set(first.stage_seconds) == {"fetch", "decode", "propagate", "encode"}
    second = worker.work([items["c"]])
    assert second.segments == ()
    assert second.unflushed == ("b",)
    third = worker.work([])
    assert third.unflushed == ("b", "c")
    assert outcomes([worker.drain()]) == {"b": Status.OK, "c": Status.OK}


def test_rows_say_where_they_come_from(worker: Worker, items: dict[str, WorkItem]) -> None:
    finish(worker, items["a"])
    (video,) = published(worker, "videos")
    assert video["prompt_hash"] == items["a"].prompt_hash
    assert (video["worker"], video["config_hash"], video["checkpoint"]) == ("w0", "f", "mini@sha256:0")
    assert (video["num_frames"], video["num_frames_decoded"], video["num_masks"]) == (NUM_FRAMES, NUM_FRAMES, 6)
    assert (video["height"], video["width"], video["rotation_degrees"]) == (96, 128, 0)
    assert str(video["uri"]).endswith("a.mp4")
    assert {row["is_prompt"] for row in published(worker, "masks") if row["frame_index"] == 0} == {True}


def test_an_ok_video_says_how_many_damaged_frames_were_left_out(
    worker: Worker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, pixels in enumerate(moving_clip("a", num_frames=NUM_FRAMES).frames_THW3):
        (folder / f"{number}.png").write_bytes(encode_image(pixels))
    (folder / "0b.png").write_bytes(b"broken")
    assert outcomes(finish(worker, replace(items["a"], source=VideoSource(str(folder))), items["b"])) == dict.fromkeys(
        "ab", Status.OK
    )
    videos = {row["video_id"]: row for row in published(worker, "videos")}
    assert {name: row["message"] for name, row in videos.items()} == {"a": "left out: 1 damaged frame", "b": ""}
    assert {row["error_class"] for row in videos.values()} == {""}


def test_a_heartbeat_comes_in_the_middle_of_a_video(worker: Worker, items: dict[str, WorkItem]) -> None:
    worker.settings = with_worker(worker.settings, beat_seconds=0.01)
    reports = finish(worker, items["a"])
    assert len(reports) > 3
    assert sum(report.num_frames for report in reports) == NUM_FRAMES
    assert outcomes(reports) == {"a": Status.OK}


def test_a_missing_file_is_a_failed_row_and_the_next_video_is_labelled(
    worker: Worker, items: dict[str, WorkItem]
) -> None:
    missing = replace(items["b"], source=VideoSource("/no/such/file.mp4"))
    assert outcomes(finish(worker, missing, items["a"])) == {"b": Status.FAILED, "a": Status.OK}
    failed = next(row for row in published(worker, "videos") if row["video_id"] == "b")
    assert failed["error_class"] == "input"
    assert "there is no such file" in str(failed["message"])
    tracks = [row for row in published(worker, "tracks") if row["video_id"] == "b"]
    assert [(row["object_id"], row["status"]) for row in tracks] == [(1, "failed"), (2, "failed")]
    assert all("there is no such file" in str(row["message"]) for row in tracks)


def test_a_storage_fault_gives_the_item_back(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("reading a.mp4 failed 9 times; key=AKIA")

    monkeypatch.setattr(worker_module, "open_media", away)
    report = worker.work([items["a"]])
    assert report.returned == (items["a"],)
    assert report.segments == ()
    assert "reading a.mp4" in report.storage_errors[0]
    monkeypatch.undo()
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "disk full"),
        OSError(errno.EMFILE, "too many files"),
        OSError(errno.EIO, "input/output error"),
        NoCredentialsError(),
    ],
    ids=str,
)
def test_a_full_or_failing_disk_and_missing_credentials_are_not_the_videos_fault(
    error: Exception, worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "label_steps", Fails(error))
    report = worker.work([items["a"]])
    assert (report.returned, report.segments) == ((items["a"],), ())
    assert str(error) in report.storage_errors[0]
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}


class Fails:
    """`label_steps` that raises on its first calls."""

    def __init__(self, error: Exception, count: int = 1) -> None:
        self.error, self.count = error, count
        self.options: list[LabelOptions] = []

    def __call__(self, *arguments):  # type: ignore[no-untyped-def]
        self.options.append(arguments[4])
        if len(self.options) > self.count:
            return label_steps(*arguments)
        return self._raise()

    def _raise(self) -> Iterator[None]:
        raise self.error
        yield


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("host")])
def test_out_of_memory_is_tried_again_with_less(
    error: Exception, worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = Fails(error)
    monkeypatch.setattr(worker_module, "label_steps", fails)
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}
    assert [options.max_objects for options in fails.options] == [None, 1]
    assert len(published(worker, "masks")) == 2 * NUM_FRAMES


def test_out_of_memory_twice_is_a_failed_video(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "label_steps", Fails(torch.OutOfMemoryError("CUDA out of memory"), 2))
    assert outcomes(finish(worker, items["a"], items["b"])) == {"a": Status.FAILED, "b": Status.OK}
    assert {row["error_class"] for row in published(worker, "videos")} == {"memory", ""}


@pytest.mark.parametrize("error", [MemoryError("host"), RuntimeError("could not create a primitive")])
def test_no_memory_of_the_host_is_for_a_fresh_worker_to_judge(
    error: Exception, worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "label_steps", Fails(error, 2))
    report = worker.work([items["a"]])
    assert f"video 'a': {type(error).__name__}" in report.poisoned
    assert report.segments == ()
    assert [progress.video_id for progress in report.in_flight] == ["a"]


def test_a_fetch_that_hangs_is_said_and_what_is_finished_is_published(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(worker, items["a"])
    worker.work([items["b"]])
    released = threading.Event()
    monkeypatch.setattr(Worker, "_fetch", lambda self, video: released.wait(60))
    worker.settings = with_worker(worker.settings, beat_seconds=0.05)
    worker._fetch_watch._hang_seconds = 0.1
    reports = [worker.work([items["c"]])]
    while not reports[-1].poisoned:
        reports.append(worker.work([]))
    released.set()
    assert "fetching 'c' hangs" in reports[-1].poisoned
    assert outcomes(reports) == {"b": Status.OK}
    assert len(reports) < 20


def test_another_device_error_poisons_the_worker_and_finished_videos_are_published(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.work([items["a"], items["b"]])
    worker.work([])
    monkeypatch.setattr(worker_module, "label_steps", Fails(RuntimeError("CUDA error: device-side assert triggered")))
    report = worker.work([items["c"]])
    assert "device-side assert" in report.poisoned
    assert outcomes([report]) == {"b": Status.OK}
    assert [progress.video_id for progress in report.in_flight] == ["c"]


def test_a_fault_of_ours_is_a_failed_row_too(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "label_steps", Fails(KeyError("surprise https://h/a.mp4?sig=hidden")))
    assert outcomes(finish(worker, items["a"], items["b"])) == {"a": Status.FAILED, "b": Status.OK}
    failed = next(row for row in published(worker, "videos") if row["status"] == "failed")
    assert failed["error_class"] == "internal"
    assert "KeyError: 'surprise https://h/a.mp4?***" in str(failed["message"])
    assert "Traceback" in caplog.text
    assert "hidden" not in caplog.text, "where it came from is told, what it was signed with is not"


def test_a_row_that_is_missing_fails_the_video(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_row_less(*arguments: Any, **options: Any) -> Any:
        labels = yield from label_steps(*arguments, **options)
        return replace(labels, masks=labels.masks.slice(1))

    monkeypatch.setattr(worker_module, "label_steps", one_row_less)
    assert outcomes(finish(worker, items["a"])) == {"a": Status.FAILED}
    (failed,) = published(worker, "videos")
    assert "5 masks were labelled, 6 were expected" in str(failed["message"])


def masks(worker: Worker) -> dict[tuple[object, ...], np.ndarray]:
    return {
        (row["video_id"], row["object_id"], row["frame_index"]): coco.decode(row["rle"])
        for row in published(worker, "masks")
    }


@pytest.mark.slow
def test_videos_in_flight_share_batches_with_the_masks_of_one_at_a_time(
    worker: Worker, items: dict[str, WorkItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcomes(finish(worker, *items.values())) == dict.fromkeys("abc", Status.OK)
    alone = masks(worker)
    sizes = []

    def counting(steps: Sequence[Step]) -> list[FrameResult]:
        sizes.append(len(steps))
        return advance(steps)

    monkeypatch.setattr(worker_module, "advance", counting)
    elsewhere = JobStorage(str(tmp_path / "together"))
    other = make_worker(
        replace(with_worker(worker.settings, videos_in_flight=3), job=replace(worker.settings.job, storage=elsewhere)),
        "w1",
    )
    other.setup()
    assert outcomes(finish(other, *items.values())) == dict.fromkeys("abc", Status.OK)
    together = masks(other)
    other.close()
    assert sum(sizes) == 3 * NUM_FRAMES
    assert max(sizes) == 3
    assert together.keys() == alone.keys()
    for key, mask in alone.items():
        union = (mask | together[key]).sum()
        assert union == 0 or (mask & together[key]).sum() >= 0.999 * union


def test_a_bad_video_in_flight_leaves_the_others_alone(worker: Worker, items: dict[str, WorkItem]) -> None:
    worker.settings = with_worker(worker.settings, videos_in_flight=3)
    missing = replace(items["b"], source=VideoSource("/no/such/file.mp4"))
    expected = {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    assert outcomes(finish(worker, items["a"], missing, items["c"])) == expected
    assert len(published(worker, "masks")) == 2 * 2 * NUM_FRAMES


@pytest.mark.slow
def test_an_error_in_a_shared_batch_is_charged_to_whom_it_follows(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory with three videos at once: each goes on by itself, and only the one that is too large fails."""
    sizes = []

    def too_large(steps: Sequence[Step]) -> list[FrameResult]:
        sizes.append(len(steps))
        if any(step.session.frames._name.endswith("b.mp4") for step in steps):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return advance(steps)

    monkeypatch.setattr(worker_module, "advance", too_large)
    worker.settings = with_worker(worker.settings, videos_in_flight=3)
    expected = {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    assert outcomes(finish(worker, *items.values())) == expected
    assert max(sizes) == 3
    assert sizes[-1] == 1


def test_a_video_that_is_not_here_yet_does_not_hold_up_the_others(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_late = threading.Event()
    fetch = Worker._fetch

    def slow(self: Worker, video: VideoInFlight) -> None:
        if video.item.video_id == "b":
            fetched_late.wait(30)
        fetch(self, video)

    monkeypatch.setattr(Worker, "_fetch", slow)
    worker.settings = with_worker(worker.settings, videos_in_flight=2)
    first = worker.work([items["a"], items["b"]])
    assert outcomes([first]) == {"a": Status.OK}
    fetched_late.set()
    assert outcomes([*finish(worker)]) == {"b": Status.OK}


def test_asked_to_stop_it_publishes_and_gives_back(worker: Worker, items: dict[str, WorkItem]) -> None:
    worker.work([items["a"], items["b"]])
    worker.work([])
    worker.stop()
    report = worker.work([items["c"]])
    assert report.returned == (items["c"],)
    assert outcomes([report]) == {"b": Status.OK}
    assert report.poisoned


def test_before_a_suspect_everything_is_published(worker: Worker, items: dict[str, WorkItem]) -> None:
    finish(worker, items["a"])
    worker.work([items["b"]])
    suspect = replace(items["c"], alone=True)
    worker.settings = with_worker(worker.settings, beat_seconds=0.01)
    assert outcomes([worker.work([suspect])]) == {"b": Status.OK}


def test_a_full_spool_disk_gives_the_item_back(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the spool's disk is full", transient=False)

    monkeypatch.setattr(SegmentWriter, "add", full)
    report = worker.work([items["a"]])
    assert report.returned == (items["a"],)
    assert "disk is full" in report.storage_errors[0]


def test_a_publication_that_fails_is_repeated(
    worker: Worker, items: dict[str, WorkItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("the store is away")

    monkeypatch.setattr(JobStorage, "put_file", away)
    report = worker.work([items["a"]])
    assert (report.segments, report.unflushed) == ((), ("a",))
    assert "the store is away" in report.storage_errors[0]
    monkeypatch.undo()
    assert outcomes([worker.drain()]) == {"a": Status.OK}


@pytest.mark.parametrize("other", ["a", "b"], ids=["the same file", "another in its place"])
def test_a_video_goes_on_from_where_it_was_saved_unless_its_file_is_another(
    other: str, worker: Worker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    rule = CheckpointConfig(every_frames=1)
    clip = tmp_path / "clip.mp4"
    shutil.copy(str(items["a"].source.uri), clip)
    item = replace(items["a"], source=VideoSource(str(clip)))
    first = make_worker(replace(with_worker(worker.settings, beat_seconds=0.01), checkpoint=rule), "w1")
    first.setup()
    (progress,) = first.work([item]).in_flight
    while not progress.num_saved:
        (progress,) = first.work(()).in_flight
    first.close()
    shutil.copy(str(items[other].source.uri), clip)
    second = make_worker(replace(worker.settings, checkpoint=rule), "w2")
    second.setup()
    reports = finish(second, item)
    second.close()
    num_labelled = sum(report.num_frames for report in reports)
    assert num_labelled == (NUM_FRAMES - progress.num_saved if other == "a" else NUM_FRAMES)
    assert outcomes(reports) == {"a": Status.OK}
