"""`label_studio`: one task a video with a region "videorectangle" an object, for correction in Label Studio.

Label Studio has no masks of videos (`variant=images` writes those of frames): regions are boxes, and the manifest tells
their IoU with the masks. Their frames count from 1, and their numbers are percent of the picture. Between two items it
interpolates, and it does so until an item with `enabled: false`, which is the last one that is shown. The player knows
no frames, only times and the task's `fps`, so that a frame is numbered by its time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.fields import Group
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.handing_out import COMMENT, HANDOUT, UNSEEN, VERDICT, VERDICTS
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.shape_text import box_text
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.frames import file_place
from pipeline.formats.writers.label_studio_images import TO_NAME, tasks, told, write_images
from pipeline.formats.writers.label_studio_images import label_config as label_config_of_images
from pipeline.formats.writers.xml_text import attribute, hex_color, storable

_HEAD = b'{"data":'
_DEFAULT_FPS = 24.0
"""What Label Studio takes for a video without a frame rate."""

_ERROR = 1e-6


class Options(Group):
    """Keys of `label_studio`."""

    variant: Literal["video", "images"] = Field(
        default="video",
        description="video is a task a video, with boxes; images is a task a frame, with masks for the brush: write "
        "the images by frames=jpg.",
    )
    image_prefix: str = Field(
        default="",
        description="With variant=images: what Label Studio needs before images/NAME/00012.jpg to find it, as in "
        "/data/local-files/?d=labels/.",
    )
    model_version: str = Field(
        default="maskmill", min_length=1, description="The name under which Label Studio shows these predictions."
    )

    @model_validator(mode="after")
    def _check_prefix(self) -> Options:
        if self.image_prefix and self.variant == "video":
            raise ValueError("image_prefix= is for images: give variant=images too")
        return self


class Writer(VideoWriter):
    """See the module."""

    can_review = True

    def __init__(self, options: Options) -> None:
        self._options = options
        self._is_of_images = options.variant == "images"
        self.can_cut = self._is_of_images
        self.frames = VideoWriter.frames if self._is_of_images else ("none",)

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """A task with a prediction: its regions in the order of the objects, a record each; or a task a frame."""
        if self._is_of_images:
            write_images(video, out, self._options.model_version, self._options.image_prefix)
            return
        fps = video.row["fps"] or _DEFAULT_FPS
        data: dict[str, Any] = {"video": file_place(video), "fps": fps}
        numbers = frame_numbers(video.frame_indexes.tolist(), video.pts.tolist(), fps)
        if video.review is not None:
            review = video.review
            data |= {"video_id": video.video_id, HANDOUT: review.handout, "labeled_at": review.labeled_at}
            review.note_frames(numbers.keys(), list(numbers.values()))
        video.write_only(list(numbers))
        head = {"data": data, "meta": {"video_id": video.video_id, **_counting(numbers)}}
        out.append(f"tasks.{video.split}", head)
        for track, rows in video.by_track():
            items = sequence(_noted(track, rows, video, numbers), numbers, video.size_hw, fps)
            first = next(items, None)
            if first is not None:
                out.append(f"tasks.{video.split}", region(track, chain([first], items), video))

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """The tasks of each split as a list, and the labeling interface that shows them."""
        for split in plan.splits:
            records = folder.stream(f"tasks.{split}")
            folder.write(f"{split}.json", tasks(records) if self._is_of_images else self._tasks(records))
        fields = _fields(TO_NAME if self._is_of_images else "video") if plan.handout is not None else ""
        config = label_config_of_images if self._is_of_images else label_config
        folder.write("label_config.xml", [config(plan.categories, fields).encode()])

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
        "meta": {"text": told(track, video), **track.reviewed},
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
    rows: Iterable[MaskRow], numbers: Mapping[int, int], size_hw: tuple[int, int], fps: float = _DEFAULT_FPS
) -> Iterator[dict[str, Any]]:
    """Items of a region from the rows of an object. `numbers` are those of the labeled frames, of `frame_numbers`.

    Each run of these frames that lacks the object is a gap. Frames without a time get that of `fps` frames a second.
    Rows of other frames are left out.
    """
    height, width = size_hw
    places = {frame_index: place for place, frame_index in enumerate(numbers)}
    last: dict[str, Any] | None = None
    last_place = -1
    for row in rows:
        place = places.get(row.frame_index)
        if not row.area or place is None:
            continue
        if last is not None:
            yield last | {"enabled": place == last_place + 1}
        seconds = row.frame_index / fps if row.pts_seconds is None else row.pts_seconds
        x, y, w, h = row.bbox_xywh
        last = {"frame": numbers[row.frame_index], "time": round(seconds, 6), "rotation": 0}
        last |= {"x": _percent(x, width), "y": _percent(y, height)}
        last |= {"width": _percent(w, width), "height": _percent(h, height)}
        last_place = place
    if last is not None:
        yield last | {"enabled": False}


def frame_numbers(frame_indexes: Iterable[int], pts_seconds: Iterable[float | None], fps: float) -> dict[int, int]:
    """The numbers, from 1, that Label Studio gives frames. Without a time (None, NaN) it is the frame's own.

    Of frames of a variable rate that have one number only the first is in it: the others cannot be told from it there.
    """
    numbers: dict[int, int] = {}
    last = -math.inf
    for frame_index, pts in zip(frame_indexes, pts_seconds, strict=True):
        number = frame_index + 1 if pts is None or math.isnan(pts) else _half_up(pts * fps) + 1
        if number > last:
            numbers[frame_index] = last = number
    return numbers


def _counting(numbers: Mapping[int, int]) -> dict[str, Any]:
    """What leads from the numbers of frames back to the frames of the job; nothing where these are those less 1.

    `first_frame` is the number that frame 0 has or would have. With a variable rate, `frames` are frames with their
    numbers: those from which on another difference holds, up to the next one.
    """
    steps: list[tuple[int, int]] = []
    for index, number in numbers.items():
        if not steps or number - index != steps[-1][1] - steps[-1][0]:
            steps.append((index, number))
    if len(steps) > 1:
        return {"frames": steps}
    first = steps[0][1] - steps[0][0]
    return {} if first == 1 else {"first_frame": first}


def _half_up(value: float) -> int:
    """The nearest number; of halves always the next one, because `round` gives two of them one number.

    What is a half but for an error of floating point counts as a half.
    """
    return math.floor(value + 0.5 + _ERROR)


def _fields(to_name: str) -> str:
    """Fields of each region, in which a reviewer says what the track is worth."""
    choices = "".join(f'<Choice value="{verdict}"/>' for verdict in VERDICTS if verdict != UNSEEN)
    return (
        f'  <Choices name="{VERDICT}" toName="{to_name}" perRegion="true" choice="single" showInline="true">'
        f'{choices}</Choices>\n  <TextArea name="{COMMENT}" toName="{to_name}" perRegion="true" maxSubmissions="1"/>\n'
    )


def label_config(categories: Iterable[str], fields: str = "") -> str:
    """The labeling interface of Label Studio for tasks of this export, with the `fields` of regions."""
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


def _noted(
    track: PlannedTrack, rows: Iterable[MaskRow], video: ExportVideo, numbers: Mapping[int, int]
) -> Iterator[MaskRow]:
    """The rows; on the way it is noted how much of its box each mask fills, and what goes out to reviewers."""
    for row in rows:
        if row.area:
            x, y, w, h = row.bbox_xywh
            video.lost("box", row.object_id, row.frame_index, row.area / (w * h))
            if video.review is not None and row.frame_index in numbers:
                video.review.note(track, row, numbers[row.frame_index], box_text((x, y, x + w, y + h)))
        yield row


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _percent(pixels: int, of: int) -> float:
    return round(100 * pixels / of, 6)
