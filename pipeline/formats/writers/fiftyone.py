"""`fiftyone`: a "FiftyOneVideoLabelsDataset" a split, which `fiftyone.Dataset.from_dir` imports as it is.

The labels of a video are one JSON document of ETA's "VideoLabels". Frames count from 1; boxes are shares of the
picture; a mask is the crop within its box, as base64 of zlib of numpy's file format. fiftyone shows the objects of a
frame in its field `detections`.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.config.fields import Group
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.json_files import json_object
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.frames import count_range, file_place, frames_before
from pipeline.masks.crop import box_pixels

_ZLIB_LEVEL = 3  # a quarter of the time of the usual 6, for masks that take 2 kB in place of 1


class Options(Group):
    """`fiftyone` has no keys of its own."""


class Writer(VideoWriter):
    """See the module."""

    frames = ("none",)

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """Its labels, and its line of the index."""
        count_range(video)
        with out.open(f"{video.split}/labels/{video.name}.json") as file:
            for piece in labels(video):
                file.write(piece.encode())
        out.append(f"index.{video.split}", {"data": file_place(video), "labels": f"labels/{video.name}.json"})

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """The index of each split, as ETA reads it."""
        head = {"type": "eta.core.datasets.LabeledVideoDataset", "description": ""}
        for split in plan.splits:
            index = {"index": folder.chunks(f"index.{split}")}
            folder.write(f"{split}/manifest.json", json_object(head, index))


def labels(video: ExportVideo) -> Iterator[str]:
    """ETA's VideoLabels of a video, a frame a piece. Frames on which nothing is visible are left out."""
    tracks = {track.object_id: track for track in video.tracks}
    opening, first = '{"frames":{', frames_before(video) + 1
    for frame_index, rows in video.by_frame():
        objects = [_object(row, tracks[row.object_id], video.size_hw) for row in rows if row.area]
        if objects:
            number = first + frame_index
            frame = {"frame_number": number, "objects": {"objects": objects}}
            yield f'{opening}"{number}":{json.dumps(frame, ensure_ascii=False, separators=(",", ":"))}'
            opening = ",\n"
    yield "}}" if opening != '{"frames":{' else '{"frames":{}}'


def mask_text(pixels_hw: BoolArray) -> str:
    """Pixels of a mask within its box as ETA reads them."""
    file = io.BytesIO()
    np.save(file, pixels_hw, allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue(), _ZLIB_LEVEL)).decode("ascii")


def _object(row: MaskRow, track: PlannedTrack, size_hw: tuple[int, int]) -> Mapping[str, Any]:
    height, width = size_hw
    x, y, w, h = row.bbox_xywh
    values: dict[str, str | float | bool | int] = {
        "object_id": str(row.object_id),
        "object_score": row.object_score,
        "is_prompt": row.is_prompt,
        **track.reviewed,
    }
    return {
        "type": "eta.core.objects.DetectedObject",
        "label": track.category,
        "bounding_box": {
            "top_left": {"x": x / width, "y": y / height},
            "bottom_right": {"x": (x + w) / width, "y": (y + h) / height},
        },
        "mask": mask_text(box_pixels(row.rle, row.bbox_xywh)),
        "confidence": row.predicted_iou,
        "index": track.number,
        "attrs": {"attrs": [_attribute(name, value) for name, value in values.items()]},
    }


def _attribute(name: str, value: str | float | bool | int) -> dict[str, Any]:
    kind = {str: "Categorical", bool: "Boolean", float: "Numeric", int: "Numeric"}[type(value)]
    return {"type": f"eta.core.data.{kind}Attribute", "name": name, "value": value}
