"""Doubt of tracks that were labeled before doubt was measured, from their rows of `masks`.

What rows do not tell stays null: earlier programs wrote no `stability`, `num_parts` and `pointer_similarity`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.schema import TRACKS
from pipeline.quality.blend import Blend
from pipeline.quality.signals import COLUMNS
from pipeline.quality.track_columns import columns_of_video
from pipeline.tables import JobTables

_VIDEOS_AT_A_TIME = 32
_KEYS = [("video_id", "ascending"), ("object_id", "ascending"), ("frame_index", "ascending")]


def measured(job: JobTables, tracks: pa.Table, blend: Blend) -> pa.Table:
    """Rows of `tracks`, in any order, with their doubt measured where it is null; their other columns stay.

    Memory holds the masks of 32 videos at a time. A video whose size is not known is left as it is.

    Raises `FileNotFoundError` if a compaction has replaced segments meanwhile.
    """
    is_asked = tracks["doubt"].is_valid().to_numpy()
    is_asked = ~is_asked & (tracks["num_visible"].to_numpy() > 0)
    if not is_asked.any():
        return tracks
    rows = tracks.to_pylist()
    places = {(rows[n]["video_id"], rows[n]["object_id"]): n for n in np.flatnonzero(is_asked).tolist()}
    videos = iter(dict.fromkeys(video_id for video_id, _ in places))
    while group := list(islice(videos, _VIDEOS_AT_A_TIME)):
        for video_id, masks, size_hw in _videos(job, group):
            for object_id, columns in columns_of_video(masks, size_hw, blend).items():
                if (place := places.get((video_id, object_id))) is not None:
                    rows[place] |= {name: columns[name] for name in tracks.column_names if name in columns}
    schema = pa.schema([TRACKS.field(name) for name in tracks.column_names])
    return pa.Table.from_pylist(rows, schema)


def _videos(job: JobTables, video_ids: Sequence[str]) -> Iterator[tuple[str, pa.Table, tuple[int, int]]]:
    """The masks of each video, sorted, and its size."""
    sizes = job.videos(video_ids).select(["video_id", "height", "width"]).to_pylist()
    masks = job.masks(video_ids, columns=[*COLUMNS, "rle"], rejected=True).to_table().sort_by(_KEYS)
    for row in sizes:
        own = masks.filter(pc.field("video_id") == row["video_id"])
        if row["height"] and row["width"] and own.num_rows:
            yield row["video_id"], own, (row["height"], row["width"])
