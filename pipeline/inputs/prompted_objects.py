"""Which objects the tables of prompts name, and on which frames: of a few videos, when their prompts have changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inputs.input_tables import InputTables
from pipeline.records import FramePosition

PromptedFrames = Mapping[int, Collection[FramePosition]]
"""The frames with a prompt of each object, by its id."""


def prompted_objects(tables: InputTables, video_ids: Collection[str]) -> Mapping[str, PromptedFrames]:
    """The objects with prompts of these videos, by the id of the video. Four columns are read once more.

    Raises what `ParquetShards.read` raises.
    """
    wanted = {video_id: video_id for video_id in video_ids}
    if (others := tables.videos.other_names()) is not None:
        names, ids = others
        is_wanted = pc.is_in(ids, value_set=pa.array(wanted, ids.type))
        wanted |= zip(*(column.filter(is_wanted).to_pylist() for column in (names, ids)), strict=True)
    found: dict[str, dict[int, set[FramePosition]]] = defaultdict(lambda: defaultdict(set))
    for batch in tables.read_prompts(("video_id", "object_id", "frame_index", "pts_seconds"), wanted):
        columns = [batch.rows.column(name).to_pylist() for name in batch.rows.schema.names]
        for video_id, object_id, frame_index, pts_seconds in zip(*columns, strict=True):
            if video_id in wanted and object_id is not None:
                found[wanted[video_id]][object_id].add(_position(frame_index, pts_seconds))
    return found


def _position(frame_index: float | None, pts_seconds: float | None) -> FramePosition:
    if frame_index is None or frame_index != frame_index:
        return FramePosition(None, pts_seconds)
    return FramePosition(int(frame_index), None)
