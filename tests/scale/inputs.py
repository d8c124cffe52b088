"""Input tables of many videos that nobody opens, written in pieces so that the writer stays small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_ROWS_PER_PIECE = 50_000


def write_tables(folder: Path, num_videos: int, prompts_per_video: int = 2, prefix: str = "clip") -> tuple[Path, Path]:
    """`videos.parquet` and `prompts.parquet`: ids of 16 letters, URIs of an object store, durations, boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    videos, prompts = folder / "videos.parquet", folder / "prompts.parquet"
    video_schema = pa.schema([("video_id", pa.string()), ("uri", pa.string()), ("duration_seconds", pa.float64())])
    prompt_schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("object_id", pa.int64()),
            ("frame_index", pa.int64()),
            ("box_xyxy", pa.list_(pa.float64())),
        ]
    )
    with pq.ParquetWriter(videos, video_schema) as video_rows, pq.ParquetWriter(prompts, prompt_schema) as prompt_rows:
        for first in range(0, num_videos, _ROWS_PER_PIECE):
            numbers = np.arange(first, min(first + _ROWS_PER_PIECE, num_videos))
            digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 11, "0")
            names = pc.binary_join_element_wise(f"{prefix}-", digits, "")
            columns = {
                "video_id": names,
                "uri": pc.binary_join_element_wise("s3://a-bucket/videos/", names, ".mp4", ""),
                "duration_seconds": 5.0 + numbers * 7919 % 25,
            }
            video_rows.write_table(pa.table(columns, video_schema))
            rows = np.repeat(numbers, prompts_per_video)
            objects = np.tile(np.arange(prompts_per_video), len(numbers))
            boxes = np.stack([rows % 640, np.full(len(rows), 10), np.full(len(rows), 700), 50 + objects], axis=1)
            offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * 4)
            columns = {
                "video_id": names.take(pa.array(rows - first)),
                "object_id": objects,
                "frame_index": np.zeros(len(rows), dtype=np.int64),
                "box_xyxy": pa.ListArray.from_arrays(offsets, pa.array(boxes.astype(np.float64).ravel())),
            }
            prompt_rows.write_table(pa.table(columns, prompt_schema))
    return videos, prompts
