"""Rows of `tracks` and `videos` for one video, as `schema` says. `mask_rows` makes those of `masks`.

Legend: N rows of masks of one video.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import ObjectNote, Outcome, OutcomeDetails, ReviewedItem, SeedFacts, Status, WorkItem
from pipeline.redact import redact_uri
from pipeline.storage.file_versions import FileVersion


@dataclass(frozen=True)
class Track:
    """One object of a video. `message` says why it failed, or warns; `prompt_frames` are frame indexes, ascending."""

    object_id: int
    status: Status
    message: str
    category: str | None
    num_prompts: int
    prompt_frames: tuple[int, ...]
    kept: str | None = None
    seed: SeedFacts | None = None


@dataclass(frozen=True)
class Provenance:
    """Who and what made the rows of a video: columns of its row in `videos`."""

    worker: str
    checkpoint: str
    config_hash: str
    versions: str


def tracks_table(
    video_id: str,
    tracks: Sequence[Track],
    masks: pa.Table,
    doubts: Mapping[int, Mapping[str, Any]] | None = None,
    hidden: Mapping[int, Collection[int | None]] | None = None,
) -> pa.Table:
    """Rows of `tracks` with the statistics of their masks; `masks` are the video's, sorted by object and frame.

    `doubts` are the columns of doubt by object id, see `pipeline.quality.track_columns`. `hidden` are the frames on
    which reviewers said that an object is not visible.
    """
    object_ids_N = masks["object_id"].to_numpy()
    rows = []
    for track in sorted(tracks, key=lambda track: track.object_id):
        start, stop = (int(np.searchsorted(object_ids_N, track.object_id, side)) for side in ("left", "right"))
        own = masks.slice(start, stop - start)
        rows.append(
            {
                "video_id": video_id,
                "object_id": track.object_id,
                "status": track.status.value,
                "message": "; ".join(
                    filter(None, (track.message, _hidden_at_prompts(own, (hidden or {}).get(track.object_id, ()))))
                ),
                "category": track.category,
                "num_prompts": track.num_prompts,
                "prompt_frames": list(track.prompt_frames),
                "kept": track.kept,
                **_seed(track.seed),
                **_statistics(own),
                **(doubts or {}).get(track.object_id, {}),
            }
        )
    return pa.Table.from_pylist(rows, schema=TRACKS)


def _seed(seed: SeedFacts | None) -> dict[str, Any]:
    if seed is None:
        return {}
    return {
        "seed_source": seed.source,
        "seed_score": seed.score,
        "seed_stability": seed.stability,
        "seed_duplicates": [asdict(one) for one in seed.duplicates],
    }


def _hidden_at_prompts(masks: pa.Table, expected: Collection[int | None]) -> str:
    """Warning about frames with a prompt on which the model sees no object; empty if there are none."""
    frames, areas, is_prompt = (masks[name].to_numpy() for name in ("frame_index", "area", "is_prompt"))
    hidden = [frame for frame in frames[is_prompt & (areas == 0)].tolist() if frame not in expected]
    if not hidden:
        return ""
    return f"frame {', '.join(map(str, hidden))}: the model sees no object at the prompt; check where it is"


def _statistics(masks: pa.Table) -> dict[str, Any]:
    """Statistics of one object's masks; areas and IoUs over the rows in which it is visible, scores over all."""
    frames, areas, scores, ious = (
        masks[name].to_numpy() for name in ("frame_index", "area", "object_score", "predicted_iou")
    )
    visible = areas > 0
    statistics: dict[str, Any] = {
        "num_masks": len(areas),
        "num_visible": int(visible.sum()),
        "visible_share": float(visible.mean()) if len(areas) else 0.0,
    }
    if len(areas):
        statistics |= {"object_score_min": float(scores.min()), "object_score_mean": float(scores.mean())}
    if visible.any():
        statistics |= {
            "first_visible_frame": int(frames[visible].min()),
            "last_visible_frame": int(frames[visible].max()),
            "area_min": int(areas[visible].min()),
            "area_mean": float(areas[visible].mean()),
            "area_max": int(areas[visible].max()),
            "predicted_iou_min": float(ious[visible].min()),
            "predicted_iou_mean": float(ious[visible].mean()),
        }
    return statistics


def labeled_video(
    item: WorkItem,
    status: Status,
    provenance: Provenance,
    *,
    error: tuple[str, str] = ("", ""),
    masks: pa.Table | None = None,
    tracks: pa.Table | None = None,
    expected_masks: int = 0,
    facts: dict[str, Any] | None = None,
) -> LabeledVideo:
    """A finished video with its row of `videos`.

    `error` is class and message. An `ok` video has no class, and a message if there is a warning. `facts` are further
    columns by name, among them the version of the file.
    """
    masks = MASKS.empty_table() if masks is None else masks
    tracks = TRACKS.empty_table() if tracks is None else tracks
    facts = facts or {}
    num_frames = facts.get("num_frames", 0)
    details = replace(
        _details(status, tracks, item.attempt), source_hash=_source_hash(facts), review_hash=_review_hash(item)
    )
    outcome = Outcome(item.video_id, status, item.prompt_hash, masks.num_rows, num_frames, *error, details)
    row = _video_row(outcome, provenance) | {
        "uri": None if item.source.uri is None else redact_uri(item.source.uri),
        "num_tracks": tracks.num_rows,
        **facts,
    }
    return LabeledVideo(masks, tracks, pa.Table.from_pylist([row], schema=VIDEOS), outcome, expected_masks)


def _review_hash(item: WorkItem) -> str:
    return item.review.review_hash if isinstance(item, ReviewedItem) else ""


def _source_hash(facts: dict[str, Any]) -> str:
    version = facts.get("source_version")
    return FileVersion(facts["source_bytes"], version).digest() if version else ""


def _details(status: Status, tracks: pa.Table, attempts: int) -> OutcomeDetails:
    """How many objects failed or have a warning. Those of an `ok` video are named, because its own row is silent."""
    noted = [
        ObjectNote(row["object_id"], Status(row["status"]), row["message"])
        for row in tracks.select(["object_id", "status", "message"]).to_pylist()
        if row["status"] != Status.OK or row["message"]
    ]
    num_failed = sum(note.status is not Status.OK for note in noted)
    notes = tuple(noted) if status is Status.OK else ()
    return OutcomeDetails(tracks.num_rows, num_failed, len(noted) - num_failed, attempts, notes=notes)


def rows_without_masks(outcomes: Sequence[Outcome], provenance: Provenance) -> pa.Table:
    """Rows of `videos` for videos that no worker sees, in the order of `outcomes`."""
    rows = [_video_row(outcome, provenance) for outcome in outcomes]
    return pa.Table.from_pylist(rows, schema=VIDEOS)


def _video_row(outcome: Outcome, provenance: Provenance) -> dict[str, Any]:
    """What is known of every video, labeled or not."""
    return {
        "video_id": outcome.video_id,
        "status": outcome.status.value,
        "error_class": outcome.error_class,
        "message": outcome.message,
        "num_masks": outcome.num_masks,
        "num_tracks": 0,
        "num_tracks_failed": outcome.details.num_tracks_failed,
        "num_frames": outcome.num_frames,
        "num_frames_decoded": 0,
        "finished_at": datetime.now(UTC),
        "attempts": outcome.details.attempts,
        "worker": provenance.worker,
        "segment": "",
        "checkpoint": provenance.checkpoint,
        "config_hash": provenance.config_hash,
        "prompt_hash": outcome.prompt_hash,
        "versions": provenance.versions,
    }
