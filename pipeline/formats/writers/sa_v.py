"""SA-V, the dataset of SAM 2: a JSON a video with the masks as codes, or a PNG an object and frame.

    sav_train/clip-1_manual.json                            variant=json; `masklet[k][object]` is frame k * frame_step
    sav_train/JPEGImages_24fps/clip-1/00004.jpg             frames=jpg
    sav_val/Annotations_6fps/clip-1/000/00004.png           variant=png: object 000 on frame 4
    sav_val/sav_val.txt                                     the videos of the split

Masks of different objects may overlap. An object has a mask on every frame; it is empty where the object is hidden, and
before its first prompt (or null there, by `unlabeled=unknown`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco
from pydantic import Field, model_validator

from pipeline.arrays import BoolArray
from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import write_frames
from pipeline.formats.frame_numbers import ObjectNumbers
from pipeline.formats.label_png import mask_png
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.review_facts import COLUMNS
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.masks.crop import box_pixels

_SMALL, _LARGE = 32**2, 96**2

_KEYS_OF = {"json": ("kind", "unlabeled", "fps_key"), "png": ("object_numbers",)}
"""Keys that only one of the variants has."""


class Options(Group):
    """How SA-V is written."""

    variant: Literal["json", "png"] = Field(
        default="json", description="json is a file a video, as in SA-V train; png a file a mask, as in SA-V val."
    )
    kind: Literal["manual", "auto"] = Field(
        default="manual",
        description="The end of the names of JSON files; SAM 2's training reads those that end with _manual only.",
    )
    frame_step: int = Field(
        default=4,
        ge=1,
        description="Every n-th frame of the video is written: 4 in SA-V. Frames between these are left out; all of "
        "these must be labeled.",
    )
    object_numbers: ObjectNumbers = Field(
        default="dense",
        description="The folders of objects in variant=png: dense is 000, 001, 002, id their ids, as an evaluator "
        "wants that holds them against the truth with these ids.",
    )
    unlabeled: Literal["empty", "unknown"] = Field(
        default="empty",
        description="What stands in variant=json where an object was not followed, as before its first prompt: empty "
        "says that it is not there; unknown is null, and SAM 2's training leaves out such frames.",
    )
    fps_key: bool = Field(
        default=False,
        description="true writes the key fps, by which SAM 2's training finds frame_step by itself: 24 / frame_step. "
        "Otherwise its ann_every= must be set to frame_step.",
    )

    @model_validator(mode="after")
    def _check_variant(self) -> Options:
        other = "png" if self.variant == "json" else "json"
        for name in _KEYS_OF[other]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}= is for variant={other}: leave it out, or give that variant")
        return self


class Writer(VideoWriter):
    """See the module."""

    frames = ("none", "jpg")

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        step = self._options.frame_step
        if plan.stride is not None and step % plan.stride:
            raise ConfigError(
                f"frame_step={step}: the stride of the labels is {plan.stride}, so that other frames have none; give "
                f"frame_step={plan.stride} or a multiple of it"
            )
        if self._options.fps_key and 24 % step:
            raise ConfigError(
                f"fps_key=true and frame_step={step}: SAM 2's training takes only steps that divide 24; give "
                "fps_key=false, and set its ann_every= instead"
            )
        if self._options.variant == "png" and self._options.object_numbers == "id":
            for video in plan.each():
                for track in video.tracks:
                    if track.object_id < 0:
                        raise ConfigError(
                            f"video {video.video_id!r} has an object {track.object_id}, and folders of objects are "
                            "numbers from 0: give object_numbers=dense"
                        )

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        folder = f"sav_{video.split}"
        video.write_only(video.frame_indexes[video.frame_indexes % self._options.frame_step == 0])
        if self._options.variant == "json":
            self._write_json(video, out, f"{folder}/{video.name}_{self._options.kind}.json")
        else:
            self._write_pngs(video, out, f"{folder}/Annotations_6fps/{video.name}")
        write_frames(video, out, f"{folder}/JPEGImages_24fps/{video.name}")
        out.append(f"names.{video.split}", video.name)

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        for split in plan.splits:
            lines = (line + b"\n" for line in folder.stream(f"names.{split}"))
            folder.write(f"sav_{split}/sav_{split}.txt", lines)

    def _write_pngs(self, video: ExportVideo, out: PartFolder, folder: str) -> None:
        empty = mask_png(np.zeros(video.size_hw, np.bool_))
        for frame_index, rows in self._frames(video):
            by_object = {row.object_id: row for row in rows}
            for track in video.tracks:
                row = by_object.get(track.object_id)
                number = track.object_id if self._options.object_numbers == "id" else track.number - 1
                with out.open(f"{folder}/{number:03d}/{frame_index:05d}.png") as file:
                    file.write(mask_png(_pixels(row)) if row and row.area else empty)

    def _write_json(self, video: ExportVideo, out: PartFolder, name: str) -> None:
        counted = {track.object_id: _Masklet(track) for track in video.tracks}
        unlabeled = _empty(video.size_hw) if self._options.unlabeled == "empty" else None
        with out.open(name) as file:
            file.write(json.dumps(self._of_video(video))[:-1].encode() + b', "masklet": [')
            for place, (_, rows) in enumerate(self._frames(video)):
                by_object = {row.object_id: row for row in rows}
                for object_id, masklet in counted.items():
                    masklet.add(place, by_object.get(object_id))
                masks = [by_object[one].rle if one in by_object else unlabeled for one in counted]
                file.write((b", " if place else b"") + json.dumps(masks, separators=(",", ":")).encode())
            masklets = self._of_masklets(list(counted.values()), video.size_hw)
            if video.planned.has_reviews:
                said = [track.reviewed for track in video.tracks]
                masklets |= {f"masklet_{name}": [one.get(name) for one in said] for name in COLUMNS}
            file.write(b"], " + json.dumps(masklets)[1:].encode())

    def _frames(self, video: ExportVideo) -> Iterator[tuple[int, list[MaskRow]]]:
        """Every n-th frame of the video from 0 on, with its rows; none before the first prompt.

        Raises `ConfigError` where such a frame was not labeled.
        """
        step = self._options.frame_step
        labeled = video.by_frame()
        following = next(labeled, None)
        for index in range(0, int(video.frame_indexes[-1]) + 1, step):
            while following is not None and following[0] < index:
                following = next(labeled, None)
            if following is not None and following[0] == index:
                yield following
            elif index < video.frame_indexes[0]:
                yield index, []
            else:
                raise ConfigError(
                    f"video {video.video_id!r}: frame {index} is not labeled, and frame_step={step} wants every "
                    f"frame that {step} divides; give frame_step= the stride of the labels or a multiple of it"
                )

    def _of_video(self, video: ExportVideo) -> dict[str, Any]:
        """The keys that are of the video. Numbers are floats, as in SA-V."""
        (height, width), row = video.size_hw, video.row
        return {
            "video_id": video.name,
            "video_duration": float(row["duration_seconds"] or 0.0),
            "video_frame_count": float(row["num_frames_decoded"]),
            "video_height": float(height),
            "video_width": float(width),
            "video_resolution": float(height * width),
            "video_environment": [],
            "video_split": video.split,
            "masklet_frame_step": self._options.frame_step,
            **({"fps": 24 // self._options.frame_step} if self._options.fps_key else {}),
        }

    def _of_masklets(self, masklets: list[_Masklet], size_hw: tuple[int, int]) -> dict[str, Any]:
        """The keys that have an entry for each object."""
        sizes = [one.mean_area for one in masklets]
        is_manual = self._options.kind == "manual"
        return {
            "masklet_id": [one.track.object_id for one in masklets],
            "masklet_size_rel": [size / (size_hw[0] * size_hw[1]) for size in sizes],
            "masklet_size_abs": sizes,
            "masklet_size_bucket": [
                "small" if size < _SMALL else "medium" if size < _LARGE else "large" for size in sizes
            ],
            "masklet_visibility_changes": [one.num_changes for one in masklets],
            "masklet_first_appeared_frame": [
                float(max(one.first_seen, 0) * self._options.frame_step) for one in masklets
            ],
            "masklet_frame_count": [one.num_frames for one in masklets],
            "masklet_edited_frame_count": [one.track.row["num_prompts"] if is_manual else 0 for one in masklets],
            "masklet_type": [self._options.kind for _ in masklets],
            "masklet_stability_score": None,
            "masklet_num": len(masklets),
            "masklet_category": [one.track.category for one in masklets],
        }


@dataclass
class _Masklet:
    """What SA-V counts of an object, frame by frame. `first_seen` is -1 until the object is visible."""

    track: PlannedTrack
    num_frames: int = 0
    num_visible: int = 0
    sum_area: int = 0
    num_changes: int = 0
    first_seen: int = -1
    was_visible: bool = False

    def add(self, place: int, row: MaskRow | None) -> None:
        """Count the next frame, which is at `place` in `masklet`."""
        is_visible = row is not None and row.area > 0
        self.num_frames += row is not None
        if is_visible and row is not None:
            self.num_visible += 1
            self.sum_area += row.area
            self.first_seen = place if self.first_seen < 0 else self.first_seen
        self.num_changes += self.first_seen != place and is_visible != self.was_visible
        self.was_visible = is_visible

    @property
    def mean_area(self) -> float:
        """Pixels, over the frames on which the object is visible."""
        return self.sum_area / self.num_visible if self.num_visible else 0.0


def _pixels(row: MaskRow) -> BoolArray:
    """The mask, bool `[H, W]`."""
    left, top, width, height = row.bbox_xywh
    pixels_HW = np.zeros(row.rle["size"], np.bool_)
    pixels_HW[top : top + height, left : left + width] = box_pixels(row.rle, row.bbox_xywh)
    return pixels_HW


def _empty(size_hw: tuple[int, int]) -> dict[str, Any]:
    counts = coco.encode(np.zeros(size_hw, np.uint8, order="F"))["counts"]
    return {"size": list(size_hw), "counts": counts.decode("ascii")}
