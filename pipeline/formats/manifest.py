"""`manifest.json` and `manifest_videos.jsonl`: what an export holds, under which numbers, and what it lost."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.formats.folder import VIDEOS, Written
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo
from pipeline.formats.writers.frames import frames_before
from pipeline.output.schema import SCHEMA_VERSION
from pipeline.redact import redact_uri
from pipeline.storage.uris import absolute_uri


def video_record(video: ExportVideo) -> dict[str, Any]:
    """The line of a video: its numbers, names, frames and objects."""
    planned, frames = video.planned, video.frame_indexes
    steps = np.unique(np.diff(frames))
    record: dict[str, Any] = {
        "video_id": video.video_id,
        "number": planned.number,
        "name": video.name,
        "split": video.split,
        "uri": planned.row["uri"],
        "height": video.size_hw[0],
        "width": video.size_hw[1],
        "fps": planned.row["fps"],
        "num_frames": len(frames),
        "first_frame_index": int(frames[0]),
        "last_frame_index": int(frames[-1]),
        "frame_step": int(steps[0]) if len(steps) == 1 else None,
        "first_pts_seconds": _seconds(video.pts[0]),
        "last_pts_seconds": _seconds(video.pts[-1]),
        "first_image_id": planned.first_image_id,
        **({"frames_before": before} if (before := frames_before(video)) else {}),
        "message": planned.row["message"],
        "objects": [
            {"id": one.id, "number": one.number, "object_id": one.object_id, "category": one.category}
            for one in planned.tracks
        ],
    }
    hashes = zip(("first_frame_sha256", "last_frame_sha256"), video.frame_hashes, strict=True)
    return record | {name: digest for name, digest in hashes if digest is not None}


def _seconds(pts: float) -> float | None:
    """A time as JSON has it; None where the file does not say it."""
    return None if np.isnan(pts) else float(pts)


def manifest(format_name: str, keys: Mapping[str, Any], plan: Plan, written: Written, output: str) -> dict[str, Any]:
    """The content of the manifest. `keys` are the options of the export, `written` what its parts said."""
    return {
        "format": format_name,
        "written_by": f"maskmill {importlib.metadata.version('maskmill')}",
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "output": redact_uri(absolute_uri(output, str(Path.cwd()))),
        "weights": sorted(plan.weights),
        "schema_version": SCHEMA_VERSION,
        "config_hashes": sorted(plan.config_hashes),
        "options": dict(keys),
        "counts": {**written.counts, "tracks": plan.num_tracks},
        "splits": {split: counts["videos"] for split, counts in written.splits.items()},
        "split_counts": {split: dict(counts) for split, counts in written.splits.items()},
        "categories": plan.categories,
        "left_out": plan.left_out.reasons,
        "lost": written.losses.as_document(),
        "not_hashed": written.not_hashed.as_document(),
        "videos": VIDEOS,
    }
