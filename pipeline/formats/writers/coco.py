"""COCO: `annotations/instances_{split}.json`, an image a labeled frame and an annotation a visible mask.

`file_name` is below `images/`, where frames are written if they are. Masks are the codes of the job, byte for byte.
Hidden masks have no annotation, because detectors drop annotations without area.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.config.fields import Group
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import file_name, write_frames
from pipeline.formats.json_files import json_object
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter


class Options(Group):
    """COCO has no keys of its own."""


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        tracks = {track.object_id: track for track in video.tracks}
        annotation_id = video.planned.first_annotation_id
        for image_id, (frame_index, rows) in enumerate(video.by_frame(), video.planned.first_image_id):
            out.append(f"images.{video.split}", image_record(video, image_id, frame_index))
            for row in rows:
                if row.area:
                    track = tracks[row.object_id]
                    record = annotation_record(row, annotation_id, image_id, track)
                    out.append(f"annotations.{video.split}", record | {"track_id": track.id})
                annotation_id += 1
        write_frames(video, out, f"images/{video.name}")

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        for split in plan.splits:
            folder.write(f"annotations/instances_{split}.json", coco_document(plan, folder, split))


def image_record(video: ExportVideo, image_id: int, frame_index: int) -> dict[str, Any]:
    """An entry of `images`."""
    height, width = video.size_hw
    name = f"{video.name}/{file_name(video, frame_index)}"
    return {"id": image_id, "file_name": name, "width": width, "height": height}


def annotation_record(row: MaskRow, annotation_id: int, image_id: int, track: PlannedTrack) -> dict[str, Any]:
    """An entry of `annotations`. `iscrowd` is 0, although the mask is a code: 1 would leave it out of scores.

    What reviewers said of the track is in `attributes`, as CVAT and Datumaro write attributes.
    """
    record = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": track.category_id,
        "bbox": row.bbox_xywh,
        "area": row.area,
        "iscrowd": 0,
        "segmentation": row.rle,
        "score": round(row.predicted_iou, 4),
    }
    return record | ({"attributes": review} if (review := track.reviewed) else {})


def coco_document(
    plan: Plan, folder: ExportFolder, split: str, streams: Sequence[str] = ("images", "annotations")
) -> Iterator[bytes]:
    """The JSON of a split, from the streams `images.{split}`, `annotations.{split}` and others."""
    values = {
        "info": {"description": "masks of SAM 2, exported by maskmill", "version": "1.0"},
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": "object"} for name, number in plan.categories.items()
        ],
    }
    return json_object(values, {name: folder.chunks(f"{name}.{split}") for name in streams})
