"""What the player shows is what the tables and the films hold."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pipeline import tables
from tests.support.drawn_job import DrawnVideo, drawn_mask
from tests.support.reviewing import VIDEOS, Client, gray, reviewing, write_filmed_job

LABELED = [video for video in VIDEOS if video.video_id != "gone"]


def pixels(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        return np.asarray(image)


@pytest.mark.parametrize("video", LABELED, ids=lambda video: video.video_id[:8])
def test_each_frame_is_the_one_that_was_labeled(watched: Client, video: DrawnVideo) -> None:
    for frame in (*reversed(video.frames), *video.frames):
        found = watched.raw("api/frame", video=video.video_id, frame=frame)
        assert found.status_code == 200
        assert pixels(found.content).mean() == pytest.approx(gray(frame, 1, 1).mean(), abs=3)


@pytest.mark.parametrize("video", VIDEOS, ids=lambda video: video.video_id[:8])
def test_masks_are_those_of_the_tables(watched: Client, video: DrawnVideo) -> None:
    first, last = video.frames[0], video.frames[-1]
    told = watched.get("api/masks", video=video.video_id, start=first, stop=last + 1)
    assert told["size"] == [64, 48]
    shown = 0
    for frame in video.frames:
        for object_id in video.objects:
            truth = drawn_mask(video, object_id, frame)
            counts = told["frames"].get(str(frame), {}).get(str(object_id))
            assert (counts is None) == (truth is None)
            if truth is not None:
                np.testing.assert_array_equal(coco.decode({"size": [48, 64], "counts": counts}), truth)
                shown += 1
    assert shown
    part = watched.get("api/masks", video=video.video_id, start=first, stop=first + 1)
    assert list(part["frames"]) == [str(first)]


def test_a_track_has_its_course_and_where_to_look(watched: Client, filmed: str) -> None:
    told = watched.get("api/track", video="clip-1", object=7)
    rows = tables.open(filmed).video("clip-1").track(7).table.to_pylist()
    assert told["frames"] == [0, 1, 2, 3, 4, 5]
    assert told["series"]["frame_index"] == [row["frame_index"] for row in rows]
    assert told["series"]["area"] == [row["area"] for row in rows]
    assert told["series"]["predicted_iou"] == [pytest.approx(row["predicted_iou"], abs=1e-3) for row in rows]
    assert {one["object_id"]: one["category"] for one in told["objects"]} == {3: "dog", 7: "cat"}
    assert told["labeled_at"] == "2026-01-02T00:00:00.000+00:00"
    assert (told["video"]["width"], told["video"]["height"]) == (64, 48)


def test_a_strip_shows_a_few_frames_of_the_object(watched: Client) -> None:
    one = pixels(watched.raw("api/filmstrip", video="one-frame", object=1).content)
    several = pixels(watched.raw("api/filmstrip", video="clip-1", object=7).content)
    assert one.shape[1:] == (128, 3)
    assert several.shape[1:] == (4 * 132 - 4, 3)
    for strip in (one, several):
        assert strip.shape[0] < 128, "a wide video has no bars above and below"
        assert strip[[0, -1], :124].max() < 110, "frames are darker than the paper between them"


@pytest.mark.parametrize(("path", "query"), [("api/frame", {"frame": 0}), ("api/filmstrip", {"object": 1})])
def test_a_video_whose_file_is_gone_says_what_helps(watched: Client, path: str, query: dict) -> None:
    error = watched.get(path, 409, video="gone", **query)["error"]
    assert "film 3.mp4" in error
    assert "videos_root=" in error


def test_videos_that_were_moved_are_found_below_videos_root(filmed: str, tmp_path: Path) -> None:
    shutil.copy(Path(filmed).parent / "film 0.mp4", tmp_path / "film 3.mp4")
    with reviewing(filmed, videos_root=str(tmp_path)) as client:
        assert client.raw("api/frame", video="gone", frame=2).status_code == 200


@pytest.mark.slow
def test_another_file_in_the_place_of_the_one_that_was_labeled_is_never_shown(tmp_path: Path) -> None:
    output = write_filmed_job(tmp_path, (DrawnVideo("a", {1: "cat"}),))
    shorter = tmp_path / "other"
    shorter.mkdir()
    write_filmed_job(shorter, (DrawnVideo("a", {1: "cat"}, num_frames=3),))
    shutil.move(shorter / "film 0.mp4", tmp_path / "film 0.mp4")
    with reviewing(output) as client:
        assert (
            "is another file than the one that was labeled" in client.get("api/frame", 409, video="a", frame=5)["error"]
        )


@pytest.mark.parametrize(
    ("path", "query", "status", "said"),
    [
        ("api/frame", {"video": "clip-1", "frame": 99}, 404, "no masks on frame 99"),
        ("api/frame", {"video": "clip-1", "frame": "x"}, 400, "frame="),
        ("api/frame", {"video": "clip-1", "frame": 2**70}, 400, "too large"),
        ("api/frame", {"frame": 1}, 400, "video= is missing"),
        ("api/frame", {"video": "clip-2", "frame": 1}, 404, "did you mean"),
        ("api/track", {"video": "clip-1", "object": 99}, 404, "no track of object 99"),
        ("api/filmstrip", {"video": "../job.json", "object": 1}, 404, "no track"),
        ("api/masks", {"video": "clip-1", "start": 0}, 400, "stop="),
    ],
)
def test_what_there_is_not_is_told(watched: Client, path: str, query: dict, status: int, said: str) -> None:
    assert said in watched.get(path, status, **query)["error"]
