"""What the job and its reviewers say of one object near one frame: its prompts and its masks there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray
from pipeline.masks.rle import decode_rle
from pipeline.mending.clip_frames import ClipFrames
from pipeline.reviews.corrections import Correction
from pipeline.tables import JobTables

_NUM_WALKED = 3
_NUM_RECALLED = 6
_MOST_WALKED = 32  # from a corrected frame on, behind which the rows of the job are out of date
_MOST_PROMPTS = 8


@dataclass(frozen=True)
class End:
    """Where the job stops to follow an object: places `start` to before `stop`, with the reason at each end."""

    start: int = 0
    stop: int = 0
    before: str = ""
    behind: str = ""


@dataclass(frozen=True)
class KnownObject:
    """An object around a frame. Frames are places (see `ClipFrames`), masks bool `[H, W]`; `heading` is +1 or -1.

    `prompts` are the masks of prompted and corrected frames, empty where the object is hidden. `recalled` are masks of
    the frames before `walk_from`, from which a session walks to `place`. `here` is the mask that the frame has now. It
    is None where the object has none there, and where that of the job is out of date, because a frame before it was
    corrected (`is_behind_a_correction`): then the session walks from that frame on.
    """

    object_id: int
    place: int
    heading: int
    prompts: Mapping[int, BoolArray]
    recalled: Mapping[int, BoolArray]
    walk_from: int
    here: BoolArray | None
    is_behind_a_correction: bool = False


def look_up(
    job: JobTables, frames: ClipFrames, object_id: int, place: int, direction: str, said: Iterable[Correction]
) -> KnownObject:
    """What is known of an object around a place. `said` are the corrections of the video that count.

    A frame looks at the memories of the frames before it. A session walks the last 3 of them again, so that those
    memories are its own; the masks of the 6 frames before these come from the rows of the job. Behind a correction the
    rows are out of date: there the session walks from the corrected frame on, but through 32 frames at most. What is
    known of other shots counts for nothing here, because the job begins anew at each cut.
    Raises `NotInJob` for an object that failed.
    """
    shot = frames.shot(place)
    corrected = {
        frames.place_of(one.frame_index): frames.nothing() if one.rle is None else mask_of(one.rle)
        for one in said
        if one.object_id == object_id and frames.has(one.frame_index) and frames.place_of(one.frame_index) in shot
    }
    first_said = [at for at in _prompt_places(frames, object_id) if at in shot]
    prompted = sorted({*first_said, *(at for at, mask in corrected.items() if mask.any())})
    if not prompted:
        return KnownObject(object_id, place, 1, {}, {}, place, corrected.get(place))
    heading = _heading(direction, place, first_said or prompted)
    start = prompted[0] if heading > 0 else prompted[-1]
    before = [place - heading * distance for distance in range(1, (place - start) * heading)]
    fixed = next((number for number, at in enumerate(before) if at in corrected), None)
    if fixed is None and start in corrected and place != start:  # the object begins with a correction
        fixed = len(before)
    walked = before[: _NUM_WALKED if fixed is None else min(fixed + 1, _MOST_WALKED)]
    recalled: list[int] = []
    if fixed is None or fixed < _MOST_WALKED:
        recalled = list(takewhile(lambda at: at not in corrected, before[len(walked) :][:_NUM_RECALLED]))
    near = sorted({*prompted, *corrected}, key=lambda at: (abs(at - place), at))[:_MOST_PROMPTS]
    masks = _rows(job, frames, object_id, {place, *near, *recalled}) | corrected
    return KnownObject(
        object_id=object_id,
        place=place,
        heading=heading,
        prompts={at: mask for at in near if (mask := masks.get(at)) is not None},
        recalled={at: mask for at in recalled if (mask := masks.get(at)) is not None},
        walk_from=walked[-1] if walked else place,
        here=None if fixed is not None and place not in corrected else masks.get(place),
        is_behind_a_correction=fixed is not None,
    )


def find_end(frames: ClipFrames, object_id: int, place: int, said: Iterable[Correction]) -> End:
    """How far the job follows an object from a place: to the next cuts, and to where a reviewer has split its track."""
    shot = frames.shot(place)
    found = End(
        shot.start,
        shot.stop,
        "" if shot.start == 0 else "a cut begins here, and the job follows objects to cuts alone",
        "" if shot.stop == len(frames.indexes) else "a cut comes here, and the job follows objects to cuts alone",
    )
    for one in said:
        if one.split_from is None or one.rle is None or not frames.has(one.frame_index):
            continue
        at = frames.place_of(one.frame_index)
        if one.split_from == object_id and place < at < found.stop:
            why = f"object {one.object_id} begins here, because the track was split"
            found = replace(found, stop=at + 1, behind=why)
        elif one.object_id == object_id and found.start < at <= place:
            found = replace(found, start=at, before=f"the track of object {one.split_from} was split here")
    return found


def mask_of(rle: Mapping[str, Any]) -> BoolArray:
    """A mask, bool `[H, W]`, of its code. Raises `ValueError` for a wrong code."""
    height, width = rle["size"]
    return decode_rle((height, width), rle["counts"])


def _prompt_places(frames: ClipFrames, object_id: int) -> list[int]:
    """The places of the frames on which an object was prompted; none for an object that a reviewer has added."""
    if object_id not in frames.clip.object_ids:
        return []
    frames.clip.check_objects([object_id])
    said = frames.clip.track(object_id).row["prompt_frames"]
    return sorted(frames.place_of(index) for index in said if frames.has(index))


def _heading(direction: str, place: int, prompted: Collection[int]) -> int:
    """The direction of the walk that came to a place last."""
    if direction == "forward":
        return 1
    return -1 if direction == "backward" or place < min(prompted) else 1


def _rows(job: JobTables, frames: ClipFrames, object_id: int, places: Collection[int]) -> dict[int, BoolArray]:
    """The masks of an object in the job, by place; none on a frame without a row."""
    indexes = pa.array([frames.indexes[place] for place in sorted(places)], pa.int32())
    field = pc.field("frame_index")
    where = (pc.field("object_id") == object_id) & field.isin(indexes)
    rows = job.masks([frames.clip.video_id], columns=["frame_index", "rle"], where=where).to_table()
    return {frames.place_of(row["frame_index"]): mask_of(row["rle"]) for row in rows.to_pylist()}


def overlap(first: BoolArray, second: BoolArray) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = np.count_nonzero(first | second)
    return 1.0 if union == 0 else float(np.count_nonzero(first & second) / union)
