"""`label_studio`: one task a video with a region "videorectangle" an object, for correction in Label Studio.

Label Studio has no masks of videos: regions are boxes, and the manifest tells their IoU with the masks. Their frames
count from 1, and their numbers are percent of the picture. Between two items it interpolates, and it does so until an
item with `enabled: false`, which is the last one that is shown. The player knows no frames, only times and the task's
`fps`, so that a frame is numbered by its time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.arrays import Int64Array
from pipeline.config.fields import Group
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.handing_out import COMMENT, HANDOUT, UNSEEN, VERDICT, VERDICTS
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.shape_text import box_text
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.frames import file_place
from pipeline.formats.writers.xml_text import attribute, hex_color, storable

_HEAD = b'{"data":'
_DEFAULT_FPS = 24.0
"""What Label Studio takes for a video without a frame rate."""


class Options(Group):
    """Keys of `label_studio`."""

    model_version: str = Field(
        default="maskmill", min_length=1, description="The name under which Label Studio shows these predictions."
    )


class Writer(VideoWriter):
    """See the module."""

    can_review = True

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """A task with a prediction: its regions in the order of the objects, a record each."""
        fps = video.row["fps"] or _DEFAULT_FPS
        data: dict[str, Any] = {"video": file_place(video), "fps": fps}
        if video.review is not None:
            review = video.review
            data |= {"video_id": video.video_id, HANDOUT: review.handout, "labeled_at": review.labeled_at}
            frames = zip(video.frame_indexes.tolist(), video.pts.tolist(), strict=True)
            review.note_frames(video.frame_indexes.tolist(), [frame_number(index, pts, fps) for index, pts in frames])
        head = {"data": data, "meta": {"video_id": video.video_id}}
        out.append(f"tasks.{video.split}", head)
        for track, rows in video.by_track():
            items = sequence(_noted(track, rows, video, fps), video.frame_indexes, video.size_hw, fps)
            first = next(items, None)
            if first is not None:
                out.append(f"tasks.{video.split}", region(track, chain([first], items), video))

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """The tasks of each split as a list, and the labeling interface that shows them."""
        for split in plan.splits:
            folder.write(f"{split}.json", self._tasks(folder.stream(f"tasks.{split}")))
        folder.write("label_config.xml", [label_config(plan.categories, plan.handout is not None).encode()])

    def _tasks(self, records: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of the list: each head of a task with the regions that follow it."""
        predictions = f',"predictions":[{{"model_version":{json.dumps(self._options.model_version)},"result":['.encode()
        before, between = b"[\n", b""
        for record in records:
            if record.startswith(_HEAD):
                yield before + record[:-1] + predictions
                before, between = b"\n]}]},\n", b"\n"
            else:
                yield between + record
                between = b",\n"
        yield b"[]\n" if before == b"[\n" else b"\n]}]}]\n"


def region(track: PlannedTrack, items: Iterable[Mapping[str, Any]], video: ExportVideo) -> Iterator[str]:
    """The pieces of a track's region, an item of its sequence each."""
    about = {
        "id": f"object_{track.object_id}",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "meta": {"text": _told(track, video)},
        "score": track.row["predicted_iou_mean"],
    }
    seconds, fps = video.row["duration_seconds"] or 0, video.row["fps"] or _DEFAULT_FPS
    value = {
        "framesCount": max(round(seconds * fps), video.row["num_frames_decoded"]),
        "duration": seconds,
        "labels": [storable(track.category)],
    }
    yield f'{_json(about)[:-1]},"value":{_json(value)[:-1]},"sequence":['
    between = ""
    for item in items:
        yield between + _json(item)
        between = ","
    yield "]}}"


def sequence(
    rows: Iterable[MaskRow], frame_indexes: Int64Array, size_hw: tuple[int, int], fps: float = _DEFAULT_FPS
) -> Iterator[dict[str, Any]]:
    """Items of a region from the rows of an object. `frame_indexes` are the labeled frames.

    Each run of them that lacks the object is a gap. Frames without a time get that of `fps` frames a second. Of frames
    of a variable rate that have one number the first is taken.
    """
    height, width = size_hw
    last: dict[str, Any] | None = None
    last_place = -1
    for row in rows:
        if not row.area:
            continue
        place = int(np.searchsorted(frame_indexes, row.frame_index))
        seconds = row.frame_index / fps if row.pts_seconds is None else row.pts_seconds
        number = frame_number(row.frame_index, row.pts_seconds, fps)
        if last is not None:
            if number <= last["frame"]:
                last_place = place
                continue
            yield last | {"enabled": place == last_place + 1}
        x, y, w, h = row.bbox_xywh
        last = {"frame": number, "time": round(seconds, 6), "rotation": 0}
        last |= {"x": _percent(x, width), "y": _percent(y, height)}
        last |= {"width": _percent(w, width), "height": _percent(h, height)}
        last_place = place
    if last is not None:
        yield last | {"enabled": False}


def frame_number(frame_index: int, pts_seconds: float | None, fps: float) -> int:
    """The number that Label Studio gives a frame, from 1. Without a time (None, NaN) it is the frame's own."""
    if pts_seconds is None or math.isnan(pts_seconds):
        return frame_index + 1
    return round(pts_seconds * fps) + 1


def label_config(categories: Iterable[str], is_review: bool = False) -> str:
    """The labeling interface of Label Studio for tasks of this export; a review has fields for each region."""
    fields = ""
    if is_review:
        choices = "".join(f'<Choice value="{verdict}"/>' for verdict in VERDICTS if verdict != UNSEEN)
        fields = (
            f'  <Choices name="{VERDICT}" toName="video" perRegion="true" choice="single" showInline="true">'
            f'{choices}</Choices>\n  <TextArea name="{COMMENT}" toName="video" perRegion="true" maxSubmissions="1"/>\n'
        )
    labels = "\n".join(
        f'    <Label value={attribute(name)} background="{hex_color(number)}"/>'
        for number, name in enumerate(categories, 1)
    )
    return f"""<View>
  <Labels name="label" toName="video">
{labels}
  </Labels>
  <Video name="video" value="$video" frameRate="$fps"/>
  <VideoRectangle name="box" toName="video"/>
{fields}</View>
"""


def _noted(track: PlannedTrack, rows: Iterable[MaskRow], video: ExportVideo, fps: float) -> Iterator[MaskRow]:
    """The rows; on the way it is noted how much of its box each mask fills, and what goes out to reviewers."""
    for row in rows:
        if row.area:
            x, y, w, h = row.bbox_xywh
            video.lost("box", row.object_id, row.frame_index, row.area / (w * h))
            if video.review is not None:
                number = frame_number(row.frame_index, row.pts_seconds, fps)
                video.review.note(track, row, number, box_text((x, y, x + w, y + h)))
        yield row


def _told(track: PlannedTrack, video: ExportVideo) -> list[str]:
    """What Label Studio shows beside a region."""
    told = [f"object {track.object_id}"]
    if video.review is not None:
        said = dict(video.review.attributes(track))
        told += [f"{name} {said[name]}" for name in ("doubt", "reasons", "look_at") if said[name]]
    return told


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _percent(pixels: int, of: int) -> float:
    return round(100 * pixels / of, 6)
