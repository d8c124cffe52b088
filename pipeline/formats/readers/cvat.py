"""CVAT: `annotations.xml` of "CVAT for video 1.1" with tracks, and of "CVAT for images 1.1" with shapes a picture.

In a track only shapes with `keyframe="1"` were set by somebody, and only they are read; `outside="1"` means hidden.
Several polygons of one frame of a track are one mask, several boxes are the box around them. A mask's code is row by
row inside of its box. Frames count from 0. The video is the `source` or the name in `meta`, or the folder in the name
of a picture. A project has several tasks in `meta`, and `task_id` says of which one a track or a picture is: see
`cvat_tasks`. Source: docs.cvat.ai, page "CVAT format".
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from pipeline.errors import InputError
from pipeline.formats.cvat_tasks import CvatTask, task_of, tasks_of_project
from pipeline.formats.label import (
    Label,
    LabelFrame,
    LabelMask,
    LabelOther,
    LabelPoints,
    ObjectKey,
    ReadOptions,
    Shape,
    SizeHW,
    mask_of_pixels,
    mask_of_polygons,
    mask_of_runs,
)
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.boxes import box_of
from pipeline.formats.readers.coco import video_and_picture
from pipeline.formats.readers.palette_png import without_outer_folders

_OTHERS = ("ellipse", "polyline", "cuboid", "skeleton")
_OF_FILM = re.compile(r"frame_(\d{6,})")
_SHAPES = ("box", "polygon", "mask", "points", *_OTHERS)


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all tracks and pictures of the XML files.

    Raises `InputError` naming track and frame, or the picture, of what is wrong, and the line where the XML is broken.
    """
    names = files.ending_in(".xml") if files.is_folder else list(files.names)
    if not names:
        raise InputError(f"{files.key}: {files.shown} holds no .xml file; name the annotations.xml")
    for name in names:
        shown = files.shown_name(name)
        with files.open(name) as file:
            try:
                yield from _Reader(shown, posixpath.dirname(name), options).read(file)
            except ElementTree.ParseError as error:
                line, column = error.position
                raise InputError(
                    f"{shown}, line {line}, column {column}: broken XML ({error}); export again"
                ) from error


class _Reader:
    """Reads one file, an element at a time."""

    def __init__(self, shown: str, folder: str, options: ReadOptions) -> None:
        self._shown = shown
        self._folder = folder
        self._size_hw = options.size_hw
        self._task = CvatTask(size_hw=self._size_hw)
        self._tasks: dict[str | None, CvatTask] = {}
        self._first_frame = options.first_frame or 0
        self._is_of_export = options.is_of_export
        self._shown_on: list[tuple[int, int]] = []  # spans of frames on which a track shows, half-open

    def read(self, file: BinaryIO) -> Iterator[Label]:
        depth = 0
        root: Any = None
        for event, element in ElementTree.iterparse(file, ("start", "end")):
            if event == "start":
                root = element if root is None else root
                depth += 1
                continue
            depth -= 1
            if depth != 1:
                continue
            if element.tag == "meta":
                self._take_meta(element)
            elif element.tag == "track":
                yield from self._track(element)
            elif element.tag == "image":
                yield from self._image(element)
            root.clear()
        if self._is_of_export and len(self._tasks) < 2:
            yield from self._empty_frames()

    def _empty_frames(self) -> Iterator[Label]:
        """A label of each frame of the task on which no track shows: one that is outside has no shapes."""
        frames = self._task.frames
        is_empty = np.ones(len(frames), bool)
        for start, end in self._shown_on:
            is_empty[max(0, start - frames.start) : max(0, end - frames.start)] = False
        for place in np.flatnonzero(is_empty).tolist():
            frame = LabelFrame(frames[place] - self._task.offset - self._first_frame)
            yield Label(self._video_of(self._task), frame, None, None, place=self._shown)

    def _take_meta(self, meta: ElementTree.Element) -> None:
        try:
            self._task = task_of(meta, self._size_hw)
            self._tasks = tasks_of_project(meta, self._size_hw)
        except ValueError as error:
            raise InputError(f"{self._shown}: its meta is none of CVAT's ({error}); export again") from error

    def _task_of(self, element: ElementTree.Element, place: str) -> CvatTask:
        """The task of a track or a picture. Raises `InputError` where a project does not say which one it is."""
        task_id = element.get("task_id")
        if len(self._tasks) > 1 and task_id not in self._tasks:
            raise InputError(
                f"{place}: the file has {len(self._tasks)} tasks, and nothing says of which of them it is; export each "
                "task by itself"
            )
        return self._tasks.get(task_id, self._task)

    def _video_of(self, task: CvatTask) -> str:
        return task.named or without_outer_folders(self._folder)

    def _track(self, track: ElementTree.Element) -> Iterator[Label]:
        key, category = self._key(track), track.get("label")
        task = self._task_of(track, f"{self._shown}, track {key}")
        by_frame: dict[int, list[ElementTree.Element]] = {}
        for element in track:
            if element.tag in _SHAPES and element.get("keyframe", "1") == "1":
                try:
                    by_frame.setdefault(int(element.get("frame", "")), []).append(element)
                except ValueError as error:
                    raise InputError(f"{self._shown}, track {key}: a shape has no frame; export again") from error
        frames = sorted(by_frame)
        for frame, end in zip(frames, [*frames[1:], task.frames.stop], strict=False):
            elements = by_frame[frame]
            place = f"{self._shown}, track {key}, frame {frame}"
            inside = [element for element in elements if element.get("outside", "0") != "1"]
            if inside:
                self._shown_on.append((frame, end))
            try:
                shape = _shape(inside, task.size_hw)
            except ValueError as error:
                raise InputError(f"{place}: {error}; correct it in CVAT and export again") from error
            yield Label(
                self._video_of(task),
                LabelFrame(frame - task.offset - self._first_frame),
                key,
                shape,
                category,
                place=place,
            )

    def _image(self, image: ElementTree.Element) -> Iterator[Label]:
        name = image.get("name", "")
        place = f"{self._shown}, image {name!r}"
        task = self._task_of(image, place)
        folder, picture = video_and_picture(name)
        if "/" not in name and task.source:
            folder = task.source  # the frames of a film, which CVAT calls frame_000012
        size = (image.get("height", ""), image.get("width", ""))
        size_hw = (int(size[0]), int(size[1])) if size[0].isdecimal() and size[1].isdecimal() else task.size_hw
        frame = LabelFrame(file_name=picture)
        if task.offset and (of_film := _OF_FILM.fullmatch(name)):  # images have names of their own
            frame = LabelFrame(int(of_film[1]) - task.offset - self._first_frame)
        elements = [element for element in image if element.tag in _SHAPES]
        for number, (key, group) in enumerate(self._by_group(elements)):
            try:
                shape = _shape(group, size_hw)
            except ValueError as error:
                raise InputError(f"{place}, shape {number}: {error}; correct it in CVAT and export again") from error
            category = group[0].get("label")
            yield Label(folder or self._video_of(task), frame, key, shape, category, place=f"{place}, shape {number}")
        if not elements:
            yield Label(folder or self._video_of(task), frame, None, None, place=place)

    def _by_group(
        self, elements: list[ElementTree.Element]
    ) -> Iterator[tuple[ObjectKey | None, list[ElementTree.Element]]]:
        """Shapes of a picture by object: those of one group are one; others are objects by themselves.

        Shapes of a group with several labels, as a head and a body, are no parts of one thing. They stay apart and keep
        the key, so that whoever reads them tells that an object is on a frame twice.
        """
        groups: dict[tuple[ObjectKey, str | None], list[ElementTree.Element]] = {}
        for element in elements:
            key = self._object_of(element)
            if key is None:
                yield None, [element]
            else:
                groups.setdefault((key, element.get("label")), []).append(element)
        for (key, _), group in groups.items():
            yield key, group

    def _object_of(self, element: ElementTree.Element) -> ObjectKey | None:
        for attribute in element.iter("attribute"):
            if attribute.get("name") in ("track_id", "object_id", "instance_id") and attribute.text:
                return _number_or_text(attribute.text)
        group = element.get("group_id", "0")
        if not group.isdecimal() or group == "0":
            return None
        return f"group {group}" if self._is_of_export else int(group)

    def _key(self, track: ElementTree.Element) -> ObjectKey:
        """The attribute `object_id` of a track, if somebody gave it one, else its id."""
        told = track.find(".//attribute[@name='object_id']")
        if told is not None and told.text:
            return _number_or_text(told.text)
        track_id = track.get("id") or ""
        return f"track {track_id}" if self._is_of_export else _number_or_text(track_id)


def _number_or_text(key: str) -> ObjectKey:
    """An id; those of a job may be below 0."""
    return int(key) if key.removeprefix("-").isdecimal() else key


def _shape(elements: list[ElementTree.Element], size_hw: SizeHW | None) -> Shape | None:
    """One shape of the elements of an object on a frame: polygons and masks together are one mask, boxes one box."""
    kinds = {element.tag for element in elements}
    if not kinds:
        return None
    if others := kinds.intersection(_OTHERS):
        return LabelOther(min(others))
    if kinds == {"box"}:
        x0, y0, x1, y1 = zip(*map(_corners, elements), strict=True)
        return box_of([min(x0), min(y0), max(x1), max(y1)], "xyxy")
    if kinds == {"points"}:
        points = tuple((x, y) for element in elements for x, y in _points(element))
        return LabelPoints(points, (1,) * len(points))
    if not kinds <= {"polygon", "mask"}:
        raise ValueError(f"{' and '.join(sorted(kinds))} of one object on one frame")
    if size_hw is None:
        raise ValueError("the file does not say the size of the video; give size=[height,width]")
    rings = [
        [number for point in _points(element) for number in point] for element in elements if element.tag == "polygon"
    ]
    masks = [_mask(element, size_hw) for element in elements if element.tag == "mask"]
    if rings:
        masks.append(mask_of_polygons(rings, size_hw))
    if len(masks) == 1:
        return masks[0] if masks[0].area else None
    return mask_of_pixels(np.any([mask.decoded() for mask in masks], axis=0))


def _corners(element: ElementTree.Element) -> tuple[float, ...]:
    if _number(element.get("rotation", "0")):
        raise ValueError(f"a box is turned by {element.get('rotation')} degrees, and boxes are upright")
    return tuple(_number(element.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))


def _points(element: ElementTree.Element) -> Iterator[tuple[float, float]]:
    for point in filter(None, element.get("points", "").split(";")):
        x, _, y = point.partition(",")
        yield _number(x), _number(y)


def _number(text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError as error:
        raise ValueError(f"{text!r} is no number") from error
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no finite number")
    return number


def _mask(element: ElementTree.Element, size_hw: SizeHW) -> LabelMask:
    left, top, width, height = (int(_number(element.get(side))) for side in ("left", "top", "width", "height"))
    return mask_of_runs(element.get("rle", ""), (left, top, width, height), size_hw)
