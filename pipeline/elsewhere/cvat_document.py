"""CVAT's `annotations.xml` as it comes back: "CVAT for video 1.1" with tracks, "CVAT for images 1.1" with shapes.

In a track only shapes with `keyframe="1"` were set by somebody; those between two of them are CVAT's. Attributes of
objects are those that went out. Source: CVAT's `dataset_manager/formats/cvat.py` and its page "XML annotation format".
"""

from __future__ import annotations

import math
import posixpath
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO
from xml.etree import ElementTree

from pipeline.elsewhere.returned import Author, Returned, ReturnedTrack, ReturnedVideo, SizeHW, Words, joined
from pipeline.errors import InputError
from pipeline.formats.cvat_tasks import CvatTask, task_of, tasks_of_project
from pipeline.formats.handing_out import COMMENT, HANDOUT, OBJECT_ID, UNSEEN, VERDICT, VERDICTS
from pipeline.formats.label import number_in_name
from pipeline.formats.shape_text import box_text, mask_text, polygon_text

_TAKEN = ("polygon", "mask", "box")
_OTHERS = ("ellipse", "polyline", "points", "cuboid", "skeleton")


def read_video(file: BinaryIO, shown: str) -> Returned:
    """A document of tracks. Where CVAT has dropped their attributes, handout and video are empty.

    Raises `InputError` naming track and frame of what is wrong.
    """
    root = _parsed(file, shown)
    meta = _Meta.of(root, shown)
    tracks = [_track(element, shown, meta) for element in root.iter("track")]
    if not tracks and root.find("image") is not None:
        raise InputError(f"{shown}: it is CVAT for images: give format=cvat_images")
    handout = _handout([attributes for _, attributes in tracks], shown)
    videos: dict[tuple[str, str | None], list[ReturnedTrack]] = defaultdict(list)
    of_task = {one.group: one.video for one, _ in tracks if one.video}
    for one, _ in tracks:
        video = one.video or of_task.get(one.group) or (next(iter(of_task.values())) if len(of_task) == 1 else None)
        if video is None and of_task:
            raise InputError(f"{one.place}: nothing says of which video it is; export each task by itself")
        # Where all attributes are lost, tracks of one task are of one video, whichever that is.
        videos[video or "", None if video else one.group].append(one)
    returned = (_returned(video, of_video, shown, meta) for (video, _), of_video in videos.items())
    return Returned(handout, tuple(returned), meta.author)


def _returned(video: str, tracks: list[ReturnedTrack], shown: str, meta: _Meta) -> ReturnedVideo:
    tasks = [meta.task(track.group) for track in tracks]
    sizes = frozenset(task.size_hw for task in tasks if task.size_hw is not None)
    cuts = frozenset(cut - task.offset for task in tasks for cut in task.cuts)
    return ReturnedVideo(video, tuple(tracks), shown, meta.frames, sizes, cuts)


def read_images(file: BinaryIO, shown: str) -> Returned:
    """A document of images. The video of a frame is the folder in the name of its image; the handout may be empty."""
    root = _parsed(file, shown)
    meta = _Meta.of(root, shown)
    images = list(root.iter("image"))
    if not images and root.find("track") is not None:
        raise InputError(f"{shown}: it is CVAT for video: give format=cvat_video")
    frames: dict[str, set[int]] = defaultdict(set)
    sizes: dict[str, set[SizeHW]] = defaultdict(set)
    shapes: dict[str, list[_Shape]] = defaultdict(list)
    for image in images:
        video, frame, place = _frame_of(image, shown)
        frames[video].add(frame)
        sizes[video].add(_size(image, place))
        for element in image:
            if element.tag in (*_TAKEN, *_OTHERS):
                shapes[video].append(_Shape(frame, _text(element, place), element, place))
    handout = _handout([one.attributes for found in shapes.values() for one in found], shown)
    returned = (
        ReturnedVideo(
            video, tuple(_objects(shapes[video])), shown, frozenset(found), frozenset(sizes[video]), is_of_images=True
        )
        for video, found in frames.items()
    )
    return Returned(handout, tuple(returned), meta.author)


def _parsed(file: BinaryIO, shown: str) -> Any:
    try:
        return ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(f"{shown}, line {line}, column {column}: broken XML ({error}); export again") from error


@dataclass(frozen=True)
class _Meta:
    """What the document says of its task or job. `frames` is the range of a job; a task has all.

    `tasks` are those of a project by id.
    """

    one_task: CvatTask
    tasks: Mapping[str | None, CvatTask]
    frames: frozenset[int] | None
    author: Author

    @staticmethod
    def of(root: Any, shown: str) -> _Meta:
        kinds = ("job", "task", "project")
        name = next(filter(None, (root.findtext(f"meta/{kind}/assignee/username") for kind in kinds)), None)
        updated = next(filter(None, (root.findtext(f"meta/{kind}/updated") for kind in kinds)), None)
        meta = next(root.iterfind("meta"), ElementTree.Element("meta"))
        try:
            at = datetime.fromisoformat(updated) if updated else None
            ends = [root.findtext(f"meta/job/{end}") for end in ("start_frame", "stop_frame")]
            frames = None if None in ends else frozenset(range(int(ends[0]), int(ends[1]) + 1))
            task = next(meta.iterfind("task"), None)
            one_task = task_of(meta if task is None else task)
            tasks = tasks_of_project(meta)
        except (ValueError, TypeError) as error:
            raise InputError(f"{shown}: its meta is none of CVAT's ({error}); export again") from error
        if at is not None and at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return _Meta(one_task, tasks, frames, Author(name, at))

    def task(self, task_id: str | None) -> CvatTask:
        """The task with this id of a project, else the one of the document."""
        return self.tasks.get(task_id, self.one_task)


def _track(element: Any, shown: str, meta: _Meta) -> tuple[ReturnedTrack, Mapping[str, str]]:
    name = f"{shown}, track {element.get('id', '?')}"
    shapes: dict[int, list[str | None]] = defaultdict(list)
    attributes: dict[str, str] = {}
    for one in element:
        if one.tag not in (*_TAKEN, *_OTHERS):
            continue
        attributes |= _attributes(one)
        if one.get("keyframe", "1") != "1":
            continue
        place = f"{name}, frame {one.get('frame', '?')}"
        try:
            frame = int(one.get("frame", "")) - meta.task(element.get("task_id")).offset
        except ValueError as error:
            raise InputError(f"{place}: a shape has no frame; export again") from error
        shapes[frame].append(None if one.get("outside", "0") == "1" else _text(one, place))
    by_frame = {frame: joined(found) for frame, found in sorted(shapes.items())}
    track = ReturnedTrack(
        object_id=_object_id(attributes, name),
        labels=(element.get("label") or "",),
        shapes=by_frame,
        place=name,
        spans=tuple(_spans(by_frame)),
        video=attributes.get("video_id") or None,
        group=element.get("task_id"),
        words=Words(_verdict(attributes, name), attributes.get(COMMENT, "").strip()),
    )
    return track, attributes


def _spans(shapes: Mapping[int, str | None]) -> Iterator[tuple[int, int]]:
    """The frames on which CVAT shows a track: from a keyframe to before the next one that is outside, or to the end."""
    first: int | None = None
    for frame, text in shapes.items():
        if text is None and first is not None:
            yield first, frame - 1
            first = None
        elif text is not None and first is None:
            first = frame
    if first is not None:
        yield first, sys.maxsize


@dataclass(frozen=True)
class _Shape:
    """A shape of an image."""

    frame: int
    text: str
    element: Any
    place: str
    attributes: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", _attributes(self.element))


def _objects(shapes: Iterable[_Shape]) -> list[ReturnedTrack]:
    """Shapes of images by object; of added ones by group."""
    objects: dict[tuple[str, str], list[_Shape]] = defaultdict(list)
    for number, one in enumerate(shapes):
        object_id = one.attributes.get(OBJECT_ID, "").strip()
        group = one.element.get("group_id", "0")
        added = ("group", group) if group not in ("", "0") else ("shape", str(number))
        objects[("object", object_id) if object_id else added].append(one)
    return [_object(found) for found in objects.values()]


def _object(shapes: list[_Shape]) -> ReturnedTrack:
    first = shapes[0]
    texts: dict[int, list[str | None]] = defaultdict(list)
    for one in shapes:
        texts[one.frame].append(one.text)
    verdicts = {_verdict(one.attributes, one.place): one.place for one in shapes}
    verdicts.pop("", None)
    if len(verdicts) > 1:
        raise InputError(f"{first.place}: {' and '.join(sorted(verdicts))} are said of one object; correct it in CVAT")
    comments = dict.fromkeys(one.attributes.get(COMMENT, "").strip() for one in shapes)
    return ReturnedTrack(
        object_id=_object_id(first.attributes, first.place),
        labels=tuple(dict.fromkeys(one.element.get("label") or "" for one in shapes)),
        shapes={frame: joined(found) for frame, found in texts.items()},
        place=first.place,
        words=Words(next(iter(verdicts), ""), "; ".join(filter(None, comments))),
    )


def _attributes(element: Any) -> dict[str, str]:
    return {one.get("name", ""): one.text or "" for one in element.iter("attribute")}


def _handout(attributes: Iterable[Mapping[str, str]], shown: str) -> str:
    found = {one.get(HANDOUT, "").strip() for one in attributes} - {""}
    if len(found) > 1:
        raise InputError(f"{shown}: it has objects of {len(found)} exports; export each task by itself")
    return next(iter(found), "")


def _object_id(attributes: Mapping[str, str], place: str) -> int | None:
    text = attributes.get(OBJECT_ID, "").strip()
    try:
        return int(text) if text else None
    except ValueError as error:
        raise InputError(
            f"{place}: object_id {text!r} is no number: leave it empty for a new object, or give the number of a track "
            "that went out"
        ) from error


def _verdict(attributes: Mapping[str, str], place: str) -> str:
    verdict = attributes.get(VERDICT, "").strip().lower()
    if verdict and verdict not in VERDICTS:
        raise InputError(f"{place}: verdict {verdict!r}: there are {', '.join(VERDICTS)}")
    return "" if verdict == UNSEEN else verdict


def _frame_of(image: Any, shown: str) -> tuple[str, int, str]:
    name = image.get("name", "")
    place = f"{shown}, image {name!r}"
    number = number_in_name(name)
    folder = posixpath.basename(posixpath.dirname(name))
    if number is None or not folder:
        raise InputError(f"{place}: the images of an export are called as VIDEO/00012.jpg: upload them with folders")
    return folder, number, place


def _size(image: Any, place: str) -> SizeHW:
    try:
        return int(image.get("height", "")), int(image.get("width", ""))
    except ValueError as error:
        raise InputError(f"{place}: it has no width and height; export again") from error


def _text(element: Any, place: str) -> str:
    if element.tag in _OTHERS:
        raise InputError(f"{place}: {element.tag} says no mask: draw a mask, a polygon or a box, and export again")
    try:
        if float(element.get("rotation") or 0):
            raise ValueError("a box that is turned; draw a polygon")
        if element.tag == "box":
            return box_text(_number(element.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))
        if element.tag == "mask":
            left, top, width, height = (int(_number(element.get(one))) for one in ("left", "top", "width", "height"))
            return mask_text(element.get("rle", ""), (left, top, width, height))
        points = [point.split(",") for point in element.get("points", "").split(";") if point]
        return polygon_text((_number(x), _number(y)) for x, y in points)
    except ValueError as error:
        raise InputError(f"{place}: {error}; correct it in CVAT and export again") from error


def _number(text: str | None) -> float:
    number = float(text or "")
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no finite number")
    return number
