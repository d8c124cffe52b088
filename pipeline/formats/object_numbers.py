"""Which `object_id` each object of other formats gets: the same for the same labels, whatever order they came in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count, islice

import numpy as np

from pipeline.arrays import Int64Array
from pipeline.formats.choosing import NO_OBJECT, LabelColumns
from pipeline.formats.label import ObjectKey

_MOST = (1 << 63) - 1
_NUMBER = re.compile(r"(\d+)")


def ids_of_objects(object_keys: Sequence[tuple[int, ObjectKey]]) -> Int64Array:
    """The id of each object within its video.

    Keys that are whole numbers are the ids, below 0 too, as a job may have them. Others count on from the largest of
    these, or from 1, in their natural order, so that `cup 2` comes before `cup 10`.
    """
    ids = np.zeros(len(object_keys), dtype=np.int64)
    by_video: dict[int, list[int]] = {}
    for number, (video, _) in enumerate(object_keys):
        by_video.setdefault(video, []).append(number)
    for numbers in by_video.values():
        told = {number: key for number in numbers if (key := _id_told_by(object_keys[number][1])) is not None}
        ids[list(told)] = list(told.values())
        others = [number for number in numbers if number not in told]
        ranked = sorted(others, key=lambda number: _natural(object_keys[number][1]))
        ids[ranked] = _free_ids(set(told.values()), len(ranked))
    return ids


def _id_told_by(key: ObjectKey) -> int | None:
    """The id that a key is; None for texts and for numbers that no id can be."""
    return key if isinstance(key, int) and abs(key) <= _MOST else None


def _free_ids(taken: set[int], num: int) -> list[int]:
    """Ids behind all that are taken, or where these leave no room the first ones that are free."""
    first = max(0, max(taken, default=0)) + 1
    if first + num <= _MOST:
        return list(range(first, first + num))
    return list(islice((number for number in count(1) if number not in taken), num))


def ids_of_labels(columns: LabelColumns, chosen: Int64Array, object_ids: Int64Array) -> Int64Array:
    """The object id of each chosen label. Detections without an object count on from the largest id of their video."""
    videos, objects = columns.videos[chosen], columns.objects[chosen]
    known = objects != NO_OBJECT
    ids = np.zeros(len(chosen), dtype=np.int64)
    ids[known] = object_ids[objects[known]]
    largest = np.zeros(int(columns.videos.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(largest, videos[known], ids[known])
    loose = np.flatnonzero(~known)
    order = loose[np.argsort(videos[loose], kind="stable")]
    sizes = np.bincount(videos[order], minlength=len(largest)) if len(order) else np.zeros(len(largest), np.int64)
    starts = np.cumsum(sizes) - sizes
    ids[order] = largest[videos[order]] + 1 + np.arange(len(order)) - starts[videos[order]]
    return ids


def _natural(key: ObjectKey) -> list[tuple[int, int, str]]:
    if isinstance(key, int):
        return [(0, key, "")]
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in _NUMBER.split(key) if part]
