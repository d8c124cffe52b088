"""The worker with the mini model: what it labels, publishes, gives back, and survives."""

from __future__ import annotations

import errno
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from botocore.exceptions import NoCredentialsError
from pycocotools import mask as coco

from model import FrameResult, Media, Step, advance
from pipeline.config.job_config import CheckpointConfig, FlushConfig, JobConfig, ModelConfig, WorkerConfig
from pipeline.errors import StorageError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.prompts import VideoPrompts, read_prompts
from pipeline.output.saved_sessions import num_saved
from pipeline.records import Report, Status, VideoSource, Weights, WorkerEnd, WorkItem
from pipeline.storage.job_storage import JobStorage
from pipeline.video.media import open_media
from pipeline.worker.equipment import Stages
from pipeline.worker.labeler import LabeledFrames, LabelOptions, Labels, MakeSession, Saving, Steps, label_steps
from pipeline.worker.settings import JobFacts, WorkerSettings
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.films import Film, Look, drawn_of, picture
from tests.support.media_files import encode_image
from tests.support.sessions import save_small

NUM_FRAMES = 3
LAZY = FlushConfig(megabytes=1 << 20, seconds=1e9, elapsed_fraction=1.0)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WorkItem]:
    clips = [moving_clip(name, num_frames=NUM_FRAMES, seed=seed) for seed, name in enumerate("abc")]
    videos, prompts = write_job_inputs(tmp_path_factory.mktemp("inputs"), clips)
    plan = make_plan(InputTables(str(videos), str(prompts)), {})
    return {item.video_id: item for item in plan.items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Of the small network, because what a worker does with a video does not depend on the size of its network."""
    folder = tmp_path_factory.mktemp("small")
    save_small(folder)
    return Weights(str(folder), None, "sha256:0")


MakeWorker = Callable[..., Worker]


@pytest.fixture
def make(tmp_path: Path, weights: Weights) -> Iterator[MakeWorker]:
    """Makes workers that have loaded. They publish their first video at once, and others when they are asked to.

    `stages` are as for `Worker`, `storage` and `checkpoint` as in the settings, and other keywords are keys of the
    config's group `worker`. When the test is over, no worker may have left anything in its spool.
    """
    made: list[Worker] = []

    def make_one(
        stages: Stages | None = None,
        *,
        storage: JobStorage | None = None,
        checkpoint: CheckpointConfig | None = None,
        **options: Any,
    ) -> Worker:
        facts = JobFacts(
            weights=weights,
            storage=storage or JobStorage(str(tmp_path / "job")),
            epoch=1,
            config_hash="f",
            versions="maskmill 0",
        )
        group: dict[str, Any] = {"beat_seconds": 15.0, "spool_dir": str(tmp_path / "spool"), **options}
        config = JobConfig(
            model=ModelConfig(name="mini", checkpoint="mini", dtype="float32"),
            flush=LAZY,
            checkpoint=checkpoint or CheckpointConfig(),
            worker=WorkerConfig(**group),
        )
        made.append(Worker(WorkerSettings(facts, config), f"w{len(made)}", stages))
        made[-1].setup()
        return made[-1]

    yield make_one
    for worker in made:
        worker.close()
    assert not made or not list((tmp_path / "spool").iterdir())


@pytest.fixture
def worker(make: MakeWorker) -> Worker:
    """One of them."""
    return make()


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


def label_unpublished(worker: Worker, item: WorkItem) -> None:
    """Label a video that is not the worker's first, which would be published at once."""
    report = worker.work([item])
    while report.in_flight:
        report = worker.work(())
    assert report.unflushed == (item.video_id,)


def broken(report: Report) -> str:
    """Why the worker can label nothing any more, as its last report says."""
    assert report.end is not None
    assert report.end.is_broken
    return report.end.reason


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
    assert first.done.num_frames == NUM_FRAMES
    assert set(first.done.stage_seconds) == {"fetch", "decode", "propagate", "encode"}
    second = worker.work([items["c"]])
    assert second.segments == ()
    assert second.unflushed == ("b",)
    third = worker.work([])
    assert third.unflushed == ("b", "c")
    assert outcomes([worker.drain()]) == {"b": Status.OK, "c": Status.OK}


def test_rows_say_where_they_come_from(worker: Worker, weights: Weights, items: dict[str, WorkItem]) -> None:
    finish(worker, items["a"])
    (video,) = published(worker, "videos")
    assert video["prompt_hash"] == items["a"].prompt_hash
    assert (video["worker"], video["config_hash"], video["checkpoint"]) == ("w0", "f", f"{weights.source}@sha256:0")
    assert (video["num_frames"], video["num_frames_decoded"], video["num_masks"]) == (NUM_FRAMES, NUM_FRAMES, 6)
    assert (video["height"], video["width"], video["rotation_degrees"]) == (96, 128, 0)
    assert str(video["uri"]).endswith("a.mp4")
    assert {row["is_prompt"] for row in published(worker, "masks") if row["frame_index"] == 0} == {True}


def test_an_ok_video_says_how_much_of_it_could_be_read_and_the_shape_of_its_pixels(
    worker: Worker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    film = Film("avi", "mpeg4", look=Look(aspect=Fraction(4, 3)), options=(("g", "4"),))
    data = drawn_of(film, [picture(index, (96, 128)) for index in range(16)])
    (tmp_path / "half.avi").write_bytes(data[: (len(data) + data.index(b"movi")) // 2])
    item = replace(items["a"], source=VideoSource(str(tmp_path / "half.avi")))
    assert outcomes(finish(worker, item)) == {"a": Status.OK}
    (video,) = published(worker, "videos")
    assert 0 < video["num_frames"] == video["num_frames_decoded"] < video["num_frames_expected"] == 16
    assert str(video["message"]).startswith(f"{video['num_frames']} of 16 frames could be read; the file is damaged")
    assert "its pixels are not square" in str(video["message"])
    assert video["pixel_aspect"] == pytest.approx(4 / 3)


def test_an_ok_video_names_the_images_that_have_no_row(
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
    assert videos["a"]["message"].startswith("no row for 1 image that cannot be read (frame 1: 0b.png ")
    assert videos["b"]["message"] == ""
    rows = [row["frame_index"] for row in published(worker, "masks") if row["video_id"] == "a"]
    assert sorted(set(rows)) == [0, *range(2, NUM_FRAMES + 1)]
    assert {row["error_class"] for row in videos.values()} == {""}


def test_a_heartbeat_comes_in_the_middle_of_a_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    reports = finish(make(beat_seconds=0.01), items["a"])
    assert len(reports) > 3
    assert sum(report.done.num_frames for report in reports) == NUM_FRAMES
    assert outcomes(reports) == {"a": Status.OK}


def test_a_missing_file_is_a_failed_row_and_the_next_video_is_labeled(
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


def test_a_storage_fault_gives_the_item_back(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    is_away = True

    def away(*arguments: Any, **keywords: Any) -> AbstractContextManager[Media]:
        if is_away:
            raise StorageError("reading a.mp4 failed 9 times; key=AKIA")
        return open_media(*arguments, **keywords)

    worker = make(Stages(open_media=away))
    report = worker.work([items["a"]])
    assert report.returned == (items["a"],)
    assert report.segments == ()
    assert "reading a.mp4" in report.storage_errors[0]
    is_away = False
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
    error: Exception, make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    worker = make(Stages(label_steps=Fails(error)))
    report = worker.work([items["a"]])
    assert (report.returned, report.segments) == ((items["a"],), ())
    assert str(error) in report.storage_errors[0]
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}


class Fails:
    """`label_steps` that raises on its first `count` calls, for all videos or one."""

    def __init__(self, error: Exception, count: int = 1, video_id: str = "") -> None:
        self.error, self.count, self.video_id = error, count, video_id
        self.options: list[LabelOptions] = []

    def __call__(
        self,
        make_session: MakeSession,
        video_id: str,
        prompts: VideoPrompts,
        frames: LabeledFrames,
        options: LabelOptions,
        saving: Saving | None,
    ) -> Steps[Labels]:
        if video_id == (self.video_id or video_id):
            self.options.append(options)
            if len(self.options) <= self.count:
                return self._raise()
        return label_steps(make_session, video_id, prompts, frames, options, saving)

    def _raise(self) -> Steps[Labels]:
        raise self.error
        yield


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("host")])
def test_out_of_memory_is_tried_again_with_less(error: Exception, make: MakeWorker, items: dict[str, WorkItem]) -> None:
    fails = Fails(error)
    worker = make(Stages(label_steps=fails))
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}
    assert [options.max_objects for options in fails.options] == [None, 1]
    assert len(published(worker, "masks")) == 2 * NUM_FRAMES


def test_out_of_memory_twice_is_a_failed_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    worker = make(Stages(label_steps=Fails(torch.OutOfMemoryError("CUDA out of memory"), 2)))
    assert outcomes(finish(worker, items["a"], items["b"])) == {"a": Status.FAILED, "b": Status.OK}
    assert {row["error_class"] for row in published(worker, "videos")} == {"memory", ""}


@pytest.mark.parametrize("error", [MemoryError("host"), RuntimeError("could not create a primitive")])
def test_no_memory_of_the_host_is_for_a_fresh_worker_to_judge(
    error: Exception, make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    worker = make(Stages(label_steps=Fails(error, 2)))
    report = worker.work([items["a"]])
    assert f"video 'a': {type(error).__name__}" in broken(report)
    assert report.segments == ()
    assert [progress.video_id for progress in report.in_flight] == ["a"]


class Waits:
    """`read_prompts` that waits before one video until it is released."""

    def __init__(self, video_id: str) -> None:
        self.video_id = video_id
        self.released = threading.Event()

    def __call__(self, item: WorkItem, *arguments: Any) -> VideoPrompts:
        if item.video_id == self.video_id:
            self.released.wait(60)
        return read_prompts(item, *arguments)


def test_a_fetch_that_hangs_is_said_and_what_is_finished_is_published(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    waits = Waits("c")
    worker = make(Stages(read_prompts=waits), beat_seconds=0.1, hang_seconds=1.0)
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    reports = [worker.work([items["c"]])]
    while reports[-1].end is None:
        reports.append(worker.work([]))
    waits.released.set()
    assert "fetching 'c' hangs: nothing has moved for 1 s" in broken(reports[-1])
    assert outcomes(reports) == {"b": Status.OK}
    assert len(reports) < 40


def test_another_device_error_poisons_the_worker_and_finished_videos_are_published(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    worker = make(Stages(label_steps=Fails(error, video_id="c")))
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    report = worker.work([items["c"]])
    assert "device-side assert" in broken(report)
    assert outcomes([report]) == {"b": Status.OK}
    assert [progress.video_id for progress in report.in_flight] == ["c"]


def test_a_fault_of_ours_is_a_failed_row_too(
    make: MakeWorker, items: dict[str, WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    worker = make(Stages(label_steps=Fails(KeyError("surprise https://h/a.mp4?sig=hidden"))))
    assert outcomes(finish(worker, items["a"], items["b"])) == {"a": Status.FAILED, "b": Status.OK}
    failed = next(row for row in published(worker, "videos") if row["status"] == "failed")
    assert failed["error_class"] == "internal"
    assert "KeyError: 'surprise https://h/a.mp4?***" in str(failed["message"])
    assert "Traceback" in caplog.text
    assert "hidden" not in caplog.text, "where it came from is told, what it was signed with is not"


def test_a_row_that_is_missing_fails_the_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    def one_row_less(*arguments: Any) -> Steps[Labels]:
        labels = yield from label_steps(*arguments)
        return replace(labels, masks=labels.masks.slice(1))

    worker = make(Stages(label_steps=one_row_less))
    assert outcomes(finish(worker, items["a"])) == {"a": Status.FAILED}
    (failed,) = published(worker, "videos")
    assert "5 masks were labeled, 6 were expected" in str(failed["message"])


def masks(worker: Worker) -> dict[tuple[object, ...], np.ndarray]:
    return {
        (row["video_id"], row["object_id"], row["frame_index"]): coco.decode(row["rle"])
        for row in published(worker, "masks")
    }


@pytest.mark.slow
def test_videos_in_flight_share_batches_with_the_masks_of_one_at_a_time(
    make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    one_by_one = make()
    assert outcomes(finish(one_by_one, *items.values())) == dict.fromkeys("abc", Status.OK)
    alone = masks(one_by_one)
    sizes = []

    def counting(steps: Sequence[Step]) -> list[FrameResult]:
        sizes.append(len(steps))
        return advance(steps)

    other = make(Stages(advance=counting), storage=JobStorage(str(tmp_path / "together")), videos_in_flight=3)
    assert outcomes(finish(other, *items.values())) == dict.fromkeys("abc", Status.OK)
    together = masks(other)
    assert sum(sizes) == 3 * NUM_FRAMES
    assert max(sizes) == 3
    assert together.keys() == alone.keys()
    for key, mask in alone.items():
        union = (mask | together[key]).sum()
        assert union == 0 or (mask & together[key]).sum() >= 0.999 * union


def test_a_bad_video_in_flight_leaves_the_others_alone(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    worker = make(videos_in_flight=3)
    missing = replace(items["b"], source=VideoSource("/no/such/file.mp4"))
    expected = {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    assert outcomes(finish(worker, items["a"], missing, items["c"])) == expected
    assert len(published(worker, "masks")) == 2 * 2 * NUM_FRAMES


class TooLarge:
    """`label_steps` and `advance` with one video that fits into memory in no batch."""

    def __init__(self, video_id: str) -> None:
        self.video_id = video_id
        self.sizes: list[int] = []
        self._steps: list[Step] = []

    def label_steps(
        self, make_session: MakeSession, video_id: str, prompts: VideoPrompts, *arguments: Any
    ) -> Steps[Labels]:
        steps = label_steps(make_session, video_id, prompts, *arguments)
        return self._noted(steps) if video_id == self.video_id else steps

    def advance(self, steps: Sequence[Step]) -> list[FrameResult]:
        self.sizes.append(len(steps))
        if any(step is one for step in steps for one in self._steps):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return advance(steps)

    def _noted(self, steps: Steps[Labels]) -> Steps[Labels]:
        self._steps.append(next(steps))
        yield self._steps[-1]
        raise AssertionError("no step of this video has a result")


@pytest.mark.slow
def test_an_error_in_a_shared_batch_is_charged_to_whom_it_follows(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    """Out of memory with three videos at once: each goes on by itself, and only the one that is too large fails."""
    fake = TooLarge("b")
    worker = make(Stages(label_steps=fake.label_steps, advance=fake.advance), videos_in_flight=3)
    expected = {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    assert outcomes(finish(worker, *items.values())) == expected
    assert max(fake.sizes) == 3
    assert fake.sizes[-1] == 1


def test_a_video_that_is_not_here_yet_does_not_hold_up_the_others(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("b")
    worker = make(Stages(read_prompts=waits), videos_in_flight=2)
    first = worker.work([items["a"], items["b"]])
    assert outcomes([first]) == {"a": Status.OK}
    waits.released.set()
    assert outcomes([*finish(worker)]) == {"b": Status.OK}


def test_the_next_video_is_fetched_while_a_fetch_waits(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("b")
    worker = make(Stages(read_prompts=waits), beat_seconds=0.1)
    report = worker.work([items["b"], items["c"]])
    deadline = time.monotonic() + 10
    while report.in_flight[1].stage == "fetching" and time.monotonic() < deadline:
        report = worker.work([])
    waits.released.set()
    assert [progress.stage for progress in report.in_flight] == ["fetching", "waiting"]


def test_asked_to_stop_it_publishes_and_gives_back(worker: Worker, items: dict[str, WorkItem]) -> None:
    worker.work([items["a"], items["b"]])
    worker.work([])
    worker.stop()
    report = worker.work([items["c"]])
    assert report.returned == (items["c"],)
    assert outcomes([report]) == {"b": Status.OK}
    assert report.end == WorkerEnd("SIGTERM; it has given its videos back", is_broken=False)


def test_before_a_suspect_everything_is_published(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("c")
    worker = make(Stages(read_prompts=waits), beat_seconds=0.1)
    finish(worker, items["a"])
    label_unpublished(worker, items["b"])
    suspect = replace(items["c"], alone=True)
    report = worker.work([suspect])
    waits.released.set()
    assert outcomes([report]) == {"b": Status.OK}
    assert [progress.stage for progress in report.in_flight] == ["fetching"]


def test_a_full_spool_disk_gives_the_item_back(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full_in_the_end(*arguments: Any) -> Steps[Labels]:
        labels = yield from label_steps(*arguments)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        return labels

    worker = make(Stages(label_steps=full_in_the_end))
    try:
        report = worker.work([items["a"]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert report.returned == (items["a"],)
    assert "Free some space" in report.storage_errors[0]


@dataclass(repr=False)
class AwayStorage(JobStorage):
    """A store that takes no segments while `is_away`."""

    is_away: bool = True

    def put_file(self, local: Path, path: str) -> int:
        if self.is_away:
            raise StorageError("the store is away")
        return super().put_file(local, path)


def test_a_publication_that_fails_is_repeated(make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path) -> None:
    storage = AwayStorage(str(tmp_path / "job"))
    worker = make(storage=storage)
    report = worker.work([items["a"]])
    assert (report.segments, report.unflushed) == ((), ("a",))
    assert "the store is away" in report.storage_errors[0]
    storage.is_away = False
    assert outcomes([worker.drain()]) == {"a": Status.OK}


@pytest.mark.parametrize("other", ["a", "b"], ids=["the same file", "another in its place"])
def test_a_video_goes_on_from_where_it_was_saved_unless_its_file_is_another(
    other: str, make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    rule = CheckpointConfig(every_frames=1)
    clip = tmp_path / "clip.mp4"
    shutil.copy(str(items["a"].source.uri), clip)
    item = replace(items["a"], source=VideoSource(str(clip)))
    first = make(checkpoint=rule, beat_seconds=0.01)
    (progress,) = first.work([item]).in_flight
    while not progress.num_saved:
        (progress,) = first.work(()).in_flight
    first.close()
    shutil.copy(str(items[other].source.uri), clip)
    reports = finish(make(checkpoint=rule), item)
    num_labeled = sum(report.done.num_frames for report in reports)
    assert num_labeled == (NUM_FRAMES - progress.num_saved if other == "a" else NUM_FRAMES)
    assert outcomes(reports) == {"a": Status.OK}


def test_a_saved_session_that_does_not_fit_is_deleted_and_the_video_starts_anew(
    make: MakeWorker, items: dict[str, WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    first = make(checkpoint=CheckpointConfig(every_frames=1), beat_seconds=0.01)
    storage = first.settings.job.storage
    report = first.work([items["a"]])
    while not report.in_flight[0].num_saved:
        report = first.work(())
    first.close()
    assert num_saved(storage) == 1
    (state,) = Path(storage.uri).glob("_sessions/*/*.safetensors")
    state.write_bytes(b"of another program")
    assert sum(report.done.num_frames for report in finish(make(), items["a"])) == NUM_FRAMES
    assert num_saved(storage) == 0
    assert "video 'a' starts anew, because its saved session does not fit" in caplog.text


def test_a_worker_leaves_the_temporary_folder_of_its_process_alone(
    make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    """With `cluster=serial` it is the user's process. All scratch lies in the worker's own folder."""
    before, during, folders = tempfile.gettempdir(), [], []

    def noting_media(*arguments: Any, **keywords: Any) -> Any:
        folders.append(keywords["scratch"])
        return open_media(*arguments, **keywords)

    def noting(steps: Sequence[Step]) -> list[FrameResult]:
        during.append(tempfile.gettempdir())
        return advance(steps)

    worker = make(Stages(open_media=noting_media, advance=noting))
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}
    assert {tempfile.gettempdir(), *during} == {before}
    assert [folder.parent for folder in folders] == [tmp_path / "spool"]


def test_a_worker_that_could_not_load_has_nothing_to_close(make: MakeWorker, tmp_path: Path) -> None:
    settings = make().settings
    gone = Weights(str(tmp_path / "no weights"), None, "sha256:0")
    other = Worker(replace(settings, job=replace(settings.job, weights=gone)), "w9")
    with pytest.raises(FileNotFoundError):
        other.setup()
    other.close()
    with pytest.raises(RuntimeError, match="call setup first"):
        other.work([])
