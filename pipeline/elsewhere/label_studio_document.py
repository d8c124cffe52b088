"""Label Studio's JSON export as it comes back: annotations of tasks whose regions went out as predictions.

A region keeps its id when a prediction becomes an annotation, and so do the data of its task. Fields of a region are
results with its id: `choices` for the verdict, `textarea` for the comment. Boxes are in percent, frames count from 1,
and `enabled: false` ends what shows at its item. An annotation is submitted: its author has seen the task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.elsewhere.returned import Author, Returned, ReturnedTrack, ReturnedVideo, SizeHW, State, Words
from pipeline.errors import InputError
from pipeline.formats.handing_out import COMMENT, HANDOUT, VERDICT, VERDICTS
from pipeline.formats.shape_text import box_text

_OBJECT = "object_"


def read_tasks(tasks: Any, shown: str, size_of: Any) -> Iterator[Returned]:
    """What each annotation says, the earlier ones first.

    `size_of` gives height and width of a video by handout and id, because boxes are in percent. Raises `InputError`
    naming task and region.
    """
    found = []
    for task in [tasks] if isinstance(tasks, Mapping) else tasks:
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            raise InputError(f"{shown}: it has no tasks with data; export as JSON, not as JSON-MIN")
        data, place = task["data"], f"{shown}, task {task.get('id', '?')}"
        handout, video = data.get(HANDOUT), data.get("video_id")
        if not handout or not video:
            raise InputError(
                f"{place}: its data do not say from which export it comes: export with review=true or queue=, and "
                "import that file as tasks"
            )
        for annotation in task.get("annotations") or ():
            author = _author(annotation, place)
            try:
                size = size_of(str(handout), str(video))
                returned = _video(annotation, str(video), place, size)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(f"{place}: {error!r}: none of Label Studio's annotations; export again") from error
            found.append(Returned(str(handout), (returned,), author))
    earliest = datetime.min.replace(tzinfo=UTC)
    return iter(sorted(found, key=lambda one: one.author.at or earliest))


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
    fields: dict[str, dict[str, str]] = defaultdict(dict)
    regions = []
    for result in annotation.get("result") or ():
        kind, value = result.get("type"), result.get("value") or {}
        if kind == "choices" and result.get("from_name") == VERDICT:
            fields[result["id"]][VERDICT] = str((value.get("choices") or [""])[0])
        elif kind == "textarea" and result.get("from_name") == COMMENT:
            text = value.get("text") or ()
            fields[result["id"]][COMMENT] = text if isinstance(text, str) else "; ".join(text)
        elif kind == "videorectangle":
            regions.append(result)
    tracks = tuple(_track(region, fields[region["id"]], place, size_hw) for region in regions)
    state = State.SKIPPED if annotation.get("was_cancelled") else State.DONE
    return ReturnedVideo(video, tracks, place, state=state)


def _track(region: Mapping[str, Any], said: Mapping[str, str], task: str, size_hw: SizeHW) -> ReturnedTrack:
    name, value = str(region["id"]), region["value"]
    place = f"{task}, region {name}"
    number = name.removeprefix(_OBJECT)
    is_ours = name.startswith(_OBJECT) and number.removeprefix("-").isdecimal()
    verdict = said.get(VERDICT, "")
    if verdict and verdict not in VERDICTS:
        raise InputError(f"{place}: verdict {verdict!r}: there are {', '.join(VERDICTS[1:])}")
    items = sorted(value["sequence"], key=lambda item: int(item["frame"]))
    return ReturnedTrack(
        object_id=int(number) if is_ours else None,
        labels=tuple(value.get("labels") or ()),
        shapes={int(item["frame"]): _box(item, place, size_hw) for item in items},
        place=place,
        words=Words(verdict, said.get(COMMENT, "").strip()),
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
