"""A queue that somebody has split with pandas is a queue, and one with a column of another kind says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data_engine.queue import QUEUE
from pipeline.data_engine.queue_file import read_queue
from pipeline.errors import ConfigError

ROWS: list[dict[str, Any]] = [
    {
        "place": number,
        "video_id": f"v{number}",
        "object_id": number,
        "category": None,
        "doubt": 0.5,
        "reasons": ["lost", "leap"],
        "frame_index": None if number == 1 else 8,
        "num_masks": 3,
        "seconds": 4.0,
        "is_audit": number == 2,
    }
    for number in (1, 2, 3)
]


@pytest.mark.slow
def test_shares_of_a_queue_that_pandas_has_written_are_read_as_the_queue_is(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS, QUEUE), tmp_path / "queue.parquet")
    whole = pd.read_parquet(tmp_path / "queue.parquet")
    for share in range(2):
        whole.iloc[share::2].to_parquet(tmp_path / f"{share}.parquet")
        read = read_queue(str(tmp_path / f"{share}.parquet"), None, *QUEUE.names)
        assert read == ROWS[share::2]
        assert [type(row["frame_index"]) for row in read] == [type(row["frame_index"]) for row in ROWS[share::2]]


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("video_id", pa.array([1]), "column video_id is int64, and of a queue it is string"),
        ("object_id", pa.array([0.5]), "column object_id is double, and of a queue it is int64"),
        ("object_id", pa.array([[1]]), r"column object_id is list<.*>, and of a queue it is int64"),
        ("is_audit", pa.array(["perhaps"]), "column is_audit is string, and of a queue it is bool"),
        ("object_id", pa.array([None], pa.int64()), "column object_id has no value in 1 row"),
    ],
)
def test_a_column_of_another_kind_is_named(tmp_path: Path, column: str, values: pa.Array, why: str) -> None:
    row = pa.table({"video_id": ["v"], "object_id": [1], "is_audit": [True]})
    place = str(tmp_path / "queue.parquet")
    pq.write_table(row.set_column(row.schema.get_field_index(column), column, values), place)
    with pytest.raises(ConfigError, match=f"is no queue as python -m pipeline.queue … to= writes it: {why}"):
        read_queue(place, None, "video_id", "object_id", "is_audit")
