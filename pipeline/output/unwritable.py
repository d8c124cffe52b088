"""The rows of a video that was labeled and cannot be written: it has failed, and its masks are gone."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from pipeline.output.schema import TRACKS, VIDEOS
from pipeline.records import Outcome, Status

_OF_THE_PROMPTS = ("video_id", "object_id", "category", "num_prompts", "prompt_frames", "kept")
_WITHOUT_MASKS = {"num_masks": 0, "num_visible": 0, "visible_share": 0.0}


def as_failed(outcome: Outcome, tracks: pa.Table, video: pa.Table, message: str) -> tuple[Outcome, pa.Table, pa.Table]:
    """Outcome, rows of `tracks` and row of `videos` that say of a labeled video that it failed, by our own fault.

    What the prompts and the file say stays. An object that had failed keeps its own message.
    """
    failed_tracks = [
        {name: track[name] for name in _OF_THE_PROMPTS}
        | {"status": Status.FAILED.value, "message": message if track["status"] == Status.OK else track["message"]}
        | _WITHOUT_MASKS
        for track in tracks.to_pylist()
    ]
    details = replace(outcome.details, num_tracks_failed=len(failed_tracks), num_tracks_warned=0, notes=())
    failed = replace(
        outcome,
        status=Status.FAILED,
        num_masks=0,
        num_frames=0,
        error_class="internal",
        message=message,
        details=details,
    )
    (row,) = video.to_pylist()
    row |= {
        "status": failed.status.value,
        "error_class": failed.error_class,
        "message": message,
        "num_masks": 0,
        "num_frames": 0,
        "num_tracks_failed": len(failed_tracks),
    }
    return failed, pa.Table.from_pylist(failed_tracks, schema=TRACKS), pa.Table.from_pylist([row], schema=VIDEOS)
