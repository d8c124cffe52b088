"""Labels on their way to a table of prompts: the numbers in memory, masks and boxes in a file on local disk.

A million detections are five arrays of numbers, about 40 bytes each, until it is known which of them are chosen.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.arrays import Int64Array
from pipeline.formats.choosing import NO_OBJECT, LabelColumns
from pipeline.formats.label import LabelBox, LabelMask, LabelPoints, LabelSeed, ObjectKey
from pipeline.text import counted

_BATCH_ROWS = 8192

_SCHEMA = pa.schema(
    [
        pa.field("video", pa.int32()),
        pa.field("object", pa.int64()),
        pa.field("frame_index", pa.int64()),
        pa.field("pts_seconds", pa.float64()),
        pa.field("category", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("place", pa.string()),
        pa.field("seed_source", pa.string()),
        pa.field("stability", pa.float64()),
        pa.field("size_hw", pa.list_(pa.int32())),
        pa.field("counts", pa.string()),
        pa.field("box", pa.list_(pa.float64())),
        pa.field("is_fraction", pa.bool_()),
        pa.field("points", pa.list_(pa.list_(pa.float64()))),
        pa.field("point_labels", pa.list_(pa.int32())),
    ]
)

SpooledShape = LabelMask | LabelBox | LabelPoints


class Spooled(NamedTuple):
    """A label whose video and frame are known. `area` is in pixels, NaN where it is not known."""

    video_id: str
    frame_index: int | None
    pts_seconds: float | None
    object_key: ObjectKey | None
    shape: SpooledShape
    category: str | None
    score: float | None
    area: float
    place: str
    seed: LabelSeed | None = None


class ObjectCategories:
    """Objects whose labels name several categories, 8 bytes an object: how many, and one of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._firsts = array("q")
        self._several: set[int] = set()
        self._example = ""

    def add(self, number: int, label: Spooled) -> None:
        """Look at a label of the object with this number; numbers come one after the other."""
        if number == len(self._firsts):
            self._firsts.append(NO_OBJECT)
        if not label.category:
            return
        category = self._numbers.setdefault(label.category, len(self._numbers))
        first = self._firsts[number]
        if first == NO_OBJECT:
            self._firsts[number] = category
        elif category != first:
            self._several.add(number)
            if not self._example:
                names = list(self._numbers)
                self._example = (
                    f"as object {label.object_key!r} of video {label.video_id!r}: {names[first]!r}, then "
                    f"{label.category!r} ({label.place})"
                )

    def warning(self) -> str:
        """What is odd, for the user; empty where each object has one category."""
        if not self._several:
            return ""
        have = "has" if len(self._several) == 1 else "have"
        return (
            f"{counted(len(self._several), 'object')} {have} labels of several categories, {self._example}; an object "
            "has one, and of the prompts of an object the first by the alphabet counts: correct them, or choose with "
            "categories="
        )


class LabelSpool:
    """Labels in the order in which they were added. `folder` is on local disk and the caller's to delete."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "labels.arrow"
        self._file: Any = pa.OSFile(str(self._path), "wb")
        self._writer: Any = pa.ipc.new_file(self._file, _SCHEMA)
        self._rows: list[tuple[Any, ...]] = []
        self.has_fractions = False
        self._columns = {"videos": array("q"), "objects": array("q")}
        self._numbers = {"positions": array("d"), "scores": array("d"), "areas": array("d")}
        self._video_numbers: dict[str, int] = {}
        self._object_numbers: dict[tuple[int, ObjectKey], int] = {}
        self.categories = ObjectCategories()

    def __len__(self) -> int:
        return len(self._columns["videos"])

    def add(self, label: Spooled) -> None:
        """Take in a label."""
        video = self._video_numbers.setdefault(label.video_id, len(self._video_numbers))
        number = NO_OBJECT
        if label.object_key is not None:
            number = self._object_numbers.setdefault((video, label.object_key), len(self._object_numbers))
            self.categories.add(number, label)
        position = label.frame_index if label.frame_index is not None else label.pts_seconds
        self._columns["videos"].append(video)
        self._columns["objects"].append(number)
        self._numbers["positions"].append(float(position or 0))
        self._numbers["scores"].append(float("nan") if label.score is None else label.score)
        self._numbers["areas"].append(label.area)
        shape = label.shape
        self.has_fractions |= isinstance(shape, LabelBox) and shape.is_fraction
        mask, box, points = (
            (shape, None, None)
            if isinstance(shape, LabelMask)
            else (None, None, shape)
            if isinstance(shape, LabelPoints)
            else (None, shape, None)
        )
        self._rows.append(
            (
                video,
                number,
                label.frame_index,
                label.pts_seconds,
                label.category,
                label.score,
                label.place,
                label.seed.source if label.seed else None,
                label.seed.stability if label.seed else None,
                mask.size_hw if mask else None,
                mask.counts if mask else None,
                box.xyxy if box else None,
                box.is_fraction if box else None,
                points.points_xy if points else None,
                points.labels if points else None,
            )
        )
        if len(self._rows) == _BATCH_ROWS:
            self._flush()

    def finish(self) -> LabelColumns:
        """No more labels come: what is known of all of them."""
        self._flush()
        self._writer.close()
        self._file.close()
        videos, objects = (np.frombuffer(column, dtype=np.int64) for column in self._columns.values())
        positions, scores, areas = (np.frombuffer(column, dtype=np.float64) for column in self._numbers.values())
        return LabelColumns(videos, objects, positions, scores, areas)

    @cached_property
    def video_ids(self) -> list[str]:
        """The ids of videos by their numbers, once all labels are there."""
        return list(self._video_numbers)

    @cached_property
    def object_keys(self) -> Sequence[tuple[int, ObjectKey]]:
        """The number of the video and the key of each object, by the numbers of objects, once all labels are there."""
        return list(self._object_numbers)

    def rows(self, numbers: Int64Array, batch_rows: int = 4096) -> Iterator[list[Mapping[str, Any]]]:
        """The labels with these numbers, in this order, some at a time."""
        with pa.memory_map(str(self._path)) as mapped:
            batches = pa.ipc.open_file(mapped)
            for start in range(0, len(numbers), batch_rows):
                yield _taken(batches, numbers[start : start + batch_rows])

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))
            self._rows = []


def _taken(batches: Any, numbers: Int64Array) -> list[Mapping[str, Any]]:
    """Rows of a file of batches, of which all but the last have the same length."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    parts = []
    for number in np.unique(ordered // _BATCH_ROWS).tolist():
        inside = ordered[ordered // _BATCH_ROWS == number] - number * _BATCH_ROWS
        parts.append(batches.get_batch(number).take(pa.array(inside)))
    rows = pa.Table.from_batches(parts).to_pylist()
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return [rows[place] for place in places.tolist()]
