from __future__ import annotations

import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.demo.clips import draw
from pipeline.demo.inputs import prompt_frame, prompt_values, seed_prompts, write_inputs
from pipeline.demo.scenes import demo_scenes
from pipeline.inputs.columns import PROMPTS_IN, VIDEOS_IN
from pipeline.video.encode import encode_mp4, mp4_comment
from tests.support.clips import first_visible, moving_clip, write_job_inputs


def test_written_tables_have_the_columns_that_a_job_reads(tmp_path: Path) -> None:
    videos, prompts = write_job_inputs(tmp_path, [moving_clip("a"), moving_clip("b", num_objects=1)])
    for table, columns in ((videos, VIDEOS_IN), (prompts, PROMPTS_IN)):
        accepts = {column.name: column.accepts for column in columns}
        found = pq.read_schema(table)
        assert all(accepts[name](found.field(name).type) for name in found.names)
        assert {column.name for column in columns if column.required} <= set(found.names)
    rows = pq.read_table(videos).to_pylist()
    assert [row["video_id"] for row in rows] == ["a", "b"]
    assert all((tmp_path / row["uri"]).stat().st_size > 1000 for row in rows)
    assert pq.read_table(prompts).num_rows == 3


def test_inputs_can_be_written_to_any_file_system() -> None:
    videos, prompts = write_inputs("memory://demo-inputs/input", [moving_clip("a")], [])
    assert videos == "memory://demo-inputs/input/videos.parquet"
    files = fsspec.filesystem("memory").ls("/demo-inputs/input", detail=False)
    assert sorted(Path(file).name for file in files) == ["a.mp4", "prompts.parquet", "videos.parquet"]
    assert prompts.endswith("prompts.parquet")


def test_a_clip_that_lies_there_already_is_not_written_again(tmp_path: Path) -> None:
    """Another time of change would make it another file for the job that has labeled it."""
    clips = [moving_clip("a"), moving_clip("b")]
    write_inputs(str(tmp_path), clips, [])
    (tmp_path / "b.mp4").write_bytes(b"another")
    for name in ("a.mp4", "b.mp4"):
        os.utime(tmp_path / name, (1.0, 1.0))
    write_inputs(str(tmp_path), clips, [])
    assert (tmp_path / "a.mp4").stat().st_mtime == 1.0
    assert (tmp_path / "b.mp4").stat().st_mtime > 1.0
    assert (tmp_path / "b.mp4").stat().st_size > 1000


def test_a_clip_of_the_same_frames_is_the_same_whatever_bytes_the_encoder_made_of_them(tmp_path: Path) -> None:
    """x264 does not give the same bytes each time: a second demo warned of videos that had changed."""
    clips = [moving_clip("a", seed=1), moving_clip("b", seed=2)]
    write_inputs(str(tmp_path), clips, [])
    first, second = (tmp_path / f"{clip.name}.mp4" for clip in clips)
    with first.open("rb") as file:
        comment = mp4_comment(file)
    other_bytes = encode_mp4(clips[0].frames_THW3, 12, quality=30, comment=comment)
    assert other_bytes != first.read_bytes()
    first.write_bytes(other_bytes)
    second.write_bytes(other_bytes)
    write_inputs(str(tmp_path), clips, [])
    assert first.read_bytes() == other_bytes
    assert second.read_bytes() != other_bytes, "these are frames of another clip"


def test_prompts_point_at_the_mask() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[5:10, 12:20] = True
    assert prompt_values("box", mask) == {"box_xyxy": [12.0, 5.0, 20.0, 10.0]}
    click = prompt_values("click", mask)
    (x, y) = click["points_xy"][0]
    assert mask[int(y), int(x)]
    assert click["point_labels"] == [1]
    assert set(prompt_values("box and click", mask)) == {"box_xyxy", "points_xy", "point_labels"}
    assert np.array_equal(coco.decode(prompt_values("mask", mask)["mask_rle"]), mask)


def test_prompts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="'scribble' is none of"):
        prompt_values("scribble", np.ones((4, 4), np.bool_))
    with pytest.raises(ValueError, match="empty mask"):
        prompt_values("box", np.zeros((4, 4), np.bool_))


@pytest.mark.slow
def test_an_object_that_enters_late_is_prompted_when_it_shows() -> None:
    clip = draw(next(scene for scene in demo_scenes() if scene.name == "entering"))
    frame_index = prompt_frame(clip, 2)
    assert 0 < first_visible(clip, 2) < frame_index
    assert [row["frame_index"] for row in seed_prompts(clip, ["box"])] == [0, frame_index]


def test_a_clip_of_an_earlier_version_which_wrote_no_comment_is_not_written_again(tmp_path: Path) -> None:
    """A demo that was begun before an update warned of six videos that had changed."""
    clip = moving_clip("a", seed=1)
    file = tmp_path / "a.mp4"
    file.write_bytes(encode_mp4(clip.frames_THW3, 12))
    before = file.stat().st_mtime_ns
    write_inputs(str(tmp_path), [clip], [])
    assert file.stat().st_mtime_ns == before
    file.write_bytes(encode_mp4(moving_clip("a", seed=2).frames_THW3, 12))
    write_inputs(str(tmp_path), [clip], [])
    with file.open("rb") as written:
        assert mp4_comment(written), "these are other frames"
