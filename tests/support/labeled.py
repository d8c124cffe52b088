"""Finished videos as a labeler would hand them over, without any model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco

from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.log import CommitLog
from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import LabeledVideo, SegmentWriter
from pipeline.records import Outcome, OutcomeDetails, Segment, Status
from pipeline.storage.job_storage import JobStorage

SIZE_HW = (12, 16)


def pixels(video_id: str, object_id: int, frame_index: int) -> np.ndarray:
    """The mask that the rows below hold for this key: a box that moves, hidden on every fifth frame."""
    mask_HW = np.zeros(SIZE_HW, np.uint8)
    if frame_index % 5 != 4:
        left = (len(video_id) + object_id + frame_index) % 12
        mask_HW[2 : 3 + object_id, left : left + 4] = 1
    return mask_HW


def mask_rows(video_id: str, object_ids: tuple[int, ...], num_frames: int) -> pa.Table:
    """Rows of `masks`, frame by frame as a labeler emits them, so not yet sorted."""
    rows = []
    for frame_index in range(num_frames):
        for object_id in object_ids:
            rle = coco.encode(np.asfortranarray(pixels(video_id, object_id, frame_index)))
            x, y, w, h = (int(value) for value in coco.toBbox(rle))
            rows.append(
                {
                    "video_id": video_id,
                    "object_id": object_id,
                    "frame_index": frame_index,
                    "pts_seconds": frame_index / 24,
                    "rle": {"size": list(SIZE_HW), "counts": rle["counts"].decode()},
                    "area": int(coco.area(rle)),
                    "bbox_x": x,
                    "bbox_y": y,
                    "bbox_w": w,
                    "bbox_h": h,
                    "object_score": 5.0 - frame_index,
                    "predicted_iou": 0.9,
                    "is_prompt": frame_index == 0,
                }
            )
    return pa.Table.from_pylist(rows, MASKS)


def track_rows(video_id: str, object_ids: tuple[int, ...], num_frames: int) -> pa.Table:
    row = dict.fromkeys(TRACKS.names) | {"video_id": video_id, "status": "ok", "message": ""}
    row |= {"num_prompts": 1, "prompt_frames": [0], "num_masks": num_frames, "num_visible": 1, "visible_share": 0.5}
    return pa.Table.from_pylist([row | {"object_id": object_id} for object_id in object_ids], TRACKS)


def video_row(outcome: Outcome, num_tracks: int) -> pa.Table:
    row = dict.fromkeys(VIDEOS.names) | {
        "video_id": outcome.video_id,
        "status": outcome.status.value,
        "error_class": outcome.error_class,
        "message": outcome.message,
        "num_masks": outcome.num_masks,
        "num_tracks": num_tracks,
        "num_tracks_failed": outcome.details.num_tracks_failed,
        "num_frames": outcome.num_frames,
        "num_frames_decoded": outcome.num_frames,
        "attempts": 1,
        "worker": "w",
        "segment": "",
        "checkpoint": "mini",
        "config_hash": "f",
        "prompt_hash": outcome.prompt_hash,
        "versions": "",
    }
    return pa.Table.from_pylist([row], VIDEOS)


def labeled(
    video_id: str,
    num_frames: int = 6,
    object_ids: tuple[int, ...] = (2, 1),
    status: Status = Status.OK,
    prompt_hash: str = "p1",
    wrong: dict[int, str] | None = None,
) -> LabeledVideo:
    """A finished video; one that failed has no masks and no tracks.

    `wrong` are messages by object, of further objects that failed.
    """
    if status is not Status.OK:
        num_frames, object_ids = 0, ()
    num_masks = num_frames * len(object_ids)
    details = OutcomeDetails(len(object_ids) + len(wrong or {}), len(wrong or {}))
    outcome = Outcome(video_id, status, prompt_hash, num_masks, num_frames, details=details)
    tracks = track_rows(video_id, object_ids, num_frames).to_pylist()
    row = dict.fromkeys(TRACKS.names) | {"num_prompts": 1, "prompt_frames": [], "num_masks": 0, "num_visible": 0}
    row |= {"video_id": video_id, "status": "failed", "visible_share": 0.0}
    tracks += [row | {"object_id": object_id, "message": message} for object_id, message in (wrong or {}).items()]
    return LabeledVideo(
        mask_rows(video_id, object_ids, num_frames),
        pa.Table.from_pylist(tracks, TRACKS),
        video_row(outcome, len(tracks)),
        outcome,
        num_masks,
    )


def corrected(video_id: str, review_hash: str = "h2", status: Status = Status.OK, num_frames: int = 3) -> LabeledVideo:
    """The labels that the next round brings of a video with these corrections, or why it brings none."""
    video = labeled(video_id, num_frames, status=status)
    details = replace(video.outcome.details, review_hash=review_hash)
    outcome = replace(video.outcome, details=details)
    if status is not Status.OK:
        outcome = replace(outcome, error_class="crash", message="it kills its worker")
    return replace(video, outcome=outcome)


def publish(
    storage: JobStorage, spool: Path, *videos: LabeledVideo, epoch: int = 1, fingerprint: str = "f", worker: str = "w0"
) -> Segment:
    """Publish videos as one segment, not committed."""
    writer = SegmentWriter(storage, spool, SegmentOrigin(epoch, worker, fingerprint))
    for video in videos:
        writer.add(video)
    segment = writer.flush()
    assert segment is not None
    return segment


def driver(storage: JobStorage, spool: Path, writer_id: str = "driver-1") -> tuple[CommitLog, SegmentKeeper]:
    """A driver that has taken the job."""
    log = CommitLog(storage, writer_id)
    log.load()
    log.claim()
    return log, SegmentKeeper(storage, log, spool)
