"""Rows of a job a few videos at a time: those of the whole tables, in their order, whatever waits on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.formats.job_rows import JobRows
from pipeline.formats.planning import make_plan
from pipeline.formats.selection import Selection
from pipeline.formats.table_spool import Spools
from pipeline.output.kept_columns import kept_schema, merged_schemas, with_kept_columns
from tests.support.drawn_job import DrawnVideo, write_job

VIDEOS = tuple(
    DrawnVideo(f"v{number * 7 % 20:02d}", {1: "cat", 2: None}, num_frames=2, uri=f"{number}.mp4")
    for number in range(20)
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job of a segment whose videos are ordered, and of two more whose ids lie among them."""
    folder = tmp_path_factory.mktemp("job_rows")
    return write_job(folder, VIDEOS, broken=("v03a", "v11a"))[0]


@pytest.mark.slow
@pytest.mark.parametrize("num_rows", [1, 30, 10_000])
@pytest.mark.parametrize("bytes_in_memory", [0, 1 << 20])
def test_chunks_are_the_tables_of_the_job(uri: str, tmp_path: Path, num_rows: int, bytes_in_memory: int) -> None:
    job = tables.open(uri)
    spools = Spools(str(tmp_path), bytes_in_memory)
    chunks = list(JobRows(job, None, spools, num_rows).chunks(num_videos=6))
    assert bool(list(tmp_path.iterdir())) == (bytes_in_memory == 0)
    assert [videos.num_rows for videos, _ in chunks] == [6, 6, 6, 4]
    for videos, tracks in chunks:
        assert set(tracks["video_id"].to_pylist()) <= set(videos["video_id"].to_pylist())
    assert pa.concat_tables([videos for videos, _ in chunks]) == job.videos()
    assert pa.concat_tables([tracks for _, tracks in chunks]) == job.tracks()
    spools.close()
    assert not list(tmp_path.iterdir())


def test_columns_that_were_kept_are_the_same_read_in_parts_and_at_once() -> None:
    kept = [
        {"number": 1, "mixed": 1, "list": [1]},
        {"number": None, "mixed": True},
        {"number": 2.5, "late": "x", "list": [2.5]},
        {"number": 3, "mixed": "text", "late": None},
    ]
    rows = pa.table({"id": [1, 2, 3, 4, 5], "kept": [*map(json.dumps, kept), None]})
    whole = with_kept_columns(rows)
    columns = pa.schema([])
    for place in range(5):
        columns = merged_schemas(columns, kept_schema(with_kept_columns(rows.slice(place, 1)), rows.schema))
    parts = [with_kept_columns(rows.slice(place, 1), columns) for place in range(5)]
    assert pa.concat_tables(parts).to_pylist() == whole.to_pylist()
    assert parts[0].schema.equals(whole.schema)
    assert whole["mixed"].to_pylist() == ["1", "true", None, "text", None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 1 << 63], ["1", "9223372036854775808"]),
        ([2.5, True], ["2.5", "true"]),
        ([True, 2.5], ["true", "2.5"]),
        ([2.5, 1 << 63], ["2.5", "9223372036854775808"]),
        ([2.5, (1 << 53) + 1], [2.5, float(1 << 53)]),
    ],
)
def test_kept_numbers_of_any_size_are_read(values: list[object], expected: list[object]) -> None:
    rows = pa.table({"kept": [json.dumps({"hash": value}) for value in values]})
    assert with_kept_columns(rows)["hash"].to_pylist() == expected
    columns = pa.schema([])
    for place in range(len(values)):
        columns = merged_schemas(columns, kept_schema(with_kept_columns(rows.slice(place, 1)), rows.schema))
    parts = [with_kept_columns(rows.slice(place, 1), columns) for place in range(len(values))]
    assert pa.concat_tables(parts)["hash"].to_pylist() == expected


@pytest.mark.slow
def test_a_plan_on_disk_has_the_videos_and_numbers_of_one_in_memory(uri: str, tmp_path: Path) -> None:
    job, selection = (
        tables.open(uri),
        Selection(splits={"train": 0.5, "val": 0.5}, where="object_id == 1 or num_masks > 1"),
    )
    planned = {}
    for name, bytes_in_memory in {"memory": 1 << 20, "disk": 0}.items():
        with make_plan(job, selection, spools=Spools(str(tmp_path), bytes_in_memory)) as plan:
            assert bool(list(tmp_path.iterdir())) == (name == "disk")
            by_split = [video for split in plan.splits for video in plan.each(split)]
            assert sorted(by_split, key=lambda video: video.number) == list(plan.each())
            planned[name] = (plan.digest, by_split, list(plan.tasks(4, 100)))
        assert not list(tmp_path.iterdir())
    assert planned["disk"] == planned["memory"]
    assert len(planned["disk"][1]) == 20
