"""Which tracks are walked back, from which mask to which frame."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config.verify_config import VerifyConfig
from pipeline.data_engine.audit import lots
from pipeline.output.schema import RLE
from pipeline.reviews.keeping import labeled_at
from pipeline.reviews.verdicts import Key
from pipeline.tables import JobTables

WALKS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("from_frame", pa.int32(), nullable=False),
        pa.field("from_rle", RLE, nullable=False),
        pa.field("to_frame", pa.int32(), nullable=False),
        pa.field("to_rle", RLE),  # null: the track has no mask there
        pa.field("labeled_at", pa.timestamp("ms", tz="UTC")),
        pa.field("uri", pa.string()),
        pa.field("cuts_seconds", pa.list_(pa.float64())),  # of the video: nothing was followed across them
    ]
)
"""A track that is walked: from its mask on `from_frame`, the last sure one, to the frame of its prompt before that."""

_COLUMNS = ("video_id", "object_id", "frame_index", "area", "predicted_iou", "object_score", "rle")
_TRACKS = ("video_id", "object_id", "status", "num_visible", "prompt_frames", "doubt")
_OF_A_WALK = ("video_id", "object_id", "prompt_frames", "labeled_at")
_VIDEOS_AT_A_TIME = 32


def choose(job: JobTables, config: VerifyConfig) -> list[Key]:
    """The tracks to walk, the most doubtful first: those whose labels of now were not walked before.

    Raises `FileNotFoundError` if a compaction has replaced segments meanwhile.
    """
    walked = job.walks()
    best: list[tuple[float, Key]] = []
    for batch in job.track_rows(columns=list(_TRACKS), where="num_visible > 0").to_batches():
        for urgency, key in _urgent(pa.Table.from_batches([batch]), config):
            if key in walked:
                continue
            push = heapq.heappush if len(best) < config.max_tracks else heapq.heappushpop
            push(best, (urgency, key))
    return [key for _, key in sorted(best, key=lambda one: (-one[0], one[1]))]


def _urgent(tracks: pa.Table, config: VerifyConfig) -> Iterator[tuple[float, Key]]:
    """Those of these tracks that are walked, with their doubt; those drawn by lot come after all others."""
    doubt = np.nan_to_num(tracks["doubt"].to_numpy().astype(np.float64))
    keys = list(zip(tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist(), strict=True))
    drawn = lots((key[0] for key in keys), (key[1] for key in keys), 0) < config.share
    has_prompt = [bool(frames) for frames in tracks["prompt_frames"].to_pylist()]
    for place, key in enumerate(keys):
        is_doubtful = config.tracks == "all" or doubt[place] >= config.min_doubt
        if has_prompt[place] and (is_doubtful or drawn[place]):
            yield (doubt[place] if is_doubtful else doubt[place] - 1), key


def walks_of(job: JobTables, keys: Collection[Key], least_iou: float) -> Iterator[dict[str, Any]]:
    """Rows of `WALKS` for these tracks. One that has no sure mask after its prompt has none.

    Memory holds the masks of 32 videos at a time. Raises `FileNotFoundError` as `choose` does.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for video_id, object_id in keys:
        wanted[video_id].add(object_id)
    videos = iter(wanted)
    while group := list(islice(videos, _VIDEOS_AT_A_TIME)):
        facts = {
            row["video_id"]: row
            for row in job.videos(group)
            .select(["video_id", "uri", "cuts_seconds", "finished_at", "kept_since"])
            .to_pylist()
        }
        tracks = {
            (row["video_id"], row["object_id"]): row
            for row in job.track_rows(group, columns=list(_OF_A_WALK)).to_table().to_pylist()
        }
        masks = job.masks(group, columns=list(_COLUMNS)).to_table()
        for key, rows in _by_track(masks, wanted):
            if key[0] not in facts or key not in tracks:
                continue
            walk = _walk(rows, tracks[key]["prompt_frames"], least_iou)
            if walk is not None:
                yield {
                    "video_id": key[0],
                    "object_id": key[1],
                    "labeled_at": labeled_at(tracks[key], facts[key[0]]),
                    "uri": facts[key[0]]["uri"],
                    "cuts_seconds": facts[key[0]]["cuts_seconds"],
                    **walk,
                }


def _by_track(masks: pa.Table, wanted: Mapping[str, Collection[int]]) -> Iterator[tuple[Key, pa.Table]]:
    masks = masks.sort_by([("video_id", "ascending"), ("object_id", "ascending"), ("frame_index", "ascending")])
    keys = list(zip(masks["video_id"].to_pylist(), masks["object_id"].to_pylist(), strict=True))
    starts = [place for place, key in enumerate(keys) if not place or keys[place - 1] != key]
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        if keys[start][1] in wanted[keys[start][0]]:
            yield keys[start], masks.slice(start, end - start)


def _walk(rows: pa.Table, prompt_frames: Sequence[int], least_iou: float) -> dict[str, Any] | None:
    """Where a track is walked from and to; `None` where it has no sure mask after a prompt."""
    is_sure = (rows["area"].to_numpy() > 0) & (rows["object_score"].to_numpy() > 0)
    is_sure &= rows["predicted_iou"].to_numpy() >= least_iou
    frames = rows["frame_index"].to_numpy()
    at = {frame: place for place, frame in enumerate(frames.tolist())}
    for place in np.flatnonzero(is_sure)[::-1].tolist():
        before = [frame for frame in prompt_frames if frame < frames[place]]
        if not before:
            return None
        if frames[place] in prompt_frames:
            continue  # what a person drew there is no finding of the walk
        return {
            "from_frame": int(frames[place]),
            "from_rle": rows["rle"][place].as_py(),
            "to_frame": max(before),
            "to_rle": rows["rle"][at[max(before)]].as_py() if max(before) in at else None,
        }
    return None
