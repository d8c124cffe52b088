"""A finished job with masks that are drawn: overlaps, holes, two parts, hidden frames, a late start, odd ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco

from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.output.segment_writer import LabeledVideo
from pipeline.quality.track_columns import columns_of_video
from pipeline.records import Outcome, OutcomeDetails, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, publish

HEIGHT, WIDTH, FPS = 48, 64, 24.0

Truth = dict[tuple[str, int, int], np.ndarray]
"""Bool `[H, W]` by video, object and frame; also of hidden rows, where it is all False."""


@dataclass(frozen=True)
class DrawnVideo:
    """A video of so many frames, every `stride`-th labeled. `objects` are categories by object id.

    `missing` are places among the labeled frames, by object, on which it has no row. `masks` are other masks than those
    that `drawn_mask` draws, by object and place among the labeled frames; they give the video its size.
    `prompt_frame` is the frame with the prompt; the first frame of an object that starts later has its prompt. `times`
    are seconds by place among the labeled frames, where they are not those of `FPS` frames a second. `kept` are values
    of columns of the table of videos that the job was to keep, `kept_of_tracks` of that of prompts, by object.
    """

    video_id: str
    objects: Mapping[int, str | None]
    num_frames: int = 6
    stride: int = 1
    uri: str | None = None
    has_times: bool = True
    failed: Mapping[int, str] | None = None
    never_visible: tuple[int, ...] = ()
    missing: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    masks: Mapping[tuple[int, int], np.ndarray] | None = None
    prompt_frame: int = 0
    cuts_seconds: tuple[float, ...] = ()
    messages: Mapping[int, str] = field(default_factory=dict)
    times: tuple[float, ...] | None = None
    kept: Mapping[str, Any] | None = None
    kept_of_tracks: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def size_hw(self) -> tuple[int, int]:
        height, width = next(iter(self.masks.values())).shape if self.masks else (HEIGHT, WIDTH)
        return height, width

    @property
    def frames(self) -> list[int]:
        return list(range(0, self.num_frames * self.stride, self.stride))


USUAL = (
    DrawnVideo("clip-1", {7: "cat", 3: "dog"}),
    DrawnVideo("b/odd name.mp4", {0: "cat"}, num_frames=4, stride=4),
    DrawnVideo("c", {1: None, 2: "dog", 5: "cat"}, has_times=False, failed={9: "no such frame"}, never_visible=(5,)),
)


def drawn_mask(video: DrawnVideo, object_id: int, frame_index: int) -> np.ndarray | None:
    """The mask of an object on a frame; None before it starts.

    The first object of a video is a ring, the second one a pair of boxes that overlaps it and starts on the second
    frame, and each is hidden on every fifth labeled frame.
    """
    place, step = sorted(video.objects).index(object_id), frame_index // video.stride
    if video.masks is not None:
        return video.masks.get((object_id, step))
    if (place == 1 and step == 0) or step in video.missing.get(object_id, ()):
        return None
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if step % 5 == 4 or object_id in video.never_visible:
        return mask
    left = 4 + 3 * step
    if place % 2 == 0:
        mask[8 + 10 * (place // 2) : 32, left : left + 24] = True
        mask[16 + 10 * (place // 2) : 24, left + 8 : left + 16] = False
    else:
        mask[4:12, left : left + 10] = True
        mask[30:42, left + 6 : left + 20] = True
    return mask


def write_job(
    folder: Path, videos: tuple[DrawnVideo, ...] = USUAL, broken: Iterable[str] | Mapping[str, Status] = ("broken",)
) -> tuple[str, Truth]:
    """A job of these videos and of some that failed, or ended as is said; its URI and the masks of its rows."""
    return write_job_to(JobStorage(str(folder / "job")), folder / "spool", videos, broken)


def write_job_to(
    storage: JobStorage,
    spool: Path,
    videos: tuple[DrawnVideo, ...] = USUAL,
    broken: Iterable[str] | Mapping[str, Status] = (),
) -> tuple[str, Truth]:
    """The same in any store."""
    _, keeper = driver(storage, spool)
    truth: Truth = {}
    keeper.commit([publish(storage, spool, _labeled(video, truth)) for video in reversed(videos)])
    ended = broken if isinstance(broken, Mapping) else dict.fromkeys(broken, Status.FAILED)
    for video_id, status in ended.items():
        keeper.commit([publish(storage, spool, _without_masks(video_id, status))])
    return storage.uri, truth


def drawn_video(video: DrawnVideo) -> LabeledVideo:
    """A finished video as a labeler would hand it over."""
    return _labeled(video, {})


def _labeled(video: DrawnVideo, truth: Truth) -> LabeledVideo:
    masks = [row for object_id in sorted(video.objects) for row in _mask_rows(video, object_id, truth)]
    doubts = columns_of_video(pa.Table.from_pylist(masks, MASKS), video.size_hw)
    tracks = [_track_row(video, object_id, masks) | doubts.get(object_id, {}) for object_id in sorted(video.objects)]
    tracks += [
        {**_blank(TRACKS), "video_id": video.video_id, "object_id": object_id, "status": "failed", "message": message}
        for object_id, message in (video.failed or {}).items()
    ]
    outcome = Outcome(
        video.video_id,
        Status.OK,
        "p1",
        len(masks),
        video.num_frames,
        details=OutcomeDetails(len(tracks), len(video.failed or {})),
    )
    row = _blank(VIDEOS) | {
        "video_id": video.video_id,
        "status": "ok",
        "uri": video.uri,
        "num_masks": len(masks),
        "num_tracks": len(tracks),
        "num_frames": video.num_frames,
        "num_frames_decoded": video.frames[-1] + 1,
        "height": video.size_hw[0],
        "width": video.size_hw[1],
        "fps": FPS,
        "rotation_degrees": 0,
        "pixel_aspect": 1.0,
        "duration_seconds": (video.frames[-1] + 1) / FPS,
        "finished_at": datetime(2026, 1, 2, tzinfo=UTC),
        "checkpoint": "mini",
        "config_hash": "f",
        "prompt_hash": "p1",
        "worker": "w",
        "versions": "maskmill",
        "cuts_seconds": list(video.cuts_seconds) or None,
        "kept": None if video.kept is None else json.dumps(dict(video.kept)),
    }
    tables = (
        pa.Table.from_pylist(rows, schema) for rows, schema in ((masks, MASKS), (tracks, TRACKS), ([row], VIDEOS))
    )
    return LabeledVideo(*tables, outcome, len(masks))


def _time(video: DrawnVideo, frame_index: int) -> float | None:
    if not video.has_times:
        return None
    return frame_index / FPS if video.times is None else video.times[frame_index // video.stride]


def _mask_rows(video: DrawnVideo, object_id: int, truth: Truth) -> list[dict[str, Any]]:
    rows = []
    for frame_index in video.frames:
        mask_HW = drawn_mask(video, object_id, frame_index)
        if mask_HW is None:
            continue
        truth[video.video_id, object_id, frame_index] = mask_HW
        rle = coco.encode(np.asfortranarray(mask_HW, np.uint8))
        x, y, w, h = (int(value) for value in coco.toBbox(rle))
        rows.append(
            {
                "video_id": video.video_id,
                "object_id": object_id,
                "frame_index": frame_index,
                "pts_seconds": _time(video, frame_index),
                "rle": {"size": list(video.size_hw), "counts": rle["counts"].decode()},
                "area": int(mask_HW.sum()),
                "bbox_x": x,
                "bbox_y": y,
                "bbox_w": w,
                "bbox_h": h,
                # Who has the higher score changes from frame to frame.
                "object_score": (5.0 + (object_id + frame_index) % 3) * (1 if mask_HW.any() else -1),
                "predicted_iou": 0.5 + (object_id % 5) / 10,
                "is_prompt": frame_index == video.prompt_frame,
                "category": video.objects[object_id],
            }
        )
    return rows


def _track_row(video: DrawnVideo, object_id: int, masks: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [row for row in masks if row["object_id"] == object_id]
    areas = [row["area"] for row in mine if row["area"]]
    visible = [row["frame_index"] for row in mine if row["area"]]
    return _blank(TRACKS) | {
        "video_id": video.video_id,
        "object_id": object_id,
        "status": "ok",
        "category": video.objects[object_id],
        "message": video.messages.get(object_id, ""),
        "num_prompts": 1,
        "prompt_frames": [max(video.prompt_frame, mine[0]["frame_index"])],
        "num_masks": len(mine),
        "num_visible": len(areas),
        "first_visible_frame": min(visible, default=None),
        "last_visible_frame": max(visible, default=None),
        "visible_share": len(areas) / len(mine),
        "area_min": min(areas, default=None),
        "area_mean": float(np.mean(areas)) if areas else None,
        "area_max": max(areas, default=None),
        "object_score_min": min(row["object_score"] for row in mine),
        "object_score_mean": float(np.mean([row["object_score"] for row in mine])),
        "predicted_iou_min": mine[0]["predicted_iou"],
        "predicted_iou_mean": mine[0]["predicted_iou"],
        "kept": json.dumps(dict(kept)) if (kept := video.kept_of_tracks.get(object_id)) else None,
    }


def _without_masks(video_id: str, status: Status) -> LabeledVideo:
    outcome = Outcome(video_id, status, "p1", 0, 0)
    said = {"video_id": video_id, "status": status.value, "error_class": "MediaError", "message": "no file"}
    row = _blank(VIDEOS) | said
    return LabeledVideo(MASKS.empty_table(), TRACKS.empty_table(), pa.Table.from_pylist([row], VIDEOS), outcome, 0)


def _blank(schema: pa.Schema) -> dict[str, Any]:
    """A row with nothing in it: null, or what stands for nothing where null is not allowed."""
    nothing = {pa.string(): "", pa.float32(): 0.0}
    return {
        field.name: None if field.nullable else [] if pa.types.is_list(field.type) else nothing.get(field.type, 0)
        for field in schema
    }
