"""Label Studio's JSON export as it comes back: annotations of tasks whose regions went out as predictions.

A region keeps its id when a prediction becomes an annotation, and so do the data of its task. Fields of a region are
results with its id: `choices` for the verdict, `textarea` for the comment. Boxes are in percent, frames count from 1,
and `enabled: false` ends what shows at its item. An annotation is submitted: its author has seen the task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.elsewhere.label_studio_frames import (
    AnnotatedFrame,
    check_verdict,
    fields_of,
    object_of,
    returned_frames,
)
from pipeline.elsewhere.returned import Author, Returned, ReturnedTrack, ReturnedVideo, SizeHW, State, Words
from pipeline.errors import InputError
from pipeline.formats.handing_out import HANDOUT
from pipeline.formats.shape_text import box_text

_EARLIEST = datetime.min.replace(tzinfo=UTC)


SizeOf = Callable[[str, str], SizeHW]


def read_tasks(tasks: Any, shown: str, size_of: SizeOf) -> Iterator[Returned]:
    """What each annotation of a video says, the earlier ones first; of frames, what each author says of a video.

    `size_of` gives height and width of a video by handout and id, because boxes are in percent. Raises `InputError`
    naming task and region.
    """
    found: list[Returned] = []
    frames: dict[tuple[str, str, str | None], list[AnnotatedFrame]] = defaultdict(list)
    for task in [tasks] if isinstance(tasks, Mapping) else tasks:
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            raise InputError(f"{shown}: it has no tasks with data; export as JSON, not as JSON-MIN")
        data, place = task["data"], f"{shown}, task {task.get('id', '?')}"
        handout, video = str(data.get(HANDOUT) or ""), str(data.get("video_id") or "")
        if not handout or not video:
            raise InputError(
                f"{place}: its data do not say from which export it comes: export with review=true or queue=, and "
                "import that file as tasks"
            )
        for annotation in task.get("annotations") or ():
            author = _author(annotation, place)
            try:
                size_hw = size_of(handout, video)
                if "frame" in data:
                    of_frame = AnnotatedFrame(int(data["frame"]), annotation, author, place)
                    frames[handout, video, author.name].append(of_frame)
                else:
                    found.append(Returned(handout, (_video(annotation, video, place, size_hw),), author))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(f"{place}: {error!r}: none of Label Studio's annotations; export again") from error
    for (handout, video, _), annotated in frames.items():
        found.append(returned_frames(handout, video, annotated, size_of(handout, video)))
    return iter(sorted(found, key=lambda one: one.author.at or _EARLIEST))


def _author(annotation: Mapping[str, Any], place: str) -> Author:
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
    stamp = annotation.get("updated_at") or annotation.get("created_at")
    try:
        at = datetime.fromisoformat(stamp) if stamp else None
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {stamp!r} is no time; export again") from error
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    seconds = annotation.get("lead_time")
    return Author(None if who is None else str(who), at, None if seconds is None else float(seconds))


def _video(annotation: Mapping[str, Any], video: str, place: str, size_hw: SizeHW) -> ReturnedVideo:
    results = annotation.get("result") or ()
    fields = fields_of(results)
    regions = [result for result in results if result.get("type") == "videorectangle"]
    tracks = tuple(_track(region, fields.get(region["id"], Words()), place, size_hw) for region in regions)
    state = State.SKIPPED if annotation.get("was_cancelled") else State.DONE
    return ReturnedVideo(video, tracks, place, state=state)


def _track(region: Mapping[str, Any], words: Words, task: str, size_hw: SizeHW) -> ReturnedTrack:
    name, value = str(region["id"]), region["value"]
    place = f"{task}, region {name}"
    check_verdict(words, place)
    items = sorted(value["sequence"], key=lambda item: int(item["frame"]))
    return ReturnedTrack(
        object_id=object_of(name),
        labels=tuple(value.get("labels") or ()),
        shapes={int(item["frame"]): _box(item, place, size_hw) for item in items},
        place=place,
        words=words,
        spans=tuple(_spans(items, int(value.get("framesCount") or 0))),
    )


def _box(item: Mapping[str, Any], place: str, size_hw: SizeHW) -> str:
    if item.get("rotation"):
        raise InputError(f"{place}, frame {item['frame']}: the box is turned, and boxes are upright; draw it anew")
    height, width = size_hw
    x, y = float(item["x"]) * width / 100, float(item["y"]) * height / 100
    return box_text((x, y, x + float(item["width"]) * width / 100, y + float(item["height"]) * height / 100))


def _spans(items: Sequence[Mapping[str, Any]], num_frames: int) -> Iterator[tuple[int, int]]:
    """The frames on which a region shows, first and last of each stretch."""
    first: int | None = None
    last = 0
    for item in items:
        last = int(item["frame"])
        first = last if first is None else first
        if not item.get("enabled", True):
            yield first, last
            first = None
    if first is not None:
        yield first, max(last, num_frames)
