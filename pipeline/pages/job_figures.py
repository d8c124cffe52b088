"""What a report says of videos and tracks: where time and money went, weights, categories, what was never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array

STAGES = (
    ("fetch", "opening and fetching"),
    ("decode", "decoding"),
    ("propagate", "the network"),
    ("encode", "run lengths"),
)
"""Stages of a video by their columns, with their names for people."""

VIDEO_COLUMNS = (
    "video_id", "status", "height", "width", "fps", "duration_seconds", "num_frames", "num_frames_decoded",
    "fetch_seconds", "decode_seconds", "propagate_seconds", "encode_seconds", "wall_seconds", "finished_at", "worker",
    "checkpoint", "versions",
)  # fmt: skip
TRACK_COLUMNS = (
    "video_id", "object_id", "status", "message", "category", "prompt_frames", "num_masks", "num_visible",
    "visible_share", "predicted_iou_mean", "doubt",
)  # fmt: skip


@dataclass(frozen=True)
class Times:
    """Where time went. Seconds of a stage are summed over videos, which a worker labels several of at a time.

    `worker_seconds` are those in which a worker had a video in hand, summed over workers; `any_seconds` those in which
    any worker had one.
    """

    stage_seconds: dict[str, float]
    num_frames: int
    video_seconds: float
    worker_seconds: float
    any_seconds: float
    num_workers: int

    @property
    def frames_per_second(self) -> float | None:
        """Of all workers together, while any was at work."""
        return self.num_frames / self.any_seconds if self.any_seconds else None

    @property
    def frames_per_second_of_one(self) -> float | None:
        """Of one worker."""
        return self.num_frames / self.worker_seconds if self.worker_seconds else None

    def cost(self, price_per_hour: float) -> float:
        """What the workers cost while they were at work."""
        return self.worker_seconds / 3600 * price_per_hour

    def cost_per_video_hour(self, price_per_hour: float) -> float | None:
        """What an hour of labeled video cost."""
        return self.cost(price_per_hour) / (self.video_seconds / 3600) if self.video_seconds else None


def times(videos: pa.Table) -> Times:
    """The times of all videos. Earlier versions left some of them out, and those count as nothing."""
    begin, end, worker = _spans(videos)
    # Each worker gets a stretch of time of its own, so that one pass over all spans counts them apart.
    shift = worker * (np.ptp(np.concatenate([begin, end])) + 1.0) if len(begin) else 0.0
    busy = _covered(begin + shift, end + shift)
    ok = videos.filter(pc.equal(videos["status"], "ok"))
    return Times(
        {stage: float(pc.sum(videos[f"{stage}_seconds"]).as_py() or 0.0) for stage, _ in STAGES},
        int(pc.sum(videos["num_frames"]).as_py() or 0),
        _video_seconds(ok),
        busy,
        _covered(begin, end),
        len(np.unique(worker)),
    )


def _spans(videos: pa.Table) -> tuple[Float64Array, Float64Array, Any]:
    """When each video was begun and finished, in seconds, and the number of its worker."""
    known = videos.filter(pc.and_(pc.is_valid(videos["finished_at"]), pc.is_valid(videos["wall_seconds"])))
    end = known["finished_at"].cast(pa.int64()).to_numpy() / 1000.0
    workers = known["worker"].combine_chunks().dictionary_encode()
    return end - known["wall_seconds"].to_numpy(), end, np.asarray(workers.indices)


def _covered(begin: Float64Array, end: Float64Array) -> float:
    """The time that spans cover together."""
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    before = np.concatenate([begin[:1], end[:-1]])
    return float(np.sum(np.maximum(end - np.maximum(begin, before), 0.0)))


def _video_seconds(videos: pa.Table) -> float:
    """How long the labeled video is: decoded frames by their rate, or what the file claims."""
    frames, fps = (videos[name].cast(pa.float64()) for name in ("num_frames_decoded", "fps"))
    by_rate = pc.if_else(pc.greater(fps, 0), pc.divide(frames, pc.if_else(pc.greater(fps, 0), fps, 1.0)), None)
    return float(pc.sum(pc.coalesce(by_rate, videos["duration_seconds"])).as_py() or 0.0)


@dataclass(frozen=True)
class Made:
    """Weights and versions that made videos, and how many."""

    checkpoint: str
    versions: str
    num_videos: int


def made_by(videos: pa.Table) -> list[Made]:
    """What made the videos, the most frequent first. Some videos failed before any weights were there."""
    counts = (
        videos.filter(pc.not_equal(videos["checkpoint"], ""))
        .group_by(["checkpoint", "versions"])
        .aggregate([("video_id", "count")])
    )
    found = [Made(row["checkpoint"], row["versions"], row["video_id_count"]) for row in counts.to_pylist()]
    return sorted(found, key=lambda made: (-made.num_videos, made.checkpoint, made.versions))


@dataclass(frozen=True)
class Category:
    """The tracks of one category; None for those without one. Means are over visible masks."""

    name: str | None
    num_tracks: int
    num_masks: int
    num_never_visible: int
    visible_share: float | None
    predicted_iou: float | None


def categories(tracks: pa.Table) -> list[Category]:
    """The categories of the tracks that did not fail, those with most tracks first."""
    ok = tracks.filter(pc.equal(tracks["status"], "ok"))
    weighted = pc.multiply(ok["predicted_iou_mean"].cast(pa.float64()), ok["num_visible"].cast(pa.float64()))
    rows = pa.table(
        {
            "category": ok["category"],
            "masks": ok["num_masks"],
            "visible": ok["num_visible"],
            "never": pc.equal(ok["num_visible"], 0).cast(pa.int64()),
            "iou": weighted,
        }
    )
    sums = [(name, "sum") for name in ("masks", "visible", "never", "iou")]
    found = []
    for row in rows.group_by("category").aggregate([([], "count_all"), *sums]).to_pylist():
        masks, visible = row["masks_sum"] or 0, row["visible_sum"] or 0
        iou = None if row["iou_sum"] is None or not visible else row["iou_sum"] / visible
        share = visible / masks if masks else None
        found.append(Category(row["category"], row["count_all"], masks, row["never_sum"] or 0, share, iou))
    return sorted(found, key=lambda one: (-one.num_tracks, one.name or ""))


def never_visible(tracks: pa.Table, most: int) -> tuple[int, list[dict[str, Any]]]:
    """How many tracks were never visible, and the rows of the first few."""
    is_never = pc.and_(pc.equal(tracks["status"], "ok"), pc.equal(tracks["num_visible"], 0))
    found = tracks.filter(is_never)
    rows: list[dict[str, Any]] = found.slice(0, most).to_pylist()
    return found.num_rows, rows


def visibility(tracks: pa.Table, num_bars: int = 10) -> tuple[Sequence[float], list[int]]:
    """Edges and counts of the share of frames on which tracks are visible."""
    ok = tracks.filter(pc.equal(tracks["status"], "ok"))
    counts, edges = np.histogram(ok["visible_share"].to_numpy(), bins=num_bars, range=(0.0, 1.0))
    return edges.tolist(), counts.tolist()
