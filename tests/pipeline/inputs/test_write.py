"""The writer of input tables, held against the columns that are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inputs.columns import PROMPTS_IN, VIDEOS_IN
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.prompts import read_prompts
from pipeline.inputs.write import PROMPTS, VIDEOS, prompts_table, videos_table, write_table
from pipeline.records import FramePosition, TimeRange

TIMES = {"start_seconds": 1.0, "end_seconds": 2.0, "duration_seconds": 9.0}


def test_every_column_that_is_read_can_be_written_with_a_type_that_is_accepted() -> None:
    for make, contract in ((videos_table, VIDEOS_IN), (prompts_table, PROMPTS_IN)):
        written = make([dict.fromkeys(column.name for column in contract)]).schema
        assert set(written.names) == {column.name for column in contract}
        for column in contract:
            assert column.accepts(written.field(column.name).type), column.name


def test_a_column_that_nobody_names_is_not_written_unless_every_table_has_it() -> None:
    assert videos_table([{"video_id": "a"}]).schema == VIDEOS
    assert prompts_table([]).schema == PROMPTS
    assert prompts_table([{"video_id": "a", "pts_seconds": 1.0}]).schema.names == [*PROMPTS.names, "pts_seconds"]


def test_a_column_that_nobody_reads_is_refused() -> None:
    with pytest.raises(
        ValueError, match="'box' is no column of the prompts table; its columns are video_id, object_id"
    ):
        prompts_table([{"video_id": "a"}, {"box": [1, 2, 3, 4]}])
    with pytest.raises(
        ValueError, match="'url' is no column of the videos table; its columns are video_id, uri, bytes"
    ):
        videos_table([{"video_id": "a", "url": "x"}])


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_what_is_written_is_planned_and_read(tmp_path: Path, scheme: str) -> None:
    folder = f"{scheme}://{tmp_path}/deep/in"
    row: dict[str, Any] = {"video_id": "a", "object_id": 3, "pts_seconds": 1.5, "box_xyxy": [0, 0, 4, 4]}
    write_table(f"{folder}/videos.parquet", videos_table([{"video_id": "a", "uri": "a.mp4"} | TIMES]))
    write_table(f"{folder}/prompts.parquet", prompts_table([row]))
    (item,) = make_plan(InputTables(f"{folder}/videos.parquet", f"{folder}/prompts.parquet"), {}).items()
    assert (item.video_id, item.range, item.expected_seconds) == ("a", TimeRange(1.0, 2.0), 1.0)
    assert read_prompts(item).positions == (FramePosition(None, 1.5),)


def test_bytes_of_videos_are_written(tmp_path: Path) -> None:
    write_table(str(tmp_path / "v.parquet"), videos_table([{"video_id": "a", "bytes": b"video"}]))
    assert pq.read_table(tmp_path / "v.parquet").to_pylist() == [{"video_id": "a", "uri": None, "bytes": b"video"}]
    assert pq.read_schema(tmp_path / "v.parquet").field("bytes").type == pa.large_binary()
