"""`hf_datasets`: a folder that `datasets.load_dataset` opens and the Hub shows: Parquet shards and a dataset card.

Its configurations are `masks` (a row a mask), `tracks` (a row an object), `videos` (a row a video) and, with images,
`frames` (a row a labeled frame with its picture and its masks). `pycocotools.mask.decode` takes the column `rle`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import Field

from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import ExportFolder, PartFolder, Writing
from pipeline.formats.frame_images import encoded, file_name
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.frames import frames_with_pictures
from pipeline.formats.writers.mask_table import MASK_FIELDS, batches, mask_values

_FRAME_FIELDS = (
    pa.field("video_id", pa.string()),
    pa.field("frame_index", pa.int32()),
    pa.field("pts_seconds", pa.float64()),
)
_MASKS = pa.schema([*_FRAME_FIELDS, *MASK_FIELDS])
_PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_FRAMES = pa.schema(
    [*_FRAME_FIELDS, pa.field("image", _PICTURE), pa.field("objects", pa.list_(pa.struct(MASK_FIELDS)))],
    # By this `datasets` shows and decodes the column as pictures.
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)
_PICTURES_AT_A_TIME = 16
_WITH_PICTURES = "hf_datasets_with_pictures"
_OF_THE_JOB = {
    "videos": "status error_class message fetch_seconds decode_seconds propagate_seconds encode_seconds wall_seconds "
    "finished_at attempts worker segment config_hash prompt_hash num_tracks_failed num_frames_expected source_bytes "
    "source_version kept kept_since",
    "tracks": "status kept reviewed_at labeled_at correction corrected_by weights prompts",
}
"""Columns that tell of the job and not of the labels."""


_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|"} | {"\n": " ", "\r": " "})


class Options(Group):
    """Keys of `hf_datasets`."""

    row_group_rows: int = Field(
        default=1000, ge=1, description="Masks in a row group: who reads one mask reads so many of them."
    )
    title: str = Field(default="Masks of videos", min_length=1, description="The title of the dataset card.")


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        """Names of splits are words to `datasets`."""
        for split in plan.splits:
            if not re.fullmatch(r"\w+", split):
                raise ConfigError(f"splits.{split}: names of splits of hf_datasets have letters, digits and _ only")

    def write_part(self, videos: Iterable[ExportVideo], out: PartFolder) -> None:
        """A shard of masks, and one of frames if there are pictures."""
        with ExitStack() as stack:
            files: dict[str, pq.ParquetWriter] = {}

            def shard(table: str, video: ExportVideo, schema: pa.Schema) -> pq.ParquetWriter:
                if table not in files:
                    file = stack.enter_context(out.open(f"data/{table}/{video.split}-{out.number:06d}.parquet"))
                    files[table] = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
                return files[table]

            waiting: list[dict[str, Any]] = []
            for video in videos:
                writer = shard("masks", video, _MASKS)
                for row in mask_rows(video):
                    waiting.append(row)
                    if len(waiting) == self._options.row_group_rows:
                        writer.write_table(pa.Table.from_pylist(waiting, _MASKS))
                        waiting = []
                if video.content.frames != "none":
                    if "frames" not in files:
                        out.append(_WITH_PICTURES, video.split)
                    frames = shard("frames", video, _FRAMES)
                    for batch in batches(frame_rows(video), _FRAMES, _PICTURES_AT_A_TIME):
                        frames.write_batch(batch)
            if waiting:
                files["masks"].write_table(pa.Table.from_pylist(waiting, _MASKS))

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """Shards hold the videos of a part."""
        self.write_part([video], out)

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """Tracks, videos and the dataset card."""
        written = [split for split in plan.splits if plan.num_videos_of[split]]
        for split in written:
            for place, name in enumerate(("videos", "tracks")):
                with Writing(folder) as files, files.open(f"data/{name}/{split}.parquet") as file:
                    _write_rows(file, (rows[place] for rows in plan.tables(split)), _OF_THE_JOB[name].split())
        with_pictures = {line.decode() for line in folder.stream(_WITH_PICTURES)}
        splits = {
            "masks": written,
            "tracks": written,
            "videos": written,
            "frames": [one for one in written if one in with_pictures],
        }
        folder.write("README.md", [card(self._options.title, plan, folder.num_masks, splits).encode()])


def _write_rows(file: BinaryIO, tables: Iterator[pa.Table], of_the_job: Sequence[str]) -> None:
    """Rows of `videos` or `tracks`, without the columns that mean something to the job alone."""
    first = next(tables)
    dropped = [one for one in of_the_job if one in first.column_names]
    with pq.ParquetWriter(file, first.drop_columns(dropped).schema, compression="zstd") as writer:
        for rows in chain([first], tables):
            writer.write_table(rows.drop_columns(dropped))


def mask_rows(video: ExportVideo) -> Iterator[dict[str, Any]]:
    """Rows of `masks`: by object, then frame; hidden objects have empty masks."""
    for track, rows in video.by_track():
        for row in rows:
            yield {
                "video_id": video.video_id,
                "frame_index": row.frame_index,
                "pts_seconds": row.pts_seconds,
                **mask_values(row, track),
            }


def frame_rows(video: ExportVideo) -> Iterator[dict[str, Any]]:
    """Rows of `frames`: a picture, and the masks of the objects that are visible on it."""
    tracks = {track.object_id: track for track in video.tracks}
    for place, (frame_index, rows, pixels_HW3) in enumerate(frames_with_pictures(video)):
        if pixels_HW3 is None:
            raise AssertionError("frames are written with pictures only")
        yield {
            "video_id": video.video_id,
            "frame_index": frame_index,
            "pts_seconds": None if np.isnan(video.pts[place]) else video.pts[place],
            "image": {
                "bytes": encoded(pixels_HW3, video.content.frames),
                "path": f"{video.name}_{file_name(video, frame_index)}",
            },
            "objects": [mask_values(row, tracks[row.object_id]) for row in rows if row.area],
        }


def card(title: str, plan: Plan, num_masks: int, splits: Mapping[str, Sequence[str]]) -> str:
    """The dataset card. `num_masks` are visible; `splits` are those with files, by configuration."""
    front = {
        "pretty_name": title,
        "task_categories": ["mask-generation"],
        "tags": ["video", "segmentation", "masks"],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == "masks" else {}),
                "data_files": [{"split": one, "path": _pattern(name, one)} for one in found],
            }
            for name, found in splits.items()
            if found
        ],
    }
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---

# {title.translate(_MARKDOWN)}

{num_masks:,} masks of {plan.num_tracks:,} objects in {plan.num_videos:,} videos, exported by maskmill.

```python
from datasets import load_dataset
from pycocotools import mask

masks = load_dataset("path/of/this/folder", "masks", split="{next(iter(splits["masks"]))}")
row = masks[0]
pixels = mask.decode(row["rle"]).astype(bool)  # [height, width]
```

`frame_index` counts the decoded frames of the video from 0, `bbox` is x, y, width, height in pixels, `area` is 0 where
the object is hidden, and `object_score` is a logit: above 0 the model holds the object to be visible.
"""


def _pattern(name: str, split: str) -> str:
    return f"data/{name}/{split}{'' if name in ('tracks', 'videos') else '-*'}.parquet"
