"""Input tables of many videos that nobody opens, written in pieces so that the writer stays small."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
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
            numbers = range(first, min(first + _ROWS_PER_PIECE, num_videos))
            names = [f"{prefix}-{number:011d}" for number in numbers]
            columns = {
                "video_id": names,
                "uri": [f"s3://a-bucket/videos/{name}.mp4" for name in names],
                "duration_seconds": [5.0 + number * 7919 % 25 for number in numbers],
            }
            video_rows.write_table(pa.table(columns, video_schema))
            objects = range(prompts_per_video)
            columns = {
                "video_id": [name for name in names for _ in objects],
                "object_id": [object_id for _ in names for object_id in objects],
                "frame_index": [0] * (len(names) * prompts_per_video),
                "box_xyxy": [
                    [float(number % 640), 10.0, 700.0, 50.0 + object_id] for number in numbers for object_id in objects
                ],
            }
            prompt_rows.write_table(pa.table(columns, prompt_schema))
    return videos, prompts
