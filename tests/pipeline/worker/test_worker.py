"""The worker with the mini model: what it labels, publishes, gives back, and survives."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from botocore.exceptions import NoCredentialsError

from model import FrameResult, Media, Step, advance
from pipeline.config.worker_config import CheckpointConfig
from pipeline.errors import StorageError
from pipeline.output.saved_sessions import num_saved
from pipeline.records import ReviewedItem, ReviewWork, Status, VideoSource, Weights, WorkItem
from pipeline.reviews.corrections import write_corrections
from pipeline.reviews.reviewed import read_reviews
from pipeline.video.media import open_media
from pipeline.worker.equipment import Stages
from pipeline.worker.labeler import Labels, Steps, label_steps
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip
from tests.support.films import Film, Look, drawn_of, picture
from tests.support.labeling_workers import (
    NUM_FRAMES,
    Fails,
    MakeWorker,
    StopsAt,
    broken,
    finish,
    outcomes,
    published,
)
from tests.support.media_files import encode_image


@pytest.mark.slow
def test_a_call_goes_on_while_there_are_videos_and_the_next_one_is_fetched_meanwhile(
    worker: Worker, items: dict[str, WorkItem]
) -> None:
    first = worker.work([items["a"], items["b"]])
    assert outcomes([first]) == {"a": Status.OK}, "the first one is published at once"
    assert (first.unflushed, first.in_flight) == (("b",), ())
    assert first.done.num_frames == 2 * NUM_FRAMES
    assert set(first.done.stage_seconds) == {"fetch", "decode", "propagate", "encode"}
    second = worker.work([items["c"]])
    assert second.segments == ()
    assert second.unflushed == ("b", "c")
    assert outcomes([worker.drain()]) == {"b": Status.OK, "c": Status.OK}


@pytest.mark.slow
def test_rows_say_where_they_come_from(worker: Worker, weights: Weights, items: dict[str, WorkItem]) -> None:
    finish(worker, items["a"])
    (video,) = published(worker, "videos")
    assert video["prompt_hash"] == items["a"].prompt_hash
    assert (video["worker"], video["config_hash"], video["checkpoint"]) == (
        "w0",
        "f",
        f"{weights.source}@{weights.identity}",
    )
    assert (video["num_frames"], video["num_frames_decoded"], video["num_masks"]) == (NUM_FRAMES, NUM_FRAMES, 6)
    assert (video["height"], video["width"], video["rotation_degrees"]) == (96, 128, 0)
    assert str(video["uri"]).endswith("a.mp4")
    assert str(video["versions"]).startswith("maskmill 0, CPU")
    assert str(video["versions"]).endswith(", 1 thread, float32")
    with av.open(str(video["uri"])) as container:
        frames = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
    for end, index in (("first", 0), ("last", NUM_FRAMES - 1)):
        assert video[f"{end}_frame_index"] == index
        assert video[f"{end}_frame_sha256"] == hashlib.sha256(frames[index]).hexdigest()
    assert {row["is_prompt"] for row in published(worker, "masks") if row["frame_index"] == 0} == {True}


@pytest.mark.slow
def test_a_worker_compiles_before_its_first_video_and_not_for_longer_than_it_may(
    worker: Worker, items: dict[str, WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    """Here it may take no time at all, so the video is labeled by the network as it is."""
    config = worker.settings.config
    changed = config.model_copy(
        update={
            "model": config.model.model_copy(update={"compile": True}),
            "worker": config.worker.model_copy(update={"warm_up_seconds": 0.0}),
        }
    )
    compiling = Worker(replace(worker.settings, config=changed), "w1")
    with caplog.at_level("INFO"):
        assert compiling.setup().endswith("float32, compiled")
    assert "the network is compiled for 0 of " in caplog.text
    assert outcomes(finish(compiling, items["a"])) == {"a": Status.OK}
    compiling.close()


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_heartbeat_comes_in_the_middle_of_a_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    def slow(steps: Sequence[Step]) -> list[FrameResult]:
        time.sleep(0.02)  # no frame takes less than a beat
        return advance(steps)

    reports = finish(make(Stages(advance=slow), beat_seconds=0.01), items["a"])
    assert len(reports) > NUM_FRAMES
    assert sum(report.done.num_frames for report in reports) == NUM_FRAMES
    assert outcomes(reports) == {"a": Status.OK}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("host")])
def test_out_of_memory_is_tried_again_with_less(error: Exception, make: MakeWorker, items: dict[str, WorkItem]) -> None:
    fails = Fails(error)
    worker = make(Stages(label_steps=fails))
    assert outcomes(finish(worker, items["a"])) == {"a": Status.OK}
    assert [options.max_objects for options in fails.options] == [None, 1]
    assert len(published(worker, "masks")) == 2 * NUM_FRAMES


@pytest.mark.slow
def test_out_of_memory_twice_is_a_failed_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    worker = make(Stages(label_steps=Fails(torch.OutOfMemoryError("CUDA out of memory"), 2)))
    assert outcomes(finish(worker, items["a"], items["b"])) == {"a": Status.FAILED, "b": Status.OK}
    assert {row["error_class"] for row in published(worker, "videos")} == {"memory", ""}


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError("host"), RuntimeError("could not create a primitive")])
def test_no_memory_of_the_host_is_for_a_fresh_worker_to_judge(
    error: Exception, make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    worker = make(Stages(label_steps=Fails(error, 2)))
    report = worker.work([items["a"]])
    assert f"video 'a': {type(error).__name__}" in broken(report)
    assert report.segments == ()
    assert [progress.video_id for progress in report.in_flight] == ["a"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_row_that_is_missing_fails_the_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    def one_row_less(*arguments: Any) -> Steps[Labels]:
        labels = yield from label_steps(*arguments)
        return replace(labels, masks=labels.masks.slice(1))

    worker = make(Stages(label_steps=one_row_less))
    assert outcomes(finish(worker, items["a"])) == {"a": Status.FAILED}
    (failed,) = published(worker, "videos")
    assert "5 masks were labeled, 6 were expected" in str(failed["message"])


@pytest.mark.slow
@pytest.mark.parametrize("other", ["a", "b"], ids=["the same file", "another in its place"])
def test_a_video_goes_on_from_where_it_was_saved_unless_its_file_is_another(
    other: str, make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    rule = CheckpointConfig(every_frames=1)
    clip = tmp_path / "clip.mp4"
    shutil.copy(str(items["a"].source.uri), clip)
    item = replace(items["a"], source=VideoSource(str(clip)))
    first = make(Stages(label_steps=StopsAt(2)), checkpoint=rule, beat_seconds=0.01)
    (progress,) = first.work([item]).in_flight
    while not progress.num_saved:
        (progress,) = first.work(()).in_flight
    first.close()
    shutil.copy(str(items[other].source.uri), clip)
    reports = finish(make(checkpoint=rule), item)
    num_labeled = sum(report.done.num_frames for report in reports)
    assert num_labeled == (NUM_FRAMES - progress.num_saved if other == "a" else NUM_FRAMES)
    assert outcomes(reports) == {"a": Status.OK}


@pytest.mark.slow
def test_a_corrected_video_starts_anew_when_a_track_that_was_in_its_saved_session_is_accepted_meanwhile(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    """The run is killed in the middle of the video, and the next one keeps the rows of that track."""
    rule = CheckpointConfig(every_frames=1)
    before = make()
    (former,) = (segment.name for report in finish(before, items["a"]) for segment in report.segments)
    masks = [row for row in published(before, "masks") if row["frame_index"] == 1]
    said = {"kind": "mask", "reviewer": "ann", "reviewed_at": datetime.now(UTC)}
    storage = before.settings.job.storage
    rows = [{name: row[name] for name in ("video_id", "object_id", "frame_index")} for row in masks]
    write_corrections(storage, [row | said | {"mask_rle": one["rle"]} for row, one in zip(rows, masks, strict=True)])
    review = read_reviews(storage)["a"]
    work = ReviewWork(review.review_hash, review.files, former)
    names = {field.name: getattr(items["a"], field.name) for field in fields(WorkItem)}
    first = make(Stages(label_steps=StopsAt(2)), checkpoint=rule, beat_seconds=0.01)
    (progress,) = first.work([ReviewedItem(**names, review=work)]).in_flight
    while not progress.num_saved:
        (progress,) = first.work(()).in_flight
    first.close()
    accepted = replace(work, settled=((int(str(masks[0]["object_id"])), datetime.now(UTC)),))
    reports = finish(make(checkpoint=rule), ReviewedItem(**names, review=accepted))
    assert outcomes(reports) == {"a": Status.OK}
    (segment,) = (segment for report in reports for segment in report.segments)
    assert segment.num_rows["masks"] == NUM_FRAMES * len(masks)


@pytest.mark.slow
def test_a_saved_session_that_does_not_fit_is_deleted_and_the_video_starts_anew(
    make: MakeWorker, items: dict[str, WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    rule = CheckpointConfig(every_frames=1)
    first = make(Stages(label_steps=StopsAt(2)), checkpoint=rule, beat_seconds=0.01)
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
