"""A video as writers get it: its rows by track and by frame, painted, in bounded memory; and the manifest of it."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.errors import ConfigError
from pipeline.export import door
from pipeline.formats.plan import Plan
from pipeline.formats.planning import make_plan
from pipeline.formats.rows import MaskRow
from pipeline.formats.selection import Content, Selection, split_of
from pipeline.formats.source import ExportVideo, MaskSource
from pipeline.output.schema import VIDEOS
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted
from tests.pipeline.formats.conftest import FILMED, DrawnJob
from tests.scale.exports import write_job as write_large_job
from tests.support.drawn_job import HEIGHT, USUAL, WIDTH, DrawnVideo, drawn_video, write_job
from tests.support.drawn_rounds import Rounds
from tests.support.exported import videos_of
from tests.support.labeled import driver, labeled, publish

Export = Callable[..., Path]


def _opened(
    drawn: DrawnJob, folder: Path, content: Content | None = None, bytes_in_memory: int = 1 << 20, min_area: int = 0
) -> tuple[Plan, MaskSource]:
    job = tables.open(drawn.uri)
    source = MaskSource(job, content or Content(), min_area, folder, None, bytes_in_memory)
    return make_plan(job, Selection()), source


def _masks(video: ExportVideo) -> dict[tuple[str, int, int], np.ndarray]:
    return {
        (video.video_id, row.object_id, row.frame_index): coco.decode(row.rle).astype(bool)
        for _, rows in video.by_track()
        for row in rows
    }


@pytest.mark.parametrize("bytes_in_memory", [1 << 20, 0])
def test_rows_by_track_and_by_frame_are_those_of_the_job(drawn: DrawnJob, tmp_path: Path, bytes_in_memory: int) -> None:
    plan, source = _opened(drawn, tmp_path, bytes_in_memory=bytes_in_memory)
    drawn_videos = {video.video_id: video for video in USUAL}
    found = {}
    for video in source.videos(list(plan.each())):
        assert (tmp_path / "rows.arrow").exists() == (bytes_in_memory == 0)
        by_track = _masks(video)
        by_frame = {
            (video.video_id, row.object_id, frame_index): coco.decode(row.rle).astype(bool)
            for frame_index, rows in video.by_frame()
            for row in rows
        }
        assert by_track.keys() == by_frame.keys()
        assert [frame_index for frame_index, _ in video.by_frame()] == drawn_videos[video.video_id].frames
        assert video.size_hw == (HEIGHT, WIDTH)
        found |= by_track
    expected = {key: mask for key, mask in drawn.truth.items() if key[:2] != ("c", 5)}  # which is never visible
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in found)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_whole_videos_are_those_without_a_track_that_failed_or_is_not_meant(tmp_path: Path) -> None:
    videos = (
        DrawnVideo("good", {1: "cat", 2: "dog"}),
        DrawnVideo("failed", {1: "cat"}, failed={2: "no such frame"}),
        DrawnVideo("hidden", {1: "cat", 2: "dog"}, never_visible=(2,)),
    )
    uri, _ = write_job(tmp_path, videos, broken=())

    def chosen(**keys: object) -> list[tuple[str, list[int]]]:
        plan = make_plan(tables.open(uri), Selection(whole_videos=True, **keys))
        return [(video.video_id, [track.object_id for track in video.tracks]) for video in plan.each()]

    assert chosen() == [("good", [1, 2]), ("hidden", [1])]
    assert chosen(where="num_visible > 0") == [("good", [1, 2])]
    assert chosen(where="num_visible > 0", categories=("cat",)) == [("good", [1])]


@pytest.mark.slow
def test_a_video_that_is_labeled_again_meanwhile_is_not_mixed_with_its_former_masks(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("a", {1: "cat"}), DrawnVideo("b", {1: "cat"})), broken=())
    job = tables.open(uri)
    planned = list(make_plan(job, Selection()).each())
    storage = JobStorage(uri)
    _, keeper = driver(storage, tmp_path / "spool", "driver-2")
    keeper.forget(["b"])
    keeper.commit([publish(storage, tmp_path / "spool", labeled("b", 6, (1,), prompt_hash="p2"), epoch=2)])
    job.refresh()
    videos = MaskSource(job, Content(), 0, tmp_path, None).videos(planned)
    assert len(_masks(next(videos))) == 6
    with pytest.raises(ConfigError, match="video 'b' was labeled again or removed since the export began"):
        next(videos)


def test_an_export_goes_on_while_a_round_runs_and_stops_at_a_video_whose_masks_were_replaced(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    """The new ones are as many, of the same prompts."""
    rounds = Rounds(disk_storage, tmp_path / "spool")
    both = [DrawnVideo(name, {1: "cat"}) for name in "ab"]
    rounds.commit(*both)
    job = rounds.open()
    plan = make_plan(job, Selection())
    planned = list(plan.each())
    rounds.begin("a")
    job.refresh()
    again = make_plan(job, Selection())
    assert again.digest == plan.digest, "it is the same export"
    assert [len(_masks(video)) for video in MaskSource(job, Content(), 0, tmp_path, None).videos(planned)] == [6, 6]
    rounds.commit(both[0])
    job.refresh()
    videos = MaskSource(job, Content(), 0, tmp_path, None).videos(planned)
    with pytest.raises(ConfigError, match="video 'a' was labeled again or removed since the export began"):
        next(videos)
    assert make_plan(job, Selection()).digest != plan.digest


def test_masks_below_the_least_area_count_as_hidden(drawn: DrawnJob, tmp_path: Path) -> None:
    plan, source = _opened(drawn, tmp_path, min_area=425)
    for video in source.videos(list(plan.each())):
        for key, mask in _masks(video).items():
            expected = drawn.truth[key]
            np.testing.assert_array_equal(mask, expected if expected.sum() >= 425 else np.zeros_like(expected))


def _painted_by_hand(video: DrawnVideo, truth: dict, frame_index: int, order: str) -> np.ndarray:
    """The rule in words, for each pixel: the best object that has it."""
    labels = np.zeros((HEIGHT, WIDTH), int)
    best = np.full((HEIGHT, WIDTH), -np.inf)
    for number, object_id in enumerate(sorted(video.objects), 1):
        mask = truth.get((video.video_id, object_id, frame_index))
        if mask is None:
            continue
        value = 5.0 + (object_id + frame_index) % 3 if order == "score" else -object_id
        wins = mask & (value > best)
        labels[wins], best[wins] = number, value
    return labels


@pytest.mark.parametrize("order", ["score", "id"])
def test_a_pixel_goes_to_one_object_and_the_others_are_told_what_they_lose(
    drawn: DrawnJob, tmp_path: Path, order: str
) -> None:
    plan, source = _opened(drawn, tmp_path, Content(overlap=order))
    clip = next(video for video in USUAL if video.video_id == "clip-1")
    for video in source.videos([one for one in plan.each() if one.video_id == "clip-1"]):
        numbers = {track.object_id: track.number for track in video.tracks}
        lost = {}
        for frame_index, labels in video.painted():
            np.testing.assert_array_equal(labels, _painted_by_hand(clip, drawn.truth, frame_index, order))
            for object_id in clip.objects:
                mask = drawn.truth.get((clip.video_id, object_id, frame_index), np.zeros((1, 1), bool))
                kept = labels == numbers[object_id]
                if mask.any() and kept.sum() < mask.sum():
                    lost[object_id, frame_index] = kept.sum() / mask.sum()
        document = video.losses.as_document()["overlap"]
        assert len(lost) > 1
        assert document["masks"] == len(lost)
        assert document["iou_mean"] == pytest.approx(np.mean(list(lost.values())))
        worst = {(one["object_id"], one["frame_index"]): one["iou"] for one in document["worst"]}
        assert worst == pytest.approx(lost)
        assert document["iou_min"] == pytest.approx(min(lost.values()))


def test_overlaps_can_be_refused(drawn: DrawnJob, tmp_path: Path) -> None:
    plan, source = _opened(drawn, tmp_path, Content(overlap="refuse"))
    (video,) = source.videos([one for one in plan.each() if one.video_id == "clip-1"])
    with pytest.raises(ConfigError, match=r"video 'clip-1': frame 1: the masks of objects 3 and 7 overlap on \d+ pix"):
        list(video.painted())


def test_the_manifest_tells_frames_by_time_and_by_hash(export_filmed: Export, filmed: DrawnJob) -> None:
    folder = export_filmed("coco", "hash_frames=true")
    (line,) = (json.loads(text) for text in (folder / "manifest_videos.jsonl").read_text().splitlines())
    video = tables.open(filmed.uri).videos().to_pylist()[0]
    with av.open(video["uri"]) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    first, last = (frames[index] for index in (FILMED.frames[0], FILMED.frames[-1]))
    assert (line["first_pts_seconds"], line["last_pts_seconds"]) == pytest.approx((first[0], last[0]))
    assert line["first_frame_sha256"] == hashlib.sha256(first[1].tobytes()).hexdigest()
    assert line["last_frame_sha256"] == hashlib.sha256(last[1].tobytes()).hexdigest()
    assert (line["num_frames"], line["frame_step"]) == (len(FILMED.frames), FILMED.stride)


def test_digests_that_the_job_noted_are_in_the_manifest_and_no_file_is_opened_for_them(
    tmp_path: Path, filmed: DrawnJob, capsys: pytest.CaptureFixture[str]
) -> None:
    """A digest of a frame that is not the first or the last one of the export is not written as theirs."""
    there = tables.open(filmed.uri).videos()["uri"][0].as_py()
    first, last = (FILMED.frames[place] for place in (0, -1))
    noted = {
        "gone": (str(tmp_path / "gone.mp4"), (first, "1" * 64), (last, "2" * 64)),
        "half": (there, (first, "3" * 64), (last, None)),
        "other": (str(tmp_path / "gone.mp4"), (first + 1, "4" * 64), (last - 1, "5" * 64)),
    }
    _, keeper = driver(storage := JobStorage(str(tmp_path / "job")), tmp_path / "spool")
    for name, (uri, *ends) in noted.items():
        drawn = drawn_video(replace(FILMED, video_id=name, uri=uri))
        row = drawn.video.to_pylist()[0]
        for end, (index, digest) in zip(("first", "last"), ends, strict=True):
            row |= {f"{end}_frame_index": index, f"{end}_frame_sha256": digest}
        drawn = replace(drawn, video=pa.Table.from_pylist([row], VIDEOS))
        keeper.commit([publish(storage, tmp_path / "spool", drawn)])

    def exported(to: str, *words: str) -> dict[str, tuple[str | None, str | None]]:
        assert door([f"output={storage.uri}", "format=coco", f"to={tmp_path / to}", *words]) == 0
        lines = [json.loads(text) for text in (tmp_path / to / "manifest_videos.jsonl").read_text().splitlines()]
        return {line["video_id"]: (line.get("first_frame_sha256"), line.get("last_frame_sha256")) for line in lines}

    copied = {"gone": ("1" * 64, "2" * 64), "half": ("3" * 64, None), "other": (None, None)}
    assert exported("copied") == copied
    with av.open(there) as container:
        frames = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
    found = hashlib.sha256(frames[last]).hexdigest()
    assert exported("found", "hash_frames=true") == copied | {"half": ("3" * 64, found)}
    assert "without hashes of their frames: 1 video, as other: its file is gone" in capsys.readouterr().out


@pytest.mark.slow
def test_videos_whose_file_is_gone_have_no_hash_and_with_frames_are_listed_or_left_out(
    tmp_path: Path, filmed: DrawnJob, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tables.open(filmed.uri).videos()["uri"][0].as_py()
    videos = [replace(FILMED, video_id=name, uri=str(tmp_path / f"{name}.mp4")) for name in ("gone", "lost")]
    videos += [replace(FILMED, video_id="here", uri=there), replace(FILMED, video_id="bytes")]
    uri, _ = write_job(tmp_path, tuple(videos), broken=("broken",))
    words = [f"output={uri}", "format=coco"]

    assert door([*words, f"to={tmp_path / 'hashed'}", "hash_frames=true"]) == 0
    assert "without hashes of their frames: 3 videos, as bytes: its bytes were in the table" in capsys.readouterr().out
    lines = [json.loads(text) for text in (tmp_path / "hashed/manifest_videos.jsonl").read_text().splitlines()]
    assert [line["video_id"] for line in lines if "first_frame_sha256" in line] == ["here"]
    noted = json.loads((tmp_path / "hashed/manifest.json").read_text())["not_hashed"]
    assert noted["count"] == 3
    assert noted["first"].keys() == {"bytes", "gone", "lost"}

    assert door([*words, f"to={tmp_path / 'all'}", "frames=jpg"]) == 2
    message = capsys.readouterr().err
    assert "frames=jpg: the files of 3 videos are gone: video 'bytes': its bytes were in the table of videos" in message
    assert f"video 'gone': {tmp_path / 'gone.mp4'}; video 'lost': {tmp_path / 'lost.mp4'}. Where they were" in message
    assert not (tmp_path / "all").exists()
    assert door([*words, f"to={tmp_path / 'some'}", "frames=jpg", "missing=skip"]) == 0
    assert {path.parent.name for path in (tmp_path / "some/images").rglob("*.jpg")} == {"here"}
    assert (
        json.loads((tmp_path / "some/manifest.json").read_text())["left_out"]["videos whose file is gone"]["count"] == 3
    )
    assert door([*words, f"to={tmp_path / 'chosen'}", "frames=jpg", "where=video_id == 'here'"]) == 0


def test_the_manifest_says_what_made_the_masks_what_is_left_out_and_where_it_went(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((export("coco", "splits.train=0.5", "splits.val=0.5") / "manifest.json").read_text())
    assert manifest["weights"] == ["mini"]
    assert manifest["config_hashes"] == ["f"]
    assert manifest["categories"] == {"cat": 1, "dog": 2, "object": 3}
    assert manifest["counts"] == {"videos": 3, "tracks": 5, "masks": 22, "frames": 16}
    assert sum(manifest["splits"].values()) == 3
    told = capsys.readouterr().out
    for split, counts in manifest["split_counts"].items():
        assert counts["videos"] == manifest["splits"][split]
        assert f"split {split}: {counted(counts['videos'], 'video')}, {counted(counts['tracks'], 'track')}" in told
    for name, count in manifest["counts"].items():
        assert sum(counts[name] for counts in manifest["split_counts"].values()) == count
    assert manifest["left_out"] == {
        "videos that failed": {"count": 1, "first": ["video 'broken': no file"]},
        "tracks that failed": {"count": 1, "first": ["object 9 of video 'c': no such frame"]},
        "tracks that are never visible": {"count": 1, "first": ["object 5 of video 'c'"]},
    }


def test_times_in_the_manifest_are_of_the_first_and_the_last_frame_and_of_no_other(tmp_path: Path) -> None:
    videos = (
        DrawnVideo("v", {1: "cat"}, 3, times=(np.nan, 0.5, 0.75)),
        DrawnVideo("w", {1: "cat"}, 3, times=(0.25, 0.5, np.nan)),
    )
    output, _ = write_job(tmp_path, videos, broken=())
    assert door([f"output={output}", "format=coco", f"to={tmp_path / 'to'}"]) == 0
    found = {
        name: (one["first_pts_seconds"], one["last_pts_seconds"]) for name, one in videos_of(tmp_path / "to").items()
    }
    assert found == {"v": (None, 0.75), "w": (0.25, None)}


def test_videos_without_masks_are_left_out_by_how_they_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = {"a": Status.FAILED, "b": Status.NO_PROMPTS, "c": Status.NO_PROMPTS, "d": Status.QUARANTINED}
    output, _ = write_job(tmp_path, (DrawnVideo("v", {1: "cat"}),), ended)
    assert door([f"output={output}", "format=coco", f"to={tmp_path / 'to'}"]) == 0
    left_out = json.loads((tmp_path / "to/manifest.json").read_text())["left_out"]
    assert {reason: one["count"] for reason, one in left_out.items()} == {
        "videos that failed": 1,
        "videos without prompts": 2,
        "videos that are quarantined": 1,
    }
    assert "left out: videos without prompts: 2 (video 'b'" in capsys.readouterr().out


def test_the_command_says_what_the_format_cannot(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    folder = export("davis")
    lost = json.loads((folder / "manifest.json").read_text())["lost"]["overlap"]
    worst = lost["worst"][0]
    told = f"lost: overlap: {lost['masks']} masks in part, IoU {lost['iou_mean']:.3f} on average"
    at_worst = f"object {worst['object_id']} on frame {worst['frame_index']} of video {worst['video_id']}"
    assert f"{told} and {lost['iou_min']:.3f} at worst, {at_worst}\n" in capsys.readouterr().out


def test_the_manifest_names_the_job_by_its_absolute_path(
    drawn: DrawnJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(drawn.uri).parent)
    assert door([f"output={Path(drawn.uri).name}", "format=coco", f"to={tmp_path / 'coco'}"]) == 0
    assert json.loads((tmp_path / "coco/manifest.json").read_text())["output"] == drawn.uri


def test_a_video_stays_in_its_split_and_shares_are_what_was_asked_for() -> None:
    shares = {"train": 0.8, "val": 0.15, "test": 0.05}
    splits = [split_of(f"video-{number}", shares) for number in range(4000)]
    for name, share in shares.items():
        assert splits.count(name) / 4000 == pytest.approx(share, abs=0.02)
    # A larger share of train takes videos from others and gives none away.
    more = [split_of(f"video-{number}", {"train": 0.9, "val": 0.1}) for number in range(4000)]
    assert all(after == "train" for before, after in zip(splits, more, strict=True) if before == "train")


@pytest.mark.slow
def test_rows_of_a_long_video_are_handed_out_without_holding_them(tmp_path: Path) -> None:
    num_masks, folder = 8_000, tmp_path / "large"
    folder.mkdir()
    write_job(tmp_path, (DrawnVideo("a", {1: "cat"}),), broken=())
    job = tables.open(write_large_job(folder, str(tmp_path / "job"), 1, num_masks).uri)
    source = MaskSource(job, Content(), 0, folder, None, bytes_in_memory=0)
    (video,) = source.videos(list(make_plan(job, Selection()).each()))
    rows = chain((row for _, found in video.by_track() for row in found), video.by_frame())
    gc.collect()
    gc.freeze()  # Nothing that is alive already is looked at again: imports leave millions of objects.
    alive = [
        sum(type(each) is MaskRow for each in gc.get_objects()) for place, _ in enumerate(rows) if place % 250 == 0
    ]
    assert len(alive) > num_masks // 250
    assert max(alive) < num_masks / 3, "rows that live at the same time"
