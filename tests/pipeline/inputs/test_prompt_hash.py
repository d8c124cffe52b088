from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.inputs.prompt_hash import PROMPT_COLUMNS, PromptHashes, row_digests

WIDE = pa.schema(
    [
        pa.field("object_id", pa.int64()),
        pa.field("frame_index", pa.int64()),
        pa.field("pts_seconds", pa.float64()),
        pa.field("points_xy", pa.list_(pa.list_(pa.float64()))),
        pa.field("point_labels", pa.list_(pa.int64())),
        pa.field("box_xyxy", pa.list_(pa.float64())),
        pa.field("mask_rle", pa.struct([("size", pa.list_(pa.int64())), ("counts", pa.string())])),
    ]
)
NARROW = pa.schema(
    [
        pa.field("object_id", pa.int8()),
        pa.field("frame_index", pa.float32()),
        pa.field("pts_seconds", pa.float32()),
        pa.field("points_xy", pa.large_list(pa.list_(pa.float32(), 2))),
        pa.field("point_labels", pa.large_list(pa.int8())),
        pa.field("box_xyxy", pa.list_(pa.float32(), 4)),
        pa.field("mask_rle", pa.struct([("counts", pa.large_binary()), ("size", pa.list_(pa.int16(), 2))])),
    ]
)
FULL: dict[str, Any] = {
    "object_id": 1,
    "frame_index": 3,
    "points_xy": [[1.0, 2.0], [3.5, 4.0]],
    "point_labels": [1, 0],
    "box_xyxy": [0.0, 1.0, 2.0, 3.0],
}


def batch(rows: Sequence[dict[str, Any]], schema: pa.Schema = WIDE) -> pa.RecordBatch:
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def digest(row: dict[str, Any], schema: pa.Schema = WIDE) -> tuple[int, ...]:
    return tuple(row_digests(batch([row], schema))[0].tolist())


def video_hash(rows: Sequence[dict[str, Any]], start: float | None = None) -> str:
    hashes = PromptHashes(1)
    for row in rows:
        hashes.add(np.array([0]), row_digests(batch([row])))
    return hashes.hash_of(0, start, None)


@pytest.mark.parametrize(
    "row",
    [
        FULL,
        {"object_id": 1, "pts_seconds": 1.5, "box_xyxy": [0.0, 0.0, 1.0, 1.0]},
        {"object_id": 2, "frame_index": 0, "mask_rle": {"size": [20, 30], "counts": "abc"}},
        {"object_id": 2, "frame_index": 0},
    ],
)
def test_the_width_of_numbers_and_the_kind_of_lists_do_not_matter(row: dict[str, Any]) -> None:
    narrow = row | {"mask_rle": {"size": [20, 30], "counts": b"abc"}} if "mask_rle" in row else row
    assert digest(row) == digest(narrow, NARROW)


def test_null_and_empty_and_a_missing_column_are_the_same() -> None:
    bare = {"object_id": 1, "frame_index": 3, "box_xyxy": [0.0, 1.0, 2.0, 3.0]}
    empty = bare | {"points_xy": [], "point_labels": [], "mask_rle": {"size": [], "counts": ""}}
    without = batch([bare]).drop_columns(["points_xy", "point_labels", "mask_rle", "pts_seconds"])
    nulls = batch([bare]).set_column(3, "points_xy", pa.nulls(1))
    assert digest(empty) == digest(bare)
    assert tuple(row_digests(without)[0].tolist()) == digest(bare)
    assert tuple(row_digests(nulls)[0].tolist()) == digest(bare)


def test_category_and_other_columns_do_not_matter() -> None:
    assert "category" not in PROMPT_COLUMNS
    more = batch([FULL]).append_column("category", pa.array(["dog"]))
    assert tuple(row_digests(more)[0].tolist()) == digest(FULL)


def test_there_is_one_zero_and_one_nan() -> None:
    box = {"object_id": 1, "frame_index": 0, "box_xyxy": [0.0, float("nan"), 1.0, 1.0]}
    assert digest(box) == digest(box | {"box_xyxy": [-0.0, None, 1.0, 1.0]})


@pytest.mark.parametrize(
    "change",
    [
        {"object_id": 2},
        {"frame_index": 4},
        {"frame_index": None, "pts_seconds": 3.0},
        {"frame_index": None},
        {"points_xy": [[1.0, 2.0], [3.5, 4.1]]},
        {"points_xy": [[3.5, 4.0], [1.0, 2.0]]},
        {"points_xy": [[1.0, 2.0, 3.5, 4.0]]},
        {"point_labels": [0, 1]},
        {"point_labels": []},
        {"box_xyxy": [0.0, 1.0, 2.0, 3.1]},
        {"box_xyxy": None},
        {"mask_rle": {"size": [20, 30], "counts": ""}},
        {"mask_rle": {"size": None, "counts": "abc"}},
    ],
)
def test_everything_else_matters(change: dict[str, Any]) -> None:
    assert digest(FULL | change) != digest(FULL)


def test_time_does_not_matter_beside_an_index() -> None:
    assert digest(FULL | {"pts_seconds": 9.0}) == digest(FULL)


def test_a_row_has_the_same_digest_in_any_batch() -> None:
    rows = [FULL | {"object_id": number, "points_xy": [[1.0, 2.0]] * number} for number in range(6)] + [
        {"object_id": 9}
    ]
    together = row_digests(batch(rows))
    sliced = row_digests(batch(rows).slice(2, 3))
    assert together.tolist() == [list(digest(row)) for row in rows]
    assert sliced.tolist() == together[2:5].tolist()
    assert len(set(map(tuple, together.tolist()))) == len(rows)


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [FULL | {"frame_index": number} for number in range(10)]
    expected = video_hash(rows)
    assert len(expected) == 32
    for seed in range(3):
        assert video_hash(random.Random(seed).sample(rows, len(rows))) == expected


def test_adding_removing_or_exchanging_rows_matters() -> None:
    rows = [FULL | {"frame_index": number} for number in range(4)]
    found = [
        video_hash(rows),
        video_hash(rows[1:]),
        video_hash([*rows, FULL | {"frame_index": 9}]),
        video_hash(rows, 2.5),
    ]
    assert len(set(found)) == 4


def test_videos_do_not_mix_and_one_without_rows_has_no_hash() -> None:
    hashes = PromptHashes(3)
    rows = batch([FULL | {"frame_index": number} for number in range(4)])
    hashes.add(np.array([0, 1, 0, 1]), row_digests(rows))
    assert hashes.hash_of(0, None, None) == video_hash([FULL | {"frame_index": n} for n in (0, 2)])
    assert hashes.hash_of(1, None, None) == video_hash([FULL | {"frame_index": n} for n in (3, 1)])
    assert hashes.hash_of(2, None, None) == ""
