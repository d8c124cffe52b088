"""YouTube-VIS: an annotation a track, with a mask, a box and an area for each labeled frame of its video.

The variant `gt` is a document with videos, in `annotations/instances_{split}.json`. Its masks are lists of run lengths,
which is the only form that TrackEval reads of a truth, and null where an object is hidden. The variant `results` is
what is handed in to be scored, in `results_{split}.json`: a list of tracks, each with a score, with compressed masks.
With `truth=` it has the ids of the truth, and a mask for each of its frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_serializer, model_validator

from pipeline.config.fields import Group
from pipeline.config.kinds import OptionalPlace
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import file_name, write_frames
from pipeline.formats.json_files import json_array
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.truth_ids import TruthIds
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.coco import coco_document
from pipeline.masks.run_lengths import run_lengths
from pipeline.redact import redact_uri


class Options(Group):
    """The keys of YouTube-VIS."""

    variant: Literal["gt", "results"] = Field(
        default="gt", description="gt writes masks as truth, to train on or to score against; results as predictions."
    )
    truth: OptionalPlace = Field(
        default=None,
        description="With variant=results: the JSON of the truth that they are scored against. They get its ids of "
        "videos and categories, found by name, and a mask for each of its frames. null: the ids of the manifest.",
    )

    @field_serializer("truth")
    def _without_secrets(self, truth: str | None) -> str | None:
        """The manifest keeps it, and an address may be signed: with another signature it is the same export."""
        return None if truth is None else redact_uri(truth)

    @model_validator(mode="after")
    def _check_truth(self) -> Options:
        if self.truth is not None and self.variant == "gt":
            raise ValueError("truth= is for results: give variant=results too")
        return self


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._is_truth = options.variant == "gt"
        self._place = options.truth
        self._ids: TruthIds | None = None

    def check(self, plan: Plan) -> None:
        if self._place is not None:
            self._ids = TruthIds.read(self._place, plan.storage_options)
            self._ids.check(plan)

    def reads(self) -> Mapping[str, str]:
        return {} if self._ids is None else {"content of truth": self._ids.digest}

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        if self._is_truth:
            out.append(f"videos.{video.split}", _video_record(video))
        frames = video.frame_indexes.tolist() if self._ids is None else self._ids.frame_indexes(video)
        for track, rows in video.by_track():
            head = _truth_of(video, track) if self._is_truth else self._result_of(video, track)
            out.append(f"annotations.{video.split}", self._pieces(frames, head, rows))
        write_frames(video, out, f"images/{video.name}")

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        for split in plan.splits:
            if self._is_truth:
                name = f"annotations/instances_{split}.json"
                folder.write(name, coco_document(plan, folder, split, ("videos", "annotations")))
            else:
                folder.write(f"results_{split}.json", json_array(folder.chunks(f"annotations.{split}")))

    def _pieces(self, frames: list[int], head: dict[str, Any], rows: Iterator[MaskRow]) -> Iterator[str]:
        """A track as JSON, a mask at a time: of a long one all masks would not fit into memory."""
        yield json.dumps(head, separators=(",", ":"))[:-1] + ',"segmentations":['
        boxes: list[tuple[int, int, int, int] | None] = []
        areas: list[int | None] = []
        for place, row in enumerate(_on_each_frame(frames, rows)):
            is_visible = row is not None and row.area > 0
            boxes.append(row.bbox_xywh if row is not None and is_visible else None)
            areas.append(row.area if row is not None and is_visible else None)
            code = json.dumps(self._code(row), separators=(",", ":")) if row is not None and is_visible else "null"
            yield f",{code}" if place else code
        boxes_and_areas = {"bboxes": boxes, "areas": areas}
        yield f"],{json.dumps(boxes_and_areas, separators=(',', ':'))[1:]}"

    def _result_of(self, video: ExportVideo, track: PlannedTrack) -> dict[str, Any]:
        score, ids = track.row["predicted_iou_mean"], self._ids
        return {
            "id": track.id,  # evaluators give ids of their own; ours are told by it
            "video_id": video.planned.number if ids is None else ids.video(video.video_id).id,
            "category_id": track.category_id if ids is None else ids.categories[track.category],
            "score": 0.0 if score is None else round(score, 6),
        }

    def _code(self, row: MaskRow) -> dict[str, Any]:
        return (
            {"size": row.rle["size"], "counts": run_lengths(row.rle["counts"]).tolist()} if self._is_truth else row.rle
        )


def _on_each_frame(frame_indexes: list[int], rows: Iterator[MaskRow]) -> Iterator[MaskRow | None]:
    """The row of each of these frames; None where the track has none."""
    row = next(rows, None)
    for frame_index in frame_indexes:
        if row is not None and row.frame_index == frame_index:
            yield row
            row = next(rows, None)
        else:
            yield None


def _video_record(video: ExportVideo) -> dict[str, Any]:
    height, width = video.size_hw
    names = [f"{video.name}/{file_name(video, frame_index)}" for frame_index in video.frame_indexes.tolist()]
    return {"id": video.planned.number, "width": width, "height": height, "length": len(names), "file_names": names}


def _truth_of(video: ExportVideo, track: PlannedTrack) -> dict[str, Any]:
    height, width = video.size_hw
    return {
        "id": track.id,
        "video_id": video.planned.number,
        "category_id": track.category_id,
        "iscrowd": 0,
        "height": height,
        "width": width,
        "length": len(video.frame_indexes),
    }
