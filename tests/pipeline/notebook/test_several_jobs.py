"""Several outputs read as one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.notebook.several_jobs import SeveralJobs
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, pixels, publish


def night(folder: Path, day: int, **videos: int) -> str:
    """An output whose videos were finished on a day in November, each with so many frames."""
    storage = JobStorage(str(folder / f"labels/2026-11-{day}"))
    _, keeper = driver(storage, folder / "spool", "d")
    found = []
    for video_id, num_frames in videos.items():
        video = labeled(video_id, num_frames, (1,))
        at = pa.array([datetime(2026, 11, day, tzinfo=UTC)], video.video.schema.field("finished_at").type)
        place = video.video.schema.get_field_index("finished_at")
        found.append(replace(video, video=video.video.set_column(place, "finished_at", at)))
    keeper.commit([publish(storage, folder / "spool", *found)])
    return storage.uri


@pytest.fixture
def nights(tmp_path: Path) -> list[str]:
    return [night(tmp_path, 27, a=2, b=3), night(tmp_path, 28, c=4)]


@pytest.mark.slow
def test_the_tables_of_several_outputs_are_one(nights: list[str]) -> None:
    both = tables.open(nights)
    assert both.videos().select(["video_id", "num_frames", "output"]).to_pylist() == [
        {"video_id": "a", "num_frames": 2, "output": nights[0]},
        {"video_id": "b", "num_frames": 3, "output": nights[0]},
        {"video_id": "c", "num_frames": 4, "output": nights[1]},
    ]
    assert both.tracks(where="video_id >= 'b'").select(["video_id", "object_id"]).to_pylist() == [
        {"video_id": "b", "object_id": 1},
        {"video_id": "c", "object_id": 1},
    ]
    assert both.masks().count_rows() == 9
    frames = both.masks(["b", "c"], columns=["video_id", "output"], where="frame_index >= 2").to_table().to_pylist()
    assert sorted((row["video_id"], row["output"]) for row in frames) == [
        ("b", nights[0]),
        ("c", nights[1]),
        ("c", nights[1]),
    ]
    (mask, *_) = both.video_masks("c")
    assert (mask.pixels_HW == pixels("c", 1, 0)).all()
    assert both.sql("select output, count(*) from masks group by output order by output").fetchall() == [
        (nights[0], 5),
        (nights[1], 4),
    ]
    assert repr(both) == f"<2 outputs with 3 videos: {nights[0]}, {nights[1]}>"
    with pytest.raises(KeyError, match="none of 2 outputs has a finished video 'd'"):
        both.video("d")


def test_nothing_is_opened_of_an_output_that_a_condition_rules_out(nights: list[str]) -> None:
    both = tables.open(nights)
    plan = both.masks(where="video_id = 'c'").plan()
    assert (plan.num_files, plan.of_files) == (1, 2)
    assert both.masks(where=f"output = '{nights[0]}'").plan().num_files == 1


def test_a_glob_names_the_outputs_and_no_other_folders(nights: list[str], tmp_path: Path) -> None:
    (tmp_path / "labels" / "notes").mkdir()
    assert tables.open([str(tmp_path / "labels" / "*")]).videos()["output"].unique().to_pylist() == nights
    assert tables.open([str(tmp_path / "labels" / "*-28")]).videos()["video_id"].to_pylist() == ["c"]
    with pytest.raises(FileNotFoundError, match=r"labels/x\* matches no folder that holds _log"):
        tables.open([str(tmp_path / "labels" / "x*")])


def test_a_glob_outside_of_a_list_is_told_where_globs_are_taken(nights: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"it is a glob.*tables\.open takes globs in a list, as \['.*labels/\*'\]"
    ):
        tables.open(str(tmp_path / "labels" / "*"))


def test_outputs_may_be_given_as_paths(nights: list[str], tmp_path: Path) -> None:
    assert tables.open(Path(nights[0])).videos().num_rows + tables.open(Path(nights[1])).videos().num_rows == 3
    assert tables.open([Path(night) for night in nights]).videos().num_rows == 3
    assert tables.open((tmp_path / "labels" / "*",)).videos().num_rows == 3


@pytest.mark.slow
def test_one_video_in_several_outputs_is_refused_or_the_newest_counts(nights: list[str], tmp_path: Path) -> None:
    places = [night(tmp_path, 29, a=5, d=1), *nights]
    with pytest.raises(ValueError, match=r"several outputs have one id: 'a' is in .*11-29, .*11-27; leave one of them"):
        tables.open(places)
    for given in (places, places[::-1]):
        every: SeveralJobs = tables.open(given, same_id="newest")
        found = dict(zip(*(every.videos()[name].to_pylist() for name in ("video_id", "num_frames")), strict=True))
        assert found == {"a": 5, "b": 3, "c": 4, "d": 1}
        assert every.tracks()["video_id"].to_pylist() == ["a", "b", "c", "d"]
        assert every.masks().count_rows() == 13
        assert every.masks(["a"]).count_rows() == 5
        assert len(list(every.video_masks("a"))) == 5
        assert repr(every).startswith("<3 outputs with 4 videos")


def test_a_typing_mistake_in_same_id_is_no_choice(nights: list[str]) -> None:
    wrong: Any = "latest"
    with pytest.raises(ValueError, match="same_id='latest': give 'error' or 'newest'"):
        tables.open(nights, same_id=wrong)
