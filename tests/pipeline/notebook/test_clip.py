"""What a notebook shows of a video: frames, masks and strips, judged by PyAV, pycocotools and Pillow."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from model import MediaError
from pipeline import tables
from pipeline.errors import OtherFile
from pipeline.masks.overlay import color_of
from pipeline.notebook.film import Pace, film
from pipeline.notebook.source_frames import SourceFile
from pipeline.records import FramePosition
from tests.pipeline.notebook.conftest import Filmed
from tests.support.drawn_job import USUAL, write_job
from tests.support.full_disk import FULL, full_disk


def decoded(source: Path | bytes) -> list[np.ndarray]:
    with av.open(str(source) if isinstance(source, Path) else io.BytesIO(source)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.slow
def test_a_frame_shows_its_own_pixels_with_the_masks_tinted(job: tables.JobTables, filmed: Filmed) -> None:
    clip = job.video("clip-1")
    expected = decoded(filmed.paths["clip-1"])[2]
    plain = clip.frame(2, object_ids=[])
    np.testing.assert_array_equal(plain.pixels_HW3, expected)
    shown = clip.frame(2, object_ids=[3], contours=False, labels="none").pixels_HW3.astype(float)
    mask = filmed.truth["clip-1", 3, 2]
    np.testing.assert_allclose(shown[mask], (expected[mask] + np.array(color_of(3))) / 2, atol=0.5)
    np.testing.assert_array_equal(shown[~mask], expected[~mask])
    in_page = np.asarray(Image.open(io.BytesIO(clip.frame(2)._repr_jpeg_()))).astype(float)
    assert np.abs(in_page - clip.frame(2).pixels_HW3).mean() < 4
    assert repr(plain) == "<frame 2 of video 'clip-1', objects none, 64 x 48 pixels>"


def test_a_frame_of_a_video_with_a_stride_is_found_by_its_time(job: tables.JobTables, filmed: Filmed) -> None:
    clip = job.video("b/odd name.mp4")
    np.testing.assert_array_equal(clip.frame_indexes, [0, 4, 8, 12])
    np.testing.assert_allclose(clip.frame_times, np.array([0, 4, 8, 12]) / 24)
    assert clip.frame_index_at(0.35) == 8
    frame = clip.frame(8, object_ids=[])
    np.testing.assert_array_equal(frame.pixels_HW3, decoded(filmed.paths["b/odd name.mp4"])[8])


def test_a_frame_of_a_video_without_times_is_found_by_its_index(job: tables.JobTables, filmed: Filmed) -> None:
    frame = job.video("c").frame(3, object_ids=[])
    np.testing.assert_array_equal(frame.pixels_HW3, decoded(filmed.paths["c"])[3])
    with pytest.raises(ValueError, match="video 'c' has no frames with times"):
        job.video("c").frame_index_at(0.1)


def test_masks_are_those_of_the_rows(job: tables.JobTables, filmed: Filmed) -> None:
    clip = job.video("clip-1")
    found = clip.masks(3)
    assert list(found) == [3, 7]
    for object_id, mask in found.items():
        np.testing.assert_array_equal(mask, filmed.truth["clip-1", object_id, 3])
        assert mask.dtype == bool
    labels = clip.labels(3)
    np.testing.assert_array_equal(labels != -1, found[3] | found[7])
    both = found[3] & found[7]
    assert both.any()
    assert set(labels[both]) == {7}  # whose score is 7 - 1, and the other's 5
    np.testing.assert_array_equal(clip.mask(7, 3), found[7])


def test_numbers_of_numpy_name_frames_and_objects_as_well(job: tables.JobTables, filmed: Filmed) -> None:
    clip = job.video("clip-1")
    frame_index = clip.frame_indexes[2]
    object_ids = clip.tracks["object_id"].to_numpy()
    shown = clip.frame(frame_index, object_ids=object_ids)
    np.testing.assert_array_equal(shown.pixels_HW3, clip.frame(2).pixels_HW3)
    np.testing.assert_array_equal(clip.mask(object_ids[0], frame_index), filmed.truth["clip-1", 3, 2])
    assert [one.frame_index for one in clip.drawn(clip.frame_indexes)] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(KeyError, match="no finished video 5"):
        job.video(5)  # type: ignore[arg-type]


def test_tensors_have_an_entry_for_every_object_in_the_same_order(job: tables.JobTables, filmed: Filmed) -> None:
    clip = job.video("c")
    stacked = clip.torch_masks(0)
    assert clip.object_ids == [1, 2, 5, 9]
    assert stacked.shape == (4, 48, 64)
    np.testing.assert_array_equal(stacked[0].numpy(), filmed.truth["c", 1, 0])
    assert not stacked[1:].any(), "object 2 has not started, 5 is hidden and 9 failed"
    over_time = job.video("clip-1").track(7).torch_masks()
    assert over_time.shape == (5, 48, 64)
    np.testing.assert_array_equal(over_time[1].numpy(), filmed.truth["clip-1", 7, 2])


def test_what_is_not_there_is_named_with_what_is(job: tables.JobTables) -> None:
    with pytest.raises(KeyError, match="no finished video 'clip-2'; did you mean 'clip-1'"):
        job.video("clip-2")
    clip = job.video("b/odd name.mp4")
    for wrong in (3, 13):
        with pytest.raises(KeyError, match=f"no masks on frame {wrong}; those with masks are 0 to 12, every 4"):
            clip.frame(wrong)
    with pytest.raises(KeyError, match="no object 7; it has 0"):
        clip.track(7)
    with pytest.raises(KeyError, match="no object '0'; it has 0"):
        clip.track("0")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="no object 7; it has 0"):
        clip.frame(4, object_ids=[7])
    with pytest.raises(KeyError, match="no mask of object 7 on frame 0; there it has 3"):
        job.video("clip-1").mask(7, 0)
    failed = "object 9 of video 'c' failed and has no masks: no such frame; correct its prompts and run .* retry=failed"
    with pytest.raises(KeyError, match=failed):
        job.video("c").mask(9, 0)
    with pytest.raises(KeyError, match=failed):
        job.video("c").frame(0, object_ids=[1, 9])
    with pytest.raises(ValueError, match="'broken': no frame of it was read: no file"):
        _ = job.video("broken").size_hw
    with pytest.raises(ValueError, match="labels='id': give 'ids', 'categories' or 'none'"):
        clip.frame(4, labels="id")  # type: ignore[arg-type]


# Files that moved


@pytest.mark.slow
def test_a_video_that_moved_is_found_below_its_new_root(job: tables.JobTables, filmed: Filmed, tmp_path: Path) -> None:
    before = job.video("clip-1").frame(2).pixels_HW3
    moved = tmp_path / "elsewhere" / "in"
    moved.mkdir(parents=True)
    shutil.copy(filmed.paths["clip-1"], moved)
    for root in (tmp_path / "elsewhere", moved):
        np.testing.assert_array_equal(job.video("clip-1", videos_root=str(root)).frame(2).pixels_HW3, before)
    with pytest.raises(MediaError, match=r"'clip-1' is not below videos_root=.*nowhere: there is neither .*film 0.mp4"):
        job.video("clip-1", videos_root=str(tmp_path / "nowhere")).frame(2)


def test_an_error_of_a_file_that_was_found_is_told_though_another_lies_further_down(
    job: tables.JobTables, filmed: Filmed, tmp_path: Path
) -> None:
    """The file of the longer path is cut in its middle; the one of the shorter path is whole."""
    (tmp_path / "in").mkdir()
    whole = filmed.paths["clip-1"].read_bytes()
    (tmp_path / "in" / "film 0.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "film 0.mp4").write_bytes(whole)
    with pytest.raises(MediaError, match=r"in/film 0\.mp4"):
        job.video("clip-1", videos_root=str(tmp_path)).frame(2)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/in/what? #1 50%25.mp4", "in/what? #1 50%25.mp4"),
        ("file:///data/in/a%20b.mp4", "a b.mp4"),
        ("s3://bucket/data/what?#%20.mp4", "data/what?#%20.mp4"),
        ("https://host/data/a%20b.mp4?signed=yes", "data/a b.mp4"),
    ],
)
def test_names_with_any_letters_are_found_below_a_new_root(filmed: Filmed, tmp_path: Path, uri: str, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shutil.copy(filmed.paths["clip-1"], tmp_path / name)
    row = tables.open(filmed.uri).video("clip-1").row | {"uri": uri}
    assert len(list(SourceFile(row, str(tmp_path)).frames([FramePosition(None, 0.0)]))) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source_bytes": 17}, r"\d+ bytes, not 17"),
        ({"height": 96}, "64 x 48 pixels, not 64 x 96"),
        ({"num_frames_expected": 99}, "6 frames, not 99"),
    ],
)
def test_another_file_in_the_place_is_refused(filmed: Filmed, changed: dict[str, int], said: str) -> None:
    row = tables.open(filmed.uri).video("clip-1").row | changed
    with pytest.raises(
        OtherFile, match=f"is another file than the one that was labeled: {said}; label the video again"
    ):
        list(SourceFile(row).frames([FramePosition(None, 0.0)]))


@pytest.mark.parametrize("seconds", [0.1, 7.0])
def test_a_file_with_other_times_is_refused(filmed: Filmed, seconds: float) -> None:
    row = tables.open(filmed.uri).video("clip-1").row
    with pytest.raises(OtherFile, match=rf"another file .* it has no frame at {seconds:g} s; label the video again"):
        list(SourceFile(row).frames([FramePosition(None, 0.0), FramePosition(None, seconds)]))


# Pictures of several frames


def test_a_filmstrip_has_frames_from_first_to_last(job: tables.JobTables) -> None:
    clip = job.video("clip-1")
    strip = clip.filmstrip(3)
    each = round(160 * 64 / 48)
    assert strip.pixels_HW3.shape == (160 + 22, 3 * (each + 6) - 6, 3)
    last = np.asarray(Image.fromarray(clip.frame(5).pixels_HW3).resize((each, 160), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(strip.pixels_HW3[:160, -each:], last)
    assert strip.title == "3 frames of video 'clip-1'"


def test_a_contact_sheet_has_rows_of_frames_and_the_colors_of_the_objects(job: tables.JobTables) -> None:
    sheets = [job.video("c").contact_sheet(6, columns=columns).pixels_HW3 for columns in (6, 3)]
    assert sheets[0].shape[1] - sheets[1].shape[1] == 3 * (220 + 8)
    assert sheets[1].shape[0] > sheets[0].shape[0]
    for object_id in (1, 2, 5):
        assert (sheets[1] == color_of(object_id)).all(axis=2).sum() > 100


def test_a_video_plays_in_the_page_at_its_own_pace(job: tables.JobTables) -> None:
    clip = job.video("b/odd name.mp4")
    shown = clip.play(labels="none")
    with av.open(io.BytesIO(shown.mp4)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = list(container.decode(stream))
    assert [round(float(frame.pts * frame.time_base), 3) for frame in frames] == [0.0, 0.167, 0.333, 0.5]
    expected = clip.frame(8, labels="none").pixels_HW3.astype(float)
    assert np.abs(frames[2].to_ndarray(format="rgb24") - expected).mean() < 12
    page = shown._repr_html_()
    assert page.count("<video controls") == 1
    assert "data:video/mp4;base64," in page
    assert "frames 0 to 12 of video &#x27;b/odd name.mp4&#x27;" in page


@pytest.mark.slow
def test_what_is_too_large_for_the_page_ends_earlier_and_says_where_to_go_on(job: tables.JobTables) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 48, 64, 3), np.uint8)
    pace = Pace(Fraction(24), Fraction(4, 3))
    mp4, num_frames = film(((frame, None) for frame in noise), pace, most_pixels=32, most_bytes=30_000)
    assert 24_000 < len(mp4) <= 30_000
    frames = decoded(mp4)
    assert len(frames) == num_frames < 300
    with av.open(io.BytesIO(mp4)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    assert frames[0].shape == (24, 32, 3)
    clip = job.video("clip-1")
    part = clip.play(most_bytes=1)
    assert part.note == "the rest would be too large: go on with play(1)"
    assert [len(decoded(shown.mp4)) for shown in (part, clip.play(1), clip.play(1, 3), clip.play())] == [1, 5, 2, 6]
    with pytest.raises(ValueError, match="no masks from frame 9 on; those with masks are 0 to 5"):
        clip.play(9)
    with pytest.raises(ValueError, match="no masks from frame 3 to before frame 3; those with masks are 0 to 5"):
        clip.play(3, 3)


@pytest.mark.parametrize("name", ["frame.png", "frame.JPG", "film.mp4"])
def test_a_saved_picture_or_film_is_whole_or_not_there(job: tables.JobTables, tmp_path: Path, name: str) -> None:
    clip = job.video("clip-1")
    shown = clip.play() if name == "film.mp4" else clip.frame(2)
    with full_disk(room_bytes=50), pytest.raises(OSError, match=f"{FULL}; check that .* its disk has room: '.*{name}'"):
        shown.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    shown.save(tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].codec_context.width == 64
    with pytest.raises(ValueError, match=r"frame\.txt: give a name that ends in \.png"):
        clip.frame(2).save(tmp_path / "frame.txt")


# What shows itself


@pytest.mark.slow
def test_a_video_shows_itself_with_all_texts_escaped(job: tables.JobTables, filmed: Filmed) -> None:
    clip = job.video("clip-1")
    shown = clip._repr_html_()
    assert shown.count("<img") == 6
    assert shown.count("<tr>") == 3
    clip.tracks = clip.tracks.set_column(
        clip.tracks.column_names.index("message"), "message", [["<script>alert(1)</script>"] * 2]
    )
    assert "<script>" not in clip._repr_html_()
    assert "&lt;script&gt;" in clip._repr_html_()
    away = job.video("clip-1", videos_root=str(filmed.folder / "nowhere"))._repr_html_()
    assert "<img" not in away
    assert "nowhere" in away
    assert repr(clip) == "<video 'clip-1': ok, 6 frames, objects 3, 7>"
    assert "no file" in repr(job.video("broken"))
    assert "no file" in job.video("broken")._repr_html_()


@pytest.mark.slow
def test_a_job_shows_its_counts_and_its_first_videos(job: tables.JobTables) -> None:
    assert repr(job).endswith("job: 4 videos finished (3 ok, 1 failed), 7 tracks, 32 masks>")
    shown = job._repr_html_()
    assert shown.count("<img") == 3
    for words in ("clip-1", "b/odd name.mp4", "no file", "failed"):
        assert words in shown


@pytest.mark.slow
def test_a_job_shows_the_videos_that_are_there_and_says_why_others_are_not(filmed: Filmed, tmp_path: Path) -> None:
    videos = (replace(USUAL[0], uri="/nowhere/film.mp4"), replace(USUAL[2], uri=str(filmed.paths["c"])))
    shown = tables.open(write_job(tmp_path, videos)[0])._repr_html_()
    assert shown.count("<img") == 1
    assert "/nowhere/film.mp4: there is no such file" in shown


def test_all_objects_of_a_video_are_looked_up_without_a_walk_through_all_for_each(job: tables.JobTables) -> None:
    """1000 objects of one video took 7 seconds, before a first frame was drawn."""
    clip = job.video("c")
    rows = clip.tracks

    class Counting:
        num_read = 0

        def __init__(self, part: pa.Table) -> None:
            self._part = part

        def __getitem__(self, name: str) -> pa.ChunkedArray:
            return self._part[name]

        def slice(self, start: int, length: int) -> Counting:
            return Counting(self._part.slice(start, length))

        def to_pylist(self) -> list[dict[str, Any]]:
            Counting.num_read += self._part.num_rows
            found: list[dict[str, Any]] = self._part.to_pylist()
            return found

    clip.tracks = Counting(rows)
    assert [clip.track(object_id).row for object_id in clip.object_ids] == rows.to_pylist()
    assert Counting.num_read == rows.num_rows


def test_objects_out_of_a_column_of_arrow_are_objects(job: tables.JobTables) -> None:
    clip = job.video("clip-1")
    column = clip.tracks["object_id"]
    assert [clip.track(object_id).object_id for object_id in column] == [3, 7]
    np.testing.assert_array_equal(clip.mask(column[0], 2), clip.masks(2)[3])
    (drawn,) = clip.drawn([2], object_ids=column)
    assert drawn.object_ids == (3, 7)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_tint_that_is_no_share_is_refused_because_colors_would_be_others(
    job: tables.JobTables, strength: float
) -> None:
    with pytest.raises(ValueError, match="give a share from 0"):
        job.video("clip-1").frame(2, strength=strength)


def test_a_sheet_without_columns_is_refused(job: tables.JobTables) -> None:
    for columns in (0, -1):
        with pytest.raises(ValueError, match="give how many frames stand in a row"):
            job.video("clip-1").contact_sheet(columns=columns)
