"""Further columns of the input tables in the tables of the output, through a whole job."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.kept import kept_text
from pipeline.inputs.naming import InputNaming, Naming
from pipeline.inputs.plan import make_plan
from pipeline.run import main
from tests.support.jobs import JobFolder

DAY = datetime.datetime(2026, 5, 1, 12, 30)


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """Two videos of two objects each, whose tables have further columns."""
    job = JobFolder(tmp_path).write(["a", "b"], num_objects=2)
    add(
        job,
        "prompts",
        score=[0.5, 0.25, None, 1.0],
        track=["t1", "t2", "t3", "t4"],
        category=["cat", None, "dog", "dog"],
    )
    add(job, "videos", split=["train", "test"], taken=[DAY, None])
    return job


def add(job: JobFolder, table: str, **columns: Any) -> None:
    """Adds columns to an input table, or replaces them."""
    path = job.folder / "in" / f"{table}.parquet"
    rows = pq.read_table(path)
    for name, values in columns.items():
        rows = rows.drop_columns([name]) if name in rows.column_names else rows
        rows = rows.append_column(name, pa.array(values))
    pq.write_table(rows, path)


@pytest.mark.slow
def test_columns_travel_to_the_tables_and_the_category_to_the_masks(job: JobFolder) -> None:
    assert job.run("model=mini", "keep_columns=[score,track,split,taken]") == 0
    out = tables.open(str(job.output))
    tracks = out.tracks().select(["video_id", "object_id", "category", "score", "track"]).to_pylist()
    assert [tuple(row.values()) for row in tracks] == [
        ("a", 1, "cat", 0.5, "t1"),
        ("a", 2, None, 0.25, "t2"),
        ("b", 1, "dog", None, "t3"),
        ("b", 2, "dog", 1.0, "t4"),
    ]
    videos = out.videos().select(["video_id", "split", "taken"]).to_pylist()
    assert [tuple(row.values()) for row in videos] == [("a", "train", "2026-05-01T12:30:00"), ("b", "test", None)]
    masks = out.masks().to_table(columns=["video_id", "object_id", "category"]).to_pylist()
    assert {tuple(row.values()) for row in masks} == {("a", 1, "cat"), ("a", 2, None), ("b", 1, "dog"), ("b", 2, "dog")}
    plain = pq.read_table(job.output / "tracks", columns=["video_id", "object_id", "kept"]).sort_by("kept").to_pylist()
    assert [json.loads(row["kept"]) for row in plain if row["video_id"] == "a"] == [
        {"score": 0.25, "track": "t2"},
        {"score": 0.5, "track": "t1"},
    ]


@pytest.mark.slow
def test_a_change_of_what_is_kept_is_for_videos_that_are_labeled_from_then_on(job: JobFolder) -> None:
    videos = job.rows("videos")
    job.rewrite("videos", videos[:1])
    assert job.run("model=mini") == 0
    assert "score" not in tables.open(str(job.output)).tracks().column_names
    job.rewrite("videos", videos)
    assert job.run("model=mini", "keep_columns=score") == 0
    tracks = tables.open(str(job.output)).tracks()
    assert tracks.select(["video_id", "score"]).to_pylist() == [
        {"video_id": "a", "score": None},
        {"video_id": "a", "score": None},
        {"video_id": "b", "score": None},
        {"video_id": "b", "score": 1.0},
    ]
    assert job.run("model=mini", "keep_columns=score") == 0  # nothing is labeled again for it
    assert job.run("model=mini", "keep_columns=score", "relabel=true", "frames.stride=2") == 0
    assert tables.open(str(job.output)).tracks()["score"].to_pylist() == [0.5, 0.25, None, 1.0]


@pytest.mark.slow
def test_a_video_that_fails_keeps_its_columns_too(job: JobFolder) -> None:
    (job.folder / "in" / "a.mp4").unlink()
    assert job.run("model=mini", "keep_columns=[split,track]", "max_failed_fraction=1") == 0
    out = tables.open(str(job.output))
    assert out.videos()["split"].to_pylist() == ["train", "test"]
    assert out.tracks()["track"].to_pylist() == ["t1", "t2", "t3", "t4"]


@pytest.mark.slow
def test_a_column_is_kept_under_a_name_that_the_job_reads_by_another(job: JobFolder) -> None:
    add(job, "prompts", label=["x", "y", "z", "w"])
    assert job.run("model=mini", "columns.category=label", "keep_columns=[label,category]") == 0
    tracks = tables.open(str(job.output)).tracks()
    assert tracks["label"].to_pylist() == tracks["category"].to_pylist() == ["x", "y", "z", "w"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scor", "no table has a column scor: videos= has split, taken, uri, video_id; prompts= has"),
        ("status", "the output has a column of this name already"),
    ],
)
def test_a_column_that_cannot_be_kept_is_refused(
    name: str, message: str, job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(job.arguments("model=mini", "cluster=serial", f"keep_columns={name}")) == 2
    assert f"keep_columns={name}: {message}" in capsys.readouterr().err


def test_values_of_all_kinds_become_json() -> None:
    row = {"kept:a": 1, "kept:b": [1.5, None], "kept:c": float("nan"), "kept:d": b"\x01", "kept:e": DAY, "kept:f": "ü"}
    text = kept_text([{"kept:a": None}, row, {"kept:a": 2}], ["a", "b", "c", "d", "e", "f", "g"])
    assert text is not None
    assert json.loads(text) == {"a": 1, "b": [1.5, None], "d": "01", "e": "2026-05-01T12:30:00", "f": "ü"}
    assert kept_text([row], ["c", "g"]) is None
    assert kept_text([row], []) is None


def test_what_is_kept_changes_no_hash(job: JobFolder) -> None:
    keep = Naming(keep=("score", "split"))
    hashes = []
    for naming in (None, InputNaming(keep, keep)):
        places = [str(job.folder / "in" / f"{table}.parquet") for table in ("videos", "prompts")]
        plan = make_plan(InputTables(places[0], places[1], naming=naming), {})
        hashes.append([item.prompt_hash for item in plan.items()])
    assert hashes[0] == hashes[1]


def test_what_is_kept_is_json_also_where_numbers_are_none() -> None:
    """Python reads NaN and Infinity, and other programs refuse the whole text."""
    inf, nan = float("inf"), float("nan")
    row = {"kept:a": [1.5, nan, {"b": -inf}], "kept:c": {"d": [nan]}, "kept:e": inf, "kept:f": nan}
    text = kept_text([row, {"kept:f": 2.0}], ["a", "c", "e", "f"])
    assert text == '{"a": [1.5, null, {"b": null}], "c": {"d": [null]}, "f": 2.0}'
