"""Rows of the prompts table to prompts of objects. A worker reads them, video by video.

Rows of one object on one frame become one prompt: their clicks are joined, and exact duplicates count once. Rows that
contradict each other (two boxes; a mask and something else) are an error of this object; the other objects of the video
are labeled all the same.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from model import BoxPrompt, PointPrompt
from pipeline.errors import TableChanged
from pipeline.inputs.boxes import BOX_TOLD, FRACTIONS, PIXELS, FractionBox, form_of, remedy
from pipeline.inputs.categories import several_categories
from pipeline.inputs.kept import kept_text
from pipeline.inputs.mask_prompts import RleMask, mask_prompt
from pipeline.inputs.naming import NamedColumns, Naming, kept_column
from pipeline.inputs.prompt_hash import PROMPT_COLUMNS, hash_of_rows
from pipeline.records import FramePosition, SeedFacts, WorkItem
from pipeline.storage.parquet import RowReader
from pipeline.storage.uris import StorageOptions
from pipeline.text import counted


def prompt_rows(naming: Naming | None = None) -> RowReader:
    """A reader of rows of prompts tables. It keeps up to 32 files open, remote ones with 4 MiB each in memory."""
    keep = map(kept_column, naming.keep if naming else ())
    columns = ("video_id", *PROMPT_COLUMNS, "category", BOX_TOLD, *keep)
    return RowReader(NamedColumns(columns, naming), batch_rows=4096, max_cursors=32, block_bytes=256 << 10)


SeedPrompt = PointPrompt | BoxPrompt | FractionBox | RleMask


@dataclass(frozen=True)
class ObjectPrompts:
    """The prompts of one object by frame, in order. If `error` says what is wrong with them, there are none.

    `kept` are further columns as JSON. `box_told` is what tells the form of its boxes in the tables, for messages (see
    `boxes.BOX_TOLD`); empty where they have several. `seed` says how a worker found it that no table names. `warning`
    says what is odd about its rows.
    """

    object_id: int
    category: str | None
    prompts: tuple[tuple[FramePosition, SeedPrompt], ...]
    error: str = ""
    kept: str | None = None
    box_told: str = field(default="", compare=False)
    seed: SeedFacts | None = None
    warning: str = field(default="", compare=False)


@dataclass(frozen=True)
class VideoPrompts:
    """All objects of one video, in order of their ids."""

    objects: tuple[ObjectPrompts, ...]

    @property
    def positions(self) -> tuple[FramePosition, ...]:
        """The positions of all prompts, each once, for `VideoFrames`."""
        return tuple(dict.fromkeys(frame for one in self.objects for frame, _ in one.prompts))


@dataclass(frozen=True)
class _Row:
    """One row, in a form in which rows that mean the same are equal."""

    points_xy: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]
    box_xyxy: tuple[float, ...]
    box_xyxyn: tuple[float, ...]
    mask: RleMask | None


def read_prompts(
    item: WorkItem,
    storage_options: StorageOptions | None = None,
    rows: RowReader | None = None,
    keep: Sequence[str] = (),
) -> VideoPrompts:
    """The prompts of one video. An object with a wrong prompt comes with an error instead of prompts.

    Args:
        item: the video, with the addresses of its rows in the prompts table.
        storage_options: those of the job.
        rows: the reader to use, from `prompt_rows`. It keeps its place in the table, so that the next video's rows
            are found without starting over. Left out, the table is opened and closed for this video alone.
        keep: further columns of objects, which `rows` must read too.

    Raises `TableChanged` if the rows do not say what they said when the item was planned, `StorageError` if storage
    does not answer.
    """
    with prompt_rows() if rows is None else contextlib.nullcontext(rows) as reader:
        found = [reader.read(span, storage_options) for span in item.prompts_at]
    batches = [batch for rows in found for batch in rows.to_batches()]
    if _hash(item, batches) != item.prompt_hash:
        raise TableChanged(item.prompts_at[0].file, f"the prompts of {item.video_id!r} are others, or elsewhere")
    return parse_prompts([row for batch in batches for row in batch.to_pylist()], keep)


def _hash(item: WorkItem, batches: list[pa.RecordBatch]) -> str | None:
    try:
        times = item.range
        return hash_of_rows(batches, times.start_seconds, times.end_seconds, times.cuts_seconds)
    except (pa.ArrowException, ValueError):
        return None  # the columns have other types than when the job was planned


def parse_prompts(rows: Sequence[dict[str, Any]], keep: Sequence[str] = ()) -> VideoPrompts:
    """Prompts from rows as `pyarrow` gives them; a row without `object_id` is left out. `keep` are further columns."""
    by_object: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["object_id"] is not None:
            by_object[row["object_id"]].append(row)
    return VideoPrompts(tuple(_object(object_id, by_object[object_id], keep) for object_id in sorted(by_object)))


def _object(object_id: int, rows: Sequence[dict[str, Any]], keep: Sequence[str]) -> ObjectPrompts:
    categories = {row["category"] for row in rows if row.get("category")}
    category, warning = min(categories, default=None), several_categories(categories)
    kept = kept_text(rows, keep)
    forms = {row.get(BOX_TOLD) or "" for row in rows if row.get(PIXELS) or row.get(FRACTIONS)}
    told = forms.pop() if len(forms) == 1 else ""
    by_frame: dict[FramePosition, set[_Row]] = defaultdict(set)
    errors = []
    for row in rows:
        try:
            parsed = _parse(row)
            by_frame[position_of(row)].add(parsed)
        except ValueError as error:
            errors.append(f"object {object_id}, {error}")
    prompts = []
    for position in sorted(by_frame, key=_position_order):
        try:
            prompts.append((position, _join(by_frame[position], told)))
        except ValueError as error:
            errors.append(f"object {object_id}, {position}: {error}")
    if errors:
        return ObjectPrompts(object_id, category, (), "; ".join(sorted(set(errors))[:3]), kept)
    return ObjectPrompts(object_id, category, tuple(prompts), kept=kept, box_told=told, warning=warning)


def position_of(row: Mapping[str, Any]) -> FramePosition:
    """The frame that a row names. Raises `ValueError` for a row that names none."""
    frame_index, pts_seconds = row.get("frame_index"), row.get("pts_seconds")
    if frame_index is not None and not math.isnan(frame_index):
        if not math.isfinite(frame_index) or frame_index != int(frame_index) or frame_index < 0:
            raise ValueError(f"frame {frame_index}: frames are counted 0, 1, 2 …; correct frame_index")
        return FramePosition(int(frame_index), None)
    if pts_seconds is None:
        raise ValueError("a row has neither frame_index nor pts_seconds; give one of them")
    if not math.isfinite(pts_seconds) or pts_seconds < 0:
        raise ValueError(f"pts_seconds {pts_seconds}: expected a number of seconds from 0; correct pts_seconds")
    return FramePosition(None, float(pts_seconds))


def _position_order(position: FramePosition) -> tuple[bool, float]:
    by_time = position.frame_index is None
    return by_time, position.pts_seconds or 0.0 if by_time else float(position.frame_index or 0)


def _parse(row: dict[str, Any]) -> _Row:
    points = tuple(tuple(_number(value) for value in point or ()) for point in row.get("points_xy") or ())
    labels = tuple(-1 if label is None else int(label) for label in row.get("point_labels") or ())
    box, fractions = (tuple(_number(value) for value in row.get(name) or ()) for name in (PIXELS, FRACTIONS))
    parsed = _Row(points, labels, box, fractions, mask_prompt(row.get("mask_rle")))
    if not (points or labels or box or fractions or parsed.mask):
        raise ValueError(f"{position_of(row)}: the row has neither points, box nor mask; fill one in or remove the row")
    return parsed


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _join(rows: set[_Row], told: str) -> SeedPrompt:
    """One prompt from the rows of one object and frame. Raises `ValueError` for contradictions and wrong values."""
    for row in rows:
        if len(row.points_xy) != len(row.labels):
            raise ValueError(
                f"points_xy has {counted(len(row.points_xy), 'point')}, but point_labels has "
                f"{counted(len(row.labels), 'label')}; "
                "give each point a label"
            )
    masks = {row.mask for row in rows if row.mask is not None}
    boxes = {row.box_xyxy or row.box_xyxyn for row in rows if row.box_xyxy or row.box_xyxyn}
    clicks = [click for row in sorted(rows, key=repr) for click in zip(row.points_xy, row.labels, strict=True)]
    if masks:
        if len(masks) > 1 or boxes or clicks:
            raise ValueError(
                "contradictory prompts on one frame: a mask goes with no other mask, box or points; keep one of them"
            )
        return masks.pop()
    if len(boxes) > 1:
        raise ValueError(
            f"contradictory prompts on one frame: {len(boxes)} different boxes ({sorted(boxes)[:2]}); keep one box"
        )
    if len({point for point, _ in clicks}) < len(set(clicks)):
        raise ValueError("contradictory prompts on one frame: a point is labeled both 1 and 0; keep one label")
    points_xy: Any = tuple(point for point, _ in clicks)
    labels = tuple(label for _, label in clicks)
    if boxes:
        box: Any = boxes.pop()
        if any(row.box_xyxyn for row in rows):
            return FractionBox(box, points_xy, labels)
        return _box_prompt(box, points_xy, labels, told or "xyxy")
    return PointPrompt(points_xy, labels)


def _box_prompt(box: Any, points_xy: Any, labels: tuple[int, ...], told: str) -> BoxPrompt:
    try:
        return BoxPrompt(box, points_xy, labels)
    except ValueError as error:
        is_upside_down = len(box) == 4 and min(box[2:]) > 0 and (box[2] <= box[0] or box[3] <= box[1])
        if is_upside_down and form_of(told) == "xyxy":
            raise ValueError(f"{error}; if it is x, y, width, height, {remedy(told, '', 'xywh')}") from error
        raise
