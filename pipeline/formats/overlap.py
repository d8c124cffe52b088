"""One object a pixel: masks painted over each other in an order that is chosen, and what each of them loses by it.

Legend: H, W pixels of the video as displayed; h, w those of a mask's box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.formats.rows import MaskRow
from pipeline.masks.crop import box_pixels, rle_of_box

UInt16Array = npt.NDArray[np.uint16]
Order = Literal["score", "id", "refuse"]


def paint(
    rows: Sequence[MaskRow], numbers: Mapping[int, int], size_hw: tuple[int, int], order: Order
) -> tuple[UInt16Array, dict[int, int]]:
    """Labels `[H, W]` of one frame, 0 where no object is, and by object how many of its pixels another one got.

    `numbers` are the labels by object id. Raises `ConfigError` where masks overlap and the order is `refuse`.
    """
    labels_HW = np.zeros(size_hw, np.uint16)
    lost: dict[int, int] = {}
    objects = {number: object_id for object_id, number in numbers.items()}
    for row in painting_order(rows, order):
        left, top, width, height = row.bbox_xywh
        mask_hw = box_pixels(row.rle, row.bbox_xywh)
        labels_hw = labels_HW[top : top + height, left : left + width]
        counts = np.bincount(labels_hw[mask_hw])
        for number in (1 + np.flatnonzero(counts[1:])).tolist():
            below, count = objects[number], counts[number]
            if order == "refuse":
                raise ConfigError(
                    f"frame {row.frame_index}: the masks of objects {min(row.object_id, below)} and "
                    f"{max(row.object_id, below)} overlap on {count} pixels, and overlap=refuse; give overlap=score or "
                    "overlap=id, which say whose they are"
                )
            lost[below] = lost.get(below, 0) + int(count)
        labels_hw[mask_hw] = numbers[row.object_id]
    return labels_HW, lost


def painting_order(rows: Sequence[MaskRow], order: Order) -> list[MaskRow]:
    """The visible masks of a frame, the lowest first: each covers those before it."""
    visible = [row for row in rows if row.area]
    return sorted(visible, key=_score if order == "score" else _id, reverse=True)


def _score(row: MaskRow) -> tuple[float, int]:
    """Sorted in reverse: the lowest score is painted first, and of two that are equal the higher id."""
    return -row.object_score, row.object_id


def _id(row: MaskRow) -> int:
    return row.object_id


def without_overlaps(
    rows: Sequence[MaskRow], size_hw: tuple[int, int], order: Order
) -> Iterator[tuple[MaskRow, MaskRow]]:
    """Each visible row with what is left of it when every pixel has one owner, as RLE.

    For formats that say masks one by one and forbid overlaps.
    """
    if not _boxes_meet(rows):
        yield from ((row, row) for row in rows if row.area)
        return
    numbers = {row.object_id: number for number, row in enumerate(rows, 1)}
    labels_HW, lost = paint(rows, numbers, size_hw, order)
    for row in rows:
        if not row.area:
            continue
        if not lost.get(row.object_id):
            yield row, row
            continue
        left, top, width, height = row.bbox_xywh
        shown_hw = labels_HW[top : top + height, left : left + width] == numbers[row.object_id]
        code = rle_of_box(shown_hw, (left, top), size_hw)
        rle = {"size": row.rle["size"], "counts": code.counts}
        yield row, row._replace(rle=rle, area=code.area, bbox_xywh=code.bbox_xywh)


def _boxes_meet(rows: Sequence[MaskRow]) -> bool:
    """Whether two of the boxes share a pixel."""
    boxes_N4 = np.array([row.bbox_xywh for row in rows if row.area]).reshape(-1, 4)
    low_N2, high_N2 = boxes_N4[:, :2], boxes_N4[:, :2] + boxes_N4[:, 2:]
    meets_NN = (low_N2[:, None] < high_N2).all(axis=2)
    return bool((meets_NN & meets_NN.T).sum() > len(boxes_N4))
