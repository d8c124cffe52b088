"""Label Studio: tasks with video rectangles, from its JSON export or as predictions that are to be imported.

A rectangle is in percent of the frame and its frames count from 1. Only items of `sequence` were set by somebody; what
lies between two of them is interpolated there, and is not read. `enabled: false` ends the track at its item, which is
the last to show it. Tasks of our own exports say in `meta` which video it is, and what number the job's frame 0 has,
where that is not 1, or which frames have which numbers.
Source: labelstud.io/tags/video, `label_studio_sdk` `postprocessing/video.py`.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.errors import InputError
from pipeline.formats.json_stream import Entry, entries
from pipeline.formats.label import Label, LabelFrame, ObjectKey, ReadOptions
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.boxes import box_of
from pipeline.formats.readers.coco import annotation_files

_FIRST_FRAME = 1
_OBJECT = re.compile(r"object_(-?\d+)")
"""The id of a region that our own exports have made of an object."""


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all tasks, region by region. Annotations count; a task without them gives its predictions.

    Raises `InputError` naming the task and the region.
    """
    first = options.first_frame
    for name in annotation_files(files):
        shown = files.shown_name(name)
        with files.open(name) as file:
            task: dict[str, Any] = {}
            for entry in entries(file.read, shown):
                if entry.key is None:
                    yield from _task(entry.value, f"{shown}, {_task_name(entry)}", first)
                elif entry.number is None:
                    task[entry.key] = entry.value
                else:
                    task.setdefault(entry.key, []).append(entry.value)
            if task:
                yield from _task(task, f"{shown}, task {task.get('id', 0)}", first)


def _task_name(entry: Entry) -> str:
    task_id = entry.value.get("id") if isinstance(entry.value, Mapping) else None
    return f"task {entry.number if task_id is None else task_id}"


def _frame_of(task: Mapping[str, Any]) -> Callable[[int], int]:
    """The frame of the job by its number, as `meta` of tasks of our own exports tells it; of others the number less 1.

    Of a video with a variable rate it has frames with their numbers, from each of which on a difference holds.
    """
    meta = task.get("meta")
    told = meta if isinstance(meta, Mapping) else {}
    first = told.get("first_frame")
    steps = told.get("frames")
    if not isinstance(steps, list) or not steps:
        return _counted_from(first if isinstance(first, int) else _FIRST_FRAME)
    frames, numbers = [int(frame) for frame, _ in steps], [int(number) for _, number in steps]

    def frame_of(number: int) -> int:
        place = max(0, bisect_right(numbers, number) - 1)
        frame = frames[place] + number - numbers[place]
        return min(frame, frames[place + 1] - 1) if place + 1 < len(frames) else frame

    return frame_of


def _counted_from(first: int) -> Callable[[int], int]:
    return lambda number: number - first


def _id_of_video(task: Mapping[str, Any]) -> str:
    """The id of the video, of which tasks of our own exports say it; empty for tasks of others."""
    meta = task.get("meta")
    told = meta.get("video_id") if isinstance(meta, Mapping) else None
    return told if isinstance(told, str) else ""


def _task(task: Any, shown: str, first: int | None) -> Iterator[Label]:
    if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
        raise InputError(f"{shown}: it has no data with the address of a video; export as JSON, not JSON-MIN")
    is_ours = bool(_id_of_video(task))
    video = _id_of_video(task) or _video_of(task["data"])
    frame_of = _frame_of(task) if first is None else _counted_from(first)
    score = None
    given = _annotations(task, shown)
    if not given:
        given = list(task.get("predictions") or ())
    for annotation in given:
        score = annotation.get("score")
        for number, region in enumerate(annotation.get("result") or ()):
            if region.get("type") != "videorectangle":
                continue
            place = f"{shown}, region {region.get('id', number)}"
            try:
                for label in _region(region, number, video, frame_of, (region.get("score", score), place)):
                    yield replace(label, object_key=_object_of(label.object_key)) if is_ours else label
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
                raise InputError(f"{place}: {error!r} is no video rectangle; correct it and export again") from error


def _object_of(key: ObjectKey | None) -> ObjectKey | None:
    """The object of a region of our own exports; of one that somebody has added its key."""
    found = _OBJECT.fullmatch(key) if isinstance(key, str) else None
    return int(found[1]) if found else key


def _annotations(task: Mapping[str, Any], shown: str) -> list[Mapping[str, Any]]:
    """The annotation of a task that counts; none if nobody has made one.

    Each annotation is all that one person has drawn, so that of two of them each thing would be two objects. One that
    is marked as ground truth counts alone. Raises `InputError` where nothing says which one counts.
    """
    given = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
    drawn = [one for one in given if one.get("result")]
    true = [one for one in drawn if one.get("ground_truth")]
    counting = true or drawn
    if len(counting) > 1:
        raise InputError(
            f"{shown}: it has {len(counting)} annotations, and each thing would be as many objects; mark one of them "
            "as ground truth, or leave one"
        )
    return counting or given


def _region(
    region: Mapping[str, Any],
    number: int,
    video: str,
    frame_of: Callable[[int], int],
    told: tuple[float | None, str],
) -> Iterator[Label]:
    score, place = told
    value = region["value"]
    names = value.get("labels") or ()
    meta = region.get("meta") or {}
    key = meta.get("object_id", region.get("id", number)) if isinstance(meta, Mapping) else region.get("id", number)
    for item in value["sequence"]:
        frame = LabelFrame(frame_of(int(item["frame"])))
        if item.get("rotation"):
            raise ValueError(f"frame {item['frame']} is turned by {item['rotation']} degrees, and boxes are upright")
        box = box_of([float(item[side]) for side in ("x", "y", "width", "height")], "xywh_percent")
        category = str(names[0]) if names else None
        yield Label(video, frame, key, box, category, score, f"{place}, frame {item['frame']}")


def _video_of(data: Mapping[str, Any]) -> str:
    """The name of the video's file, from its address: that of local files has it in a query."""
    named = data.get("video_id")
    if isinstance(named, str):
        return named
    address = data.get("video") or next((one for one in data.values() if isinstance(one, str)), "")
    parts = urlsplit(str(address))
    inner = parse_qs(parts.query).get("d", [parts.path])[0]
    return posixpath.basename(unquote(inner))
