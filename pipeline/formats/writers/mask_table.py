"""Masks as a table, with RLE as it is: what `hf_datasets` and `lerobot` write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.formats.plan import PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.output.schema import RLE

MASK_FIELDS = (
    pa.field("object_id", pa.int64()),
    pa.field("category", pa.string()),
    pa.field("rle", RLE),
    pa.field("area", pa.int32()),
    pa.field("bbox", pa.list_(pa.int32())),  # xywh in pixels
    pa.field("object_score", pa.float32()),
    pa.field("predicted_iou", pa.float32()),
    pa.field("is_prompt", pa.bool_()),
)


def mask_values(row: MaskRow, track: PlannedTrack) -> dict[str, Any]:
    """What `MASK_FIELDS` holds of a mask."""
    return {
        "object_id": row.object_id,
        "category": track.category,
        "rle": row.rle,
        "area": row.area,
        "bbox": row.bbox_xywh,
        "object_score": row.object_score,
        "predicted_iou": row.predicted_iou,
        "is_prompt": row.is_prompt,
    }


def batches(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, num_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows in batches of `num_rows`, the last of them shorter."""
    left = iter(rows)
    while some := list(islice(left, num_rows)):
        yield pa.RecordBatch.from_pylist(some, schema)
