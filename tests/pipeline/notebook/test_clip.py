"""What a notebook shows of a job: videos, frames and tracks by themselves."""

from __future__ import annotations

import io
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from model import MediaError
from pipeline import tables
from pipeline.masks.overlay import color_of
from pipeline.notebook.source_frames import OtherFile
from tests.support.jobs import JobFolder
from tests.support.sessions import save_small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """A job of two drawn videos, every second frame of 7."""
    checkpoint = tmp_path_factory.mktemp("weights")
    save_small(checkpoint)
    job = JobFolder(tmp_path_factory.mktemp("job"), checkpoint).write(["a", "b"], num_frames=7, num_objects=2)
    assert job.run("frames.stride=2") == 0
    return job


@pytest.fixture
def job(folder: JobFolder) -> tables.JobTables:
    return tables.open(str(folder.output))


def test_a_frame_shows_its_own_pixels_with_the_masks_tinted(job: tables.JobTables, folder: JobFolder) -> None:
    clip = job.video("a")
    plain = clip.frame(4, strength=0.0, object_ids=[])
    expected = _decoded(folder.folder / "in" / "a.mp4")[4]
    np.testing.assert_array_equal(plain.pixels_HW3, expected)
    shown = clip.frame(4, object_ids=[1]).pixels_HW3.astype(float)
    mask = clip.mask(1, 4)
    if mask.any():
        tinted = (expected[mask] + np.array(color_of(1))) / 2
        assert np.median(np.abs(shown[mask] - tinted)) <= 1
    in_page = np.asarray(Image.open(io.BytesIO(clip.frame(4)._repr_jpeg_()))).astype(float)
    assert np.abs(in_page - clip.frame(4).pixels_HW3).mean() < 4
    assert repr(plain).startswith("<frame 4 of video 'a'")


def test_masks_are_those_of_the_rows(job: tables.JobTables) -> None:
    clip = job.video("b")
    rows = [row for row in job.masks(["b"]).to_table().to_pylist() if row["frame_index"] == 6]
    found = clip.masks(6)
    assert list(found) == [1, 2]
    for row in rows:
        np.testing.assert_array_equal(found[row["object_id"]], coco.decode(row["rle"]).astype(bool))
    labels = clip.labels(6)
    assert set(np.unique(labels)) <= {-1, 1, 2}
    np.testing.assert_array_equal(labels != -1, found[1] | found[2])
    winner = max(rows, key=lambda row: row["object_score"])["object_id"]
    np.testing.assert_array_equal(labels == winner, found[winner])
    np.testing.assert_array_equal(clip.frame_indexes, [0, 2, 4, 6])


def test_a_track_has_masks_boxes_and_areas_over_time(job: tables.JobTables) -> None:
    track = job.video("a").track(2)
    masks = track.array()
    assert masks.shape == (4, *job.video("a").size_hw)
    np.testing.assert_array_equal(track.frame_indexes, [0, 2, 4, 6])
    np.testing.assert_array_equal(track.areas, masks.sum(axis=(1, 2)))
    for (_, mask), box in zip(track.masks(), track.boxes, strict=True):
        ys, xs = np.nonzero(mask)
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [np.nan] * 4
        np.testing.assert_array_equal(box, expected)
    assert repr(track).startswith("<track 2 of video 'a': visible on ")


def test_what_is_not_there_is_named_with_what_is(job: tables.JobTables) -> None:
    with pytest.raises(KeyError, match="no finished video 'aa'; did you mean 'a'"):
        job.video("aa")
    clip = job.video("a")
    with pytest.raises(KeyError, match="no masks on frame 3; those with masks are 0 to 6, every 2"):
        clip.frame(3)
    with pytest.raises(KeyError, match="no object 7; it has 1, 2"):
        clip.track(7)
    with pytest.raises(KeyError, match="no object 7; it has 1, 2"):
        clip.mask(7, 4)


def test_a_video_that_moved_is_found_below_its_new_root_and_another_file_is_refused(
    job: tables.JobTables, folder: JobFolder, tmp_path: Path
) -> None:
    before = job.video("a").frame(2).pixels_HW3
    moved = tmp_path / "elsewhere" / "in"
    moved.mkdir(parents=True)
    shutil.copy(folder.folder / "in" / "a.mp4", moved / "a.mp4")
    np.testing.assert_array_equal(job.video("a", videos_root=str(tmp_path / "elsewhere")).frame(2).pixels_HW3, before)
    np.testing.assert_array_equal(job.video("a", videos_root=str(moved)).frame(2).pixels_HW3, before)
    (moved / "a.mp4").write_bytes((moved / "a.mp4").read_bytes() + b"more")
    with pytest.raises(OtherFile, match=r"another file than the one that was labeled: \d+ bytes, not \d+"):
        job.video("a", videos_root=str(moved)).frame(2)
    with pytest.raises(MediaError, match="nowhere"):
        job.video("a", videos_root=str(tmp_path / "nowhere")).frame(2)


def _decoded(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        assert Fraction(container.streams.video[0].average_rate) > 0
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_filmstrip_has_frames_from_first_to_last(job: tables.JobTables) -> None:
    clip = job.video("a")
    strip = clip.filmstrip(3)
    height, width = clip.size_hw
    each = round(160 * width / height)
    assert strip.pixels_HW3.shape == (160 + 22, 3 * (each + 6) - 6, 3)
    last = np.asarray(Image.fromarray(clip.frame(6).pixels_HW3).resize((each, 160), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(strip.pixels_HW3[:160, -each:], last)
    assert strip.title == "3 frames of video 'a'"


def test_a_video_shows_itself_in_a_notebook_with_all_texts_escaped(job: tables.JobTables, folder: JobFolder) -> None:
    clip = job.video("a")
    shown = clip._repr_html_()
    assert shown.count("<img") == 4
    assert shown.count("<tr>") == 3
    clip.tracks = clip.tracks.set_column(
        clip.tracks.column_names.index("message"), "message", [["<script>alert(1)</script>"] * 2]
    )
    assert "<script>" not in clip._repr_html_()
    assert "&lt;script&gt;" in clip._repr_html_()
    away = job.video("a", videos_root=str(folder.folder / "nowhere"))._repr_html_()
    assert "<img" not in away
    assert "nowhere" in away
