"""The on-disk contract, written out a second time where it must not change by accident, and the types that are read."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pycocotools import mask as coco

from pipeline.inputs.columns import PROMPTS_IN, VIDEOS_IN
from pipeline.output.schema import MASKS, RLE, SORT_KEYS, TABLES, TRACKS, VIDEOS, with_columns_of_today


def test_masks_have_the_promised_columns() -> None:
    assert {field.name: str(field.type) for field in MASKS} == {
        "video_id": "string",
        "object_id": "int64",
        "frame_index": "int32",
        "pts_seconds": "double",
        "rle": "struct<size: list<item: int32>, counts: string>",
        "area": "int32",
        "bbox_x": "int32",
        "bbox_y": "int32",
        "bbox_w": "int32",
        "bbox_h": "int32",
        "object_score": "float",
        "predicted_iou": "float",
        "is_prompt": "bool",
        "category": "string",
        "stability": "float",
        "num_parts": "int32",
        "pointer_similarity": "float",
    }


def test_an_rle_value_is_what_pycocotools_takes() -> None:
    value = pa.array([{"size": [2, 3], "counts": "06"}], RLE)[0].as_py()
    assert coco.decode(value).shape == (2, 3)


def test_rows_can_be_found_by_their_keys() -> None:
    for table, keys in SORT_KEYS.items():
        for key in keys:
            assert not TABLES[table].field(key).nullable


def test_statuses_and_provenance_are_kept() -> None:
    assert {"status", "category", "first_visible_frame", "visible_share", "object_score_mean"} <= set(TRACKS.names)
    provenance = {"error_class", "message", "attempts", "worker", "segment", "checkpoint", "config_hash", "prompt_hash"}
    assert provenance <= set(VIDEOS.names)


def test_rows_of_other_programs_are_read_in_the_columns_of_today() -> None:
    today = pa.schema(
        [pa.field("key", pa.string(), nullable=False), pa.field("new", pa.int32()), pa.field("more", RLE)]
    )
    older = pa.table({"dropped": [1.5, 2.5], "key": ["a", "b"]})
    found = with_columns_of_today(older, today)
    assert found.schema == today
    assert found.to_pylist() == [{"key": key, "new": None, "more": None} for key in ("a", "b")]
    assert with_columns_of_today(older, today, ["new"]).to_pydict() == {"new": [None, None]}
    with pytest.raises(ValueError, match="the rows lack column key"):
        with_columns_of_today(older.select(["dropped"]), today)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("video_id", ["string", "large_string", "dictionary"], ["int64", "binary", "null"]),
        ("object_id", ["int64", "uint8"], ["string", "double", "null"]),
        ("pts_seconds", ["double", "int64", "null"], ["string"]),
        ("points_xy", ["points", "fixed points", "integer points", "null", "no points"], ["string", "flat"]),
        ("point_labels", ["labels", "null"], ["flat", "string"]),
        ("box_xyxy", ["flat", "fixed box", "null"], ["points", "string"]),
        ("mask_rle", ["rle", "rle bytes", "string", "null"], ["double", "labels", "half rle"]),
    ],
)
def test_types_of_prompt_columns(name: str, good: list[str], bad: list[str]) -> None:
    types = {
        "string": pa.string(),
        "large_string": pa.large_string(),
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
        "int64": pa.int64(),
        "uint8": pa.uint8(),
        "double": pa.float64(),
        "binary": pa.binary(),
        "null": pa.null(),
        "points": pa.list_(pa.list_(pa.float64())),
        "fixed points": pa.large_list(pa.list_(pa.float32(), 2)),
        "integer points": pa.list_(pa.list_(pa.int64())),
        "no points": pa.list_(pa.null()),
        "labels": pa.list_(pa.int32()),
        "flat": pa.list_(pa.float64()),
        "fixed box": pa.list_(pa.int64(), 4),
        "rle": RLE,
        "rle bytes": pa.struct({"counts": pa.binary(), "size": pa.list_(pa.int64())}),
        "half rle": pa.struct({"counts": pa.string()}),
    }
    column = next(column for column in PROMPTS_IN if column.name == name)
    assert [kind for kind in good if not column.accepts(types[kind])] == []
    assert [kind for kind in bad if column.accepts(types[kind])] == []
    assert column.allowed


def test_only_ids_are_required() -> None:
    assert {column.name for column in VIDEOS_IN if column.required} == {"video_id"}
    assert {column.name for column in PROMPTS_IN if column.required} == {"video_id", "object_id"}
