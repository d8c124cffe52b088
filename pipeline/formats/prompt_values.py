"""The columns of a prompt that a label becomes: its mask, the box around it, or a click well inside of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.arrays import Int64Array
from pipeline.errors import ConfigError
from pipeline.formats.label import LabelMask

KINDS = ("best", "box", "mask", "points")


def prompt_values(row: Mapping[str, Any], kind: str, *, in_fractions: bool = False) -> dict[str, Any]:
    """Columns of the table of prompts for a label of `label_spool`.

    `kind` is `box`, `mask`, `points`, or `best` for the most that the label says. Raises `ValueError` where the label
    has no such thing. With `in_fractions` boxes are fractions of the frame, because another label's box is.
    """
    counts, box, points = row["counts"], row["box"], row["points"]
    if counts is not None:
        mask = LabelMask(tuple(row["size_hw"]), counts)
        if kind == "box":
            return _box_of(mask, in_fractions=in_fractions)
        if kind == "points":
            return {"points_xy": [list(point_inside(mask))], "point_labels": [1]}
        return {"mask_rle": mask.rle}
    if kind == "mask":
        raise ValueError("it has no mask; give as=box or as=points, or leave as= out")
    if points is not None:
        if kind == "box":
            raise ValueError("it has clicks and no box; give as=points, or leave as= out")
        return {"points_xy": points, "point_labels": row["point_labels"]}
    if kind == "points":
        raise ValueError(
            "it has a box and no mask, and a box does not say which point in it is on the object; give as=box"
        )
    if in_fractions and not row["is_fraction"]:
        raise ValueError("its box is in pixels, and those of other labels are in fractions; import them by themselves")
    return {"box_xyxyn" if in_fractions else "box_xyxy": box}


def _box_of(mask: LabelMask, *, in_fractions: bool) -> dict[str, Any]:
    if not in_fractions:
        return {"box_xyxy": list(mask.box_xyxy)}
    height, width = mask.size_hw
    return {"box_xyxyn": [edge / side for edge, side in zip(mask.box_xyxy, (width, height) * 2, strict=True)]}


def point_inside(mask: LabelMask) -> tuple[float, float]:
    """The center (x, y) of the mask's pixel that is farthest from its border and from that of the picture.

    Of several such pixels it is the one nearest to the center of mass, then the first. Raises `ConfigError` if OpenCV,
    which measures the distances, is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ConfigError('as=points needs OpenCV: pip install "maskmill[export]"') from error

    left, top, right, bottom = map(int, mask.box_xyxy)
    inside_HW = np.pad(mask.decoded()[top:bottom, left:right], 1).astype(np.uint8)
    distances_HW = cv2.distanceTransform(inside_HW, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rows, columns = np.nonzero(distances_HW == distances_HW.max())
    center_y, center_x = (_mean_place(inside_HW.sum(axis=axis, dtype=np.int64)) for axis in (1, 0))
    nearest = ((rows - center_y) ** 2 + (columns - center_x) ** 2).argmin()
    return left + float(columns[nearest]) - 0.5, top + float(rows[nearest]) - 0.5


def _mean_place(counts: Int64Array) -> float:
    """The mean place of pixels of which so many lie at each."""
    return float(counts @ np.arange(len(counts)) / counts.sum())
