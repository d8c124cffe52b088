"""CocoVID: COCO with `videos`, images that have a `video_id` and a `frame_id`, annotations that have an `instance_id`.

`frame_id` counts the labeled frames of a video from 0, `frame_index` is the number of the frame in its file.
`instance_id` counts from 1, because mmdet takes 0 for none, and is the same for an object on all of its frames.
"""

from __future__ import annotations

from pipeline.config.fields import Group
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import write_frames
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.coco import annotation_record, coco_document, image_record


class Options(Group):
    """CocoVID has no keys of its own."""


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        tracks = {track.object_id: track for track in video.tracks}
        number, height_width = video.planned.number, video.size_hw
        out.append(
            f"videos.{video.split}",
            {
                "id": number,
                "name": video.name,
                "width": height_width[1],
                "height": height_width[0],
                "fps": video.row["fps"],
                "length": len(video.frame_indexes),
            },
        )
        annotation_id = video.planned.first_annotation_id
        for frame_id, (frame_index, rows) in enumerate(video.by_frame()):
            image_id = video.planned.first_image_id + frame_id
            image = image_record(video, image_id, frame_index)
            out.append(
                f"images.{video.split}", image | {"video_id": number, "frame_id": frame_id, "frame_index": frame_index}
            )
            for row in rows:
                if row.area:
                    track = tracks[row.object_id]
                    record = annotation_record(row, annotation_id, image_id, track)
                    more = {"video_id": number, "instance_id": track.id}
                    out.append(f"annotations.{video.split}", record | more)
                annotation_id += 1
        write_frames(video, out, f"images/{video.name}")

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        for split in plan.splits:
            folder.write(
                f"annotations/instances_{split}.json",
                coco_document(plan, folder, split, ("videos", "images", "annotations")),
            )
