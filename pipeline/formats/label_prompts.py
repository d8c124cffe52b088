"""Labels of other formats become a table of prompts: matched with videos, chosen, numbered, written.

Labels stream through: of each a few numbers stay in memory, and what it says goes to a file on local disk until it is
known which of them are chosen. The table is written at the end, whole.
"""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from model import BoxPrompt, PointPrompt
from pipeline.arrays import Int64Array
from pipeline.errors import InputError
from pipeline.formats.choosing import NO_OBJECT, LabelColumns, choose, every_of, num_doubled, videos_with_several_frames
from pipeline.formats.label import (
    Label,
    LabelBox,
    LabelCrowd,
    LabelMask,
    LabelOther,
    LabelPoints,
    LabelPolygons,
    Shape,
)
from pipeline.formats.label_spool import LabelSpool, Spooled, SpooledShape
from pipeline.formats.label_videos import LabelVideos, names_shown
from pipeline.formats.object_numbers import ids_of_labels, ids_of_objects
from pipeline.formats.prompt_values import prompt_values
from pipeline.inputs.boxes import FractionBox
from pipeline.inputs.detections import MOST_SCORE
from pipeline.inputs.write import prompts_table, write_tables
from pipeline.storage.uris import StorageOptions
from pipeline.text import ProgressLine, counted

_FURTHER = ("pts_seconds", "video_key", "object_key", "score", "stability", "source")

_EMPTY = "hidden, without area, or of frames without labels"
_OUTSIDE = "outside of their pictures, where a job would fail their objects"

_NAMED = 2

UnknownVideos = Literal["refuse", "skip"]


@dataclass(frozen=True)
class Wishes:
    """Which labels become prompts, and which kind: keys of `pipeline.prompts`, which explains them."""

    frames: str = "first"
    kind: str = "best"
    min_score: float | None = None
    min_area: float | None = None
    categories: tuple[str, ...] = ()
    video: str | None = None
    first_frame: int = 0
    unknown_videos: UnknownVideos = "refuse"


@dataclass
class Account:
    """What became of the labels that were read.

    `first_outside` says of the first one outside of its picture why. `named` are the first two names of videos that
    the format has where `video=` says which one is meant.
    """

    num_read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    num_prompts: int = 0
    num_objects: int = 0
    num_videos: int = 0
    warnings: list[str] = field(default_factory=list)
    first_outside: str = ""
    named: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Destination:
    """Where the table goes, and a folder on local disk for what waits."""

    uri: str
    storage_options: StorageOptions | None
    folder: Path


def write_prompts(labels: Iterable[Label], videos: LabelVideos, wishes: Wishes, to: Destination) -> Account:
    """Write the table of prompts that these labels make.

    Raises `InputError` for a label that cannot be meant, naming file, entry and remedy, and where none is left. Nothing
    is written then.
    """
    every_of(wishes.frames)
    account = Account()
    spool = LabelSpool(to.folder)
    seen_categories: set[str] = set()
    with contextlib.closing(ProgressLine(None, "label")) as line:
        for label in labels:
            line.advance(1)
            account.num_read += label.object_key is not None or label.shape is not None
            if label.category is not None:
                seen_categories.add(label.category)
            taken = _taken(label, videos, wishes, account)
            if taken is not None:
                spool.add(taken)
    columns = spool.finish()
    _check_categories(wishes.categories, seen_categories)
    _check_any_left(account, len(spool))
    if wishes.min_score is not None and not np.isfinite(columns.scores).any():
        raise InputError("min_score: no label has a score; leave min_score out")
    if too_high := _scores_of_another_scale(columns, spool, wishes.min_score):
        account.warnings.append(too_high)
    _check_loose(columns, wishes.frames, spool)
    chosen = choose(columns, wishes.frames)
    if doubled := num_doubled(columns):
        account.warnings.append(
            f"{counted(doubled, 'label')} of an object and frame that another label has too: the one with the highest "
            "score, or else the largest, counts"
        )
    if several := spool.categories.warning():
        account.warnings.append(several)
    if others := len(columns.objects) - len(chosen) - doubled:
        account.left_out[f"on frames that frames={wishes.frames} does not take"] += others
    _warn_of_numbers(columns, videos, account)
    account.num_objects, account.num_videos = _num_objects(columns, chosen)
    account.num_prompts = write_tables(to.uri, _tables(spool, columns, chosen, wishes, videos), to.storage_options)
    return account


def _taken(label: Label, videos: LabelVideos, wishes: Wishes, account: Account) -> Spooled | None:
    """The label as it is kept; None if it becomes no prompt, which the account then counts."""
    reason = _reason_to_leave_out(label, wishes)
    if reason:
        account.left_out[reason] += 1
        return None
    try:
        name = wishes.video or label.video
        if wishes.video and label.video and label.video not in account.named and len(account.named) < _NAMED:
            account.named.append(label.video)
        video_id = videos.id_of(name)
        if video_id is None:
            if wishes.unknown_videos == "skip":
                account.left_out["of videos that videos= lacks"] += 1
                return None
            raise ValueError(videos.unknown(name))
        frame_index = videos.frame_index(video_id, label.frame, wishes.first_frame)
        shape, area = _fitted(label, video_id, videos)
    except ValueError as error:
        raise InputError(f"{label.place}: {error}") from error
    if shape is None:
        account.left_out[_EMPTY] += 1
        return None
    if outside := _outside(label.shape, video_id, videos):
        account.left_out[_OUTSIDE] += 1
        account.first_outside = account.first_outside or f"{label.place}: {outside}"
        return None
    if wishes.min_area is not None and not area >= wishes.min_area:
        if area != area:
            raise InputError(
                f"{label.place}: min_area counts pixels, and a box in fractions has none without videos=; give videos="
            )
        account.left_out["smaller than min_area"] += 1
        return None
    pts_seconds = label.frame.pts_seconds if frame_index is None else None
    return Spooled(
        video_id,
        frame_index,
        pts_seconds,
        label.object_key,
        shape,
        label.category,
        label.score,
        area,
        label.place,
        label.seed,
    )


def _reason_to_leave_out(label: Label, wishes: Wishes) -> str:
    if label.shape is None:
        return _EMPTY
    if isinstance(label.shape, LabelOther):
        return f"of shape {label.shape.kind}, which says neither a mask nor a box"
    if isinstance(label.shape, LabelCrowd):
        return "of a crowd (iscrowd=1), which is no one object: crowd=take takes each as one"
    if wishes.categories and label.category not in wishes.categories:
        return "of other categories"
    if wishes.min_score is not None and (label.score is None or label.score < wishes.min_score):
        return "below min_score, or without a score"
    return ""


def _fitted(label: Label, video_id: str, videos: LabelVideos) -> tuple[SpooledShape | None, float]:
    """The shape in the video's pixels, where they are known, and its area; None for one that covers no pixel.

    Raises `ValueError` for a mask of another size.
    """
    shape = label.shape
    assert shape is not None
    assert not isinstance(shape, LabelOther | LabelCrowd)
    needs_size = isinstance(shape, LabelMask | LabelPolygons) or (isinstance(shape, LabelBox) and shape.is_fraction)
    facts = videos.facts(video_id) if needs_size else None
    if isinstance(shape, LabelPolygons):
        if facts is None:
            raise ValueError(
                "a polygon in fractions needs the size of its picture; give videos=, or size=[height,width]"
            )
        shape = shape.mask(facts.size_hw)
        if shape is None:
            return None, 0.0
    if isinstance(shape, LabelMask):
        if facts is not None and facts.size_hw != shape.size_hw:
            raise ValueError(
                f"the mask is {list(shape.size_hw)} pixels (height, width), and video {video_id!r} is "
                f"{list(facts.size_hw)}; label the video at its own size, or name the right video"
            )
        return shape, float(shape.area)
    if isinstance(shape, LabelBox):
        x0, y0, x1, y1 = shape.xyxy
        scale = 1.0
        if shape.is_fraction:
            scale = float("nan") if facts is None else float(facts.size_hw[0] * facts.size_hw[1])
        return shape, (x1 - x0) * (y1 - y0) * scale
    return shape, 0.0


def _outside(shape: Shape | None, video_id: str, videos: LabelVideos) -> str:
    """Why a job could not prompt the video with this box or these clicks; empty if it could, or no size is known."""
    if not isinstance(shape, LabelBox | LabelPoints) or (facts := videos.facts(video_id)) is None:
        return ""
    try:
        if isinstance(shape, LabelPoints):
            PointPrompt(shape.points_xy, shape.labels).fit(facts.size_hw)
        elif shape.is_fraction:
            FractionBox(shape.xyxy).in_pixels(facts.size_hw).clamped(facts.size_hw)
        else:
            BoxPrompt(shape.xyxy).clamped(facts.size_hw)
    except ValueError as error:
        return str(error)
    return ""


def _check_categories(wanted: Iterable[str], seen: set[str]) -> None:
    for name in wanted:
        if name not in seen:
            close = difflib.get_close_matches(name, seen, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(
                f"categories: no label is of category {name!r}; there are {names_shown(sorted(seen))}{hint}"
            )


def _check_any_left(account: Account, num_left: int) -> None:
    if num_left:
        return
    if not account.num_read:
        raise InputError("from: there is no label in it; check the path, and that format= is what was written there")
    told = ", ".join(f"{count} {reason}" for reason, count in account.left_out.most_common())
    first = f" (the first is {account.first_outside})" if account.first_outside else ""
    raise InputError(f"no label is left of {account.num_read}: {told}{first}; ask for less")


def _scores_of_another_scale(columns: LabelColumns, spool: LabelSpool, min_score: float | None) -> str:
    """What to say of scores above 1 (percent, or what a detector calls so) that were held against a share of 1."""
    high = np.flatnonzero(columns.scores > MOST_SCORE)
    if min_score is None or not 0 < min_score <= 1 or not len(high):
        return ""
    ((first,),) = spool.rows(high[:1])
    return (
        f"{counted(len(high), 'label')} with a score above 1, the first is {first['score']:g} ({first['place']}), and "
        f"all of them passed min_score={min_score:g}: give min_score on the scale of the scores"
    )


def _check_loose(columns: LabelColumns, frames: str, spool: LabelSpool) -> None:
    """Without objects, boxes of two frames may be the same thing, so that they would be two objects of one."""
    if frames in ("first", "best"):
        return
    several = videos_with_several_frames(columns)
    if len(several):
        name = spool.video_ids[int(several[0])]
        raise InputError(
            f"frames={frames}: nothing says which boxes of two frames are the same object (as in video {name!r}); give "
            "columns.object_id= if a column says it, or frames=first or best, which take one frame of each video; "
            "or give the table of boxes to conf=discover as detections=, which finds out"
        )


def _warn_of_numbers(columns: LabelColumns, videos: LabelVideos, account: Account) -> None:
    if account.first_outside:
        account.warnings.append(
            f"labels lie outside of their pictures, the first is {account.first_outside}; were they made at another "
            "size of the videos, or is box_format= another?"
        )
    if len(account.named) == _NAMED:
        account.warnings.append(
            f"the labels name several videos, {names_shown(account.named)} among them, and video= made one of all: "
            "objects of several videos are mixed if these are no names of one; leave video= out"
        )
    if videos.num_not_opened:
        account.warnings.append(
            f"{counted(videos.num_not_opened, 'video')} not opened: the sizes of their masks and the numbers of their "
            "frames are held against them when the job runs, or give check_videos="
        )
    if videos.cannot_be_opened:
        account.warnings.append(
            f"{counted(len(videos.cannot_be_opened), 'video')} cannot be opened, and will fail in a job: "
            f"{videos.cannot_be_opened[0]}"
        )
    if videos.has_ranges:
        account.warnings.append(
            "the table of videos has start_seconds: frame 0 of a job is the first frame of that range, and the numbers "
            "of these labels were taken as they are"
        )
    positions = columns.positions
    step = int(np.gcd.reduce(positions.astype(np.int64))) if videos.has_numbers_of_names else 1
    if step > 1 and len(np.unique(positions)) > 2:
        account.warnings.append(
            f"the numbers in the names of pictures are multiples of {step}, and were taken for numbers of frames: if "
            "the video is the folder of these pictures alone, name that folder by videos="
        )
    if len(positions) > 1 and positions.min() == 1 and len(np.unique(positions)) > 1:
        account.warnings.append(
            "no label is on frame 0 and some are on frame 1: if the format counts frames from 1, give first_frame=1"
        )


def _num_objects(columns: LabelColumns, chosen: Int64Array) -> tuple[int, int]:
    """How many objects the chosen labels are of, and how many videos. A label without an object is one by itself."""
    objects = columns.objects[chosen]
    known = np.unique(objects[objects != NO_OBJECT])
    return len(known) + int((objects == NO_OBJECT).sum()), len(np.unique(columns.videos[chosen]))


def _tables(
    spool: LabelSpool, columns: LabelColumns, chosen: Int64Array, wishes: Wishes, videos: LabelVideos
) -> Iterator[pa.Table]:
    """The table in parts, sorted by video, object and frame."""
    ids = ids_of_labels(columns, chosen, ids_of_objects(spool.object_keys))
    video_ids, names = spool.video_ids, videos.names_by_id()
    ranks = np.empty(len(video_ids), dtype=np.int64)
    ranks[sorted(range(len(video_ids)), key=video_ids.__getitem__)] = np.arange(len(video_ids))
    order = np.lexsort((columns.positions[chosen], ids, ranks[columns.videos[chosen]]))
    chosen, ids = chosen[order], ids[order]
    start = 0
    for rows in spool.rows(chosen):
        part = ids[start : start + len(rows)].tolist()
        start += len(rows)
        found = [_row(row, object_id, spool, wishes.kind, names) for row, object_id in zip(rows, part, strict=True)]
        # A table of prompts has one column of boxes.
        if spool.has_fractions:
            yield prompts_table(found, ("box_xyxyn", *_FURTHER)).drop_columns(["box_xyxy"])
        else:
            yield prompts_table(found, _FURTHER)


def _row(
    row: Mapping[str, Any], object_id: int, spool: LabelSpool, kind: str, names: Mapping[str, str]
) -> dict[str, Any]:
    video_id = spool.video_ids[row["video"]]
    try:
        values = prompt_values(row, kind, in_fractions=spool.has_fractions)
    except ValueError as error:
        raise InputError(f"{row['place']}: {error}") from error
    return {
        "video_id": video_id,
        "object_id": object_id,
        "frame_index": row["frame_index"],
        "pts_seconds": row["pts_seconds"],
        "category": row["category"],
        "video_key": names.get(video_id),
        "object_key": None if row["object"] < 0 else str(spool.object_keys[row["object"]][1]),
        "score": row["score"],
        "stability": row["stability"],
        "source": row["seed_source"] or row["place"],
        **values,
    }
