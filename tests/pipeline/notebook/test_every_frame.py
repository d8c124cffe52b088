"""Frames of a video on which nothing is labeled are found again, with the numbers that the job would give them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import overlay, tables
from pipeline.command import ExitCode
from pipeline.errors import OtherFile
from pipeline.notebook.source_frames import SourceFile
from pipeline.records import FramePosition
from pipeline.video.encode import encode_mp4
from tests.support.drawn_job import DrawnVideo
from tests.support.mendable import write_job_record
from tests.support.reviewing import gray, write_filmed_job

FPS = 24


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceFile:
    """A film of twelve frames."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    path.write_bytes(encode_mp4([gray(frame, 48, 64) for frame in range(12)], FPS))
    known = ("source_bytes", "num_frames_expected", "height", "width")
    return SourceFile({"video_id": "v", "uri": str(path)} | dict.fromkeys(known))


def at(frame_index: int, place: int) -> FramePosition:
    """A frame by its number in the labeled range, and by its place in the file."""
    return FramePosition(frame_index, place / FPS)


def found(source: SourceFile, known: FramePosition, last: FramePosition, **taken: float) -> list[tuple[int, int]]:
    """Numbers and places of the frames."""
    every = source.every_frame(known, last, **taken)  # type: ignore[arg-type]
    return [(one.frame_index or 0, round((one.pts_seconds or 0.0) * FPS)) for one in every]


def test_frames_before_the_first_labeled_one_are_found(source: SourceFile) -> None:
    assert found(source, at(4, 4), at(6, 6)) == [(place, place) for place in range(7)]
    assert found(source, at(4, 4), at(8, 8), stride=2) == [(place, place) for place in (0, 2, 4, 6, 8)]


def test_numbers_count_from_the_begin_of_the_labeled_range(source: SourceFile) -> None:
    assert found(source, at(2, 5), at(4, 7)) == [(0, 3), (1, 4), (2, 5), (3, 6), (4, 7)]
    assert found(source, at(2, 5), at(6, 9), stride=3) == [(0, 3), (3, 6), (6, 9)]
    assert found(source, at(4, 6), at(8, 10), fps=6) == [(0, 2), (4, 6), (8, 10)]


def test_another_file_is_told(source: SourceFile) -> None:
    with pytest.raises(OtherFile, match="another file than the one that was labeled"):
        source.every_frame(at(9, 4), at(9, 4))


def test_a_clip_shows_frames_without_masks_from_then_on(tmp_path: Path) -> None:
    late = DrawnVideo("late", {1: "cat"}, num_frames=5, stride=2, missing={1: (0, 1)}, prompt_frame=4)
    clip = tables.open(write_filmed_job(tmp_path, (late,))).video("late")
    assert clip.frame_indexes.tolist() == [4, 6, 8]
    assert clip.add_frames_without_rows(stride=2) == 2
    assert clip.frame_indexes.tolist() == [0, 2, 4, 6, 8]
    pictures = {index: pixels_HW3.mean() for index, _, pixels_HW3 in clip.pixels([0, 2, 6])}
    assert pictures == {index: pytest.approx(np.mean(gray(index, 1, 1)), abs=3) for index in (0, 2, 6)}


@pytest.mark.slow
def test_a_film_shows_the_frames_before_objects_start_and_in_gaps_without_their_masks(tmp_path: Path) -> None:
    video = DrawnVideo("late", {1: "cat", 2: "dog"}, num_frames=6, missing={1: (0, 1, 4), 2: (0, 1, 2, 4)})
    clip = tables.open(write_filmed_job(tmp_path, (video,))).video("late")
    assert [one.object_ids for one in clip.drawn(clip.frame_indexes.tolist())] == [(1,), (1, 2), (1, 2)]
    assert num_frames(clip.play().mp4) == 3
    assert clip.add_frames_without_rows() == 3
    shown = {one.frame_index: one.object_ids for one in clip.drawn(clip.frame_indexes.tolist())}
    assert shown == {0: (), 1: (), 2: (1,), 3: (1, 2), 4: (), 5: (1, 2)}
    plain = next(clip.drawn([1])).pixels_HW3
    np.testing.assert_allclose(plain, gray(1, *plain.shape[:2]), atol=3)
    assert num_frames(clip.play().mp4) == 6


def num_frames(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.slow
def test_an_overlay_begins_where_the_file_does_if_it_is_asked_to(tmp_path: Path) -> None:
    late = DrawnVideo("late", {1: "cat"}, num_frames=6, missing={1: (0, 1)}, prompt_frame=2)
    uri, to = write_filmed_job(tmp_path, (late,)), tmp_path / "to"
    words = [f"output={uri}", f"to={to}"]
    assert overlay.door([*words, "unlabeled=true"]) == ExitCode.REFUSED, "nobody knows the stride"
    write_job_record(uri, "mini")
    assert overlay.door(words) == 0
    assert num_frames((to / "late.mp4").read_bytes()) == 4
    assert overlay.door([*words, "unlabeled=true"]) == 0
    assert num_frames((to / "late.mp4").read_bytes()) == 6
