"""`cvat_video`: "CVAT for video 1.1", one document a video, an object as a track of polygons to be corrected there.

CVAT has no tracks of masks. A track has one polygon a frame, which is the largest part of the mask without its holes;
the manifest tells the IoU of the polygon with the mask where they differ. CVAT interpolates between keyframes, so that
each labeled frame is one, and `outside="1"` ends a track where the object is hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.config.fields import Group, Unit
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import write_frames
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.polygons import edge_outline
from pipeline.formats.rows import MaskRow
from pipeline.formats.shape_text import polygon_text
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.cvat_xml import LABELS, attributes_of, head, label_specification, names_of_attributes
from pipeline.formats.writers.frames import count_range, frames_before
from pipeline.formats.writers.xml_text import attribute
from pipeline.masks.crop import box_pixels


class Options(Group):
    """Keys of `cvat_video`."""

    tolerance_px: Annotated[float, Unit("pixels")] = Field(
        default=0.0,
        ge=0,
        description="Points of a polygon that lie nearer than this to the line between others are left out: 1 makes "
        "polygons that people can correct. 0 keeps every edge of the largest part.",
    )


class Writer(VideoWriter):
    """See the module."""

    can_review = True

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """The document of a video."""
        count_range(video)
        if video.review is not None:
            frames = video.frame_indexes.tolist()
            video.review.note_frames(frames, [frame + frames_before(video) for frame in frames])
        with out.open(f"{video.split}/{video.name}/annotations.xml") as file:
            file.write(video_head(video).encode())
            for track, rows in video.by_track():
                for text in self._track(track, rows, video):
                    file.write(text.encode())
            file.write(b"</annotations>\n")
        write_frames(video, out, f"{video.split}/{video.name}/images")

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """The labels that a task needs whose tracks come back from a review."""
        if plan.handout is not None:
            folder.write(LABELS, [label_specification(plan.categories)])

    def _track(self, track: PlannedTrack, rows: Iterable[MaskRow], video: ExportVideo) -> Iterator[str]:
        frames, before = video.frame_indexes, frames_before(video)
        attributes = attributes_of(track, video)
        shown = ""  # the points of the last polygon, empty while the track is outside
        place = -1
        is_open = False
        for row in rows:
            here = int(np.searchsorted(frames, row.frame_index))
            if shown and (here > place + 1 or not row.area):
                yield polygon(int(frames[place + 1]) + before, shown, attributes, outside=True)
                shown = ""
            place = here
            if row.area:
                if not is_open:
                    yield f'  <track id="{track.number - 1}" label={attribute(track.category)} source="semi-auto">\n'
                    is_open = True
                shown = self._points(row, video)
                if video.review is not None:
                    video.review.note(track, row, row.frame_index + before, shown)
                yield polygon(row.frame_index + before, shown, attributes, outside=False)
        if shown and place + 1 < len(frames):
            yield polygon(int(frames[place + 1]) + before, shown, attributes, outside=True)
        if is_open:
            yield "  </track>\n"

    def _points(self, row: MaskRow, video: ExportVideo) -> str:
        found = edge_outline(box_pixels(row.rle, row.bbox_xywh), tolerance_px=self._options.tolerance_px)
        if found.iou < 1:
            video.lost("polygon", row.object_id, row.frame_index, found.iou)
        left, top = row.bbox_xywh[:2]
        return polygon_text((x + left, y + top) for x, y in found.ring.tolist())


def video_head(video: ExportVideo) -> str:
    """The document up to its first track. With a stride `frame_filter` tells the frames of the task."""
    frames = video.frame_indexes
    height, width = video.size_hw
    steps = set(np.diff(frames).tolist())
    step = steps.pop() if len(steps) == 1 else 1
    before = frames_before(video)
    details: dict[str, str | int] = {"size": len(frames), "start_frame": before}
    details["stop_frame"] = int(frames[-1]) + before
    details["frame_filter"] = f"step={step}" if step > 1 else ""
    categories = dict(sorted((track.category, track.category_id) for track in video.tracks))
    attributes = names_of_attributes(video.review is not None, video.planned.has_reviews)
    text = head(video.video_id, "interpolation", categories, details, attributes)
    size = (
        "      <original_size>\n"
        f"        <width>{width}</width>\n        <height>{height}</height>\n"
        "      </original_size>\n"
    )
    return text.replace("    </task>\n", f"{size}    </task>\n")


def polygon(frame_index: int, points: str, attributes: str, *, outside: bool) -> str:
    """One keyframe of a track, with the elements of its attributes."""
    return (
        f'    <polygon frame="{frame_index}" keyframe="1" outside="{int(outside)}" occluded="0" points="{points}" '
        f'z_order="0">{attributes}</polygon>\n'
    )
