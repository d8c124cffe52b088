"""Whether a document says what was written of it before, and which of the objects that were added it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipeline.elsewhere.comparing import AddedObject, Change
from pipeline.masks.rle import decode_rle
from pipeline.reviews.corrections import Kind
from pipeline.reviews.history import Row

_SAME_OBJECT = 0.5  # from this IoU on, an added object is one that was added before
_SAME_PIXELS = 0.05  # corners of boxes, which travel as percent


def says_the_same(before: Row, row: Mapping[str, Any]) -> bool:
    """Whether a row that is wanted is the one that was written. A box made the mask, so that it stands for it."""
    if any(before[name] != row.get(name) for name in ("kind", "split_from", "category")):
        return False
    if row["kind"] != Kind.MASK:
        return True
    if row["box_xyxy"] is not None:
        return _same_box(before["box_xyxy"], row["box_xyxy"])
    return before["box_xyxy"] is None and before["mask_rle"]["counts"] == row["counts"]


def _same_box(before: list[float] | None, now: Iterable[float]) -> bool:
    return before is not None and bool(np.allclose(before, list(now), atol=_SAME_PIXELS))


def known_as(one: AddedObject, before: Mapping[int, Mapping[int, Row]], size_hw: tuple[int, int]) -> int | None:
    """The id that an added object got when an earlier document was taken in."""
    best, found = 0.0, None
    for object_id, rows in before.items():
        shared = [(rows[frame], change) for frame, change in one.changes.items() if frame in rows]
        alike = max((_likeness(row, change, size_hw) for row, change in shared), default=0.0)
        if alike > best:
            best, found = alike, object_id
    return found if best >= _SAME_OBJECT else None


def _likeness(row: Row, change: Change, size_hw: tuple[int, int]) -> float:
    if change.box_xyxy is not None:
        return float(_same_box(row["box_xyxy"], change.box_xyxy))
    if change.counts is None or row["mask_rle"] is None:
        return 0.0
    one, other = decode_rle(size_hw, change.counts), decode_rle(size_hw, row["mask_rle"]["counts"])
    either = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / either if either else 0.0
