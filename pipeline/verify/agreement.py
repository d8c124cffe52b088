"""How far two walks over the same frames agree: the one that labeled a track, and the one back to its prompt.

Legend: T frames that both walks have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array
from pipeline.quality.runs import intersections, read_runs

PARTED = 0.5
"""Below this IoU the masks of two walks are of two things."""


@dataclass(frozen=True)
class Agreement:
    """The mean IoU of both masks over the frames that both walks have seen, but for the one that the walk began with.

    `parting_frame`: the two agree from here on, and not on the frame before; None: they never part.
    """

    iou: float
    parting_frame: int | None


def agreement(labeled: pa.Table, walked: pa.Table, from_frame: int, size_hw: tuple[int, int]) -> Agreement | None:
    """Hold rows of `masks` of one track against those of its walk back from a frame; both sorted by frame.

    None where no other frame has a mask in both. Raises `ValueError` for codes that are not of masks of this size.
    """
    frames, here, there = np.intersect1d(labeled["frame_index"], walked["frame_index"], return_indices=True)
    is_seen = frames < from_frame
    if not is_seen.any():
        return None
    iou = _ious(labeled.take(here[is_seen]), walked.take(there[is_seen]), size_hw)
    apart = np.flatnonzero(iou < PARTED)
    later = np.append(frames[is_seen], from_frame)
    return Agreement(float(iou.mean()), int(later[apart[-1] + 1]) if len(apart) else None)


def _ious(a: pa.Table, b: pa.Table, size_hw: tuple[int, int]) -> Float64Array:
    """IoU of the masks of each row, `[T]`; 1 where both are empty."""
    runs = [read_runs(size_hw, _counts(rows)) for rows in (a, b)]
    common = intersections(*runs)
    union = runs[0].areas() + runs[1].areas() - common
    iou: Float64Array = np.where(union > 0, common / np.maximum(union, 1), 1.0)
    return iou


def _counts(rows: pa.Table) -> pa.Array:
    return pc.struct_field(rows["rle"].combine_chunks(), "counts")
