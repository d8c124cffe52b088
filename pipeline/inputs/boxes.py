"""Boxes in the forms that people write them, turned into the two that the rest of the program knows.

A form is an order of four numbers and a unit. The order is `xyxy` (two corners), `xywh` (corner, width, height; as in
COCO) or `cxcywh` (center, width, height; as in YOLO). The unit is the pixel; a fraction of the frame's size where the
name ends in `n`; or a hundredth of it in `…_percent`. Pixels become column `box_xyxy`. Fractions and percent become
column `box_xyxyn`, because only the worker that opens a video knows its size.

Legend: N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from model import BoxPrompt

ORDERS = ("xyxy", "xywh", "cxcywh")
UNITS = {"": 1.0, "n": 1.0, "_percent": 100.0}
"""How many of a unit the frame is wide, by the end of the form's name. Pixels have no such number."""

FORMS = tuple(f"{order}{unit}" for unit in UNITS for order in ORDERS)

PIXELS, FRACTIONS = "box_xyxy", "box_xyxyn"
"""The columns that boxes become."""

BOX_TOLD = "told:box"
"""A column beside the standard ones: what tells the form of a row's box, for messages. It is the name of the column, as
`box_xywh`, or where that says nothing the form that `box_format` gives, as `xywh`."""

_ROUNDING = 1e-5  # of the frame; a fraction that is so little outside of 0..1 was rounded


@dataclass(frozen=True)
class FractionBox:
    """A box `x0, y0, x1, y1` in fractions of the frame's width and height; its clicks are in pixels."""

    box_xyxyn: tuple[float, ...]
    points_xy: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.in_pixels((1, 1))  # raises for what is no box at any size

    def in_pixels(self, size_hw: tuple[int, int]) -> BoxPrompt:
        """The box on a frame of that size, not yet checked against it. Raises `ValueError` for what is no box."""
        height, width = size_hw
        scales = (width, height, width, height)
        inside = (
            min(max(value, 0.0), 1.0) if -_ROUNDING < value < 1 + _ROUNDING else value for value in self.box_xyxyn
        )
        box = tuple(value * scale for value, scale in zip(inside, scales, strict=False))
        return BoxPrompt(box, self.points_xy, self.labels)  # type: ignore[arg-type]  # it checks the length

    def fit(self, size_hw: tuple[int, int]) -> BoxPrompt:
        """The box for a video of that size. Raises `ValueError` for a box or a point that lies outside of it."""
        return self.in_pixels(size_hw).fit(size_hw)

    @property
    def looks_like_pixels(self) -> bool:
        """Whether a number is above 1, as no fraction is."""
        return max(self.box_xyxyn) > 1 + _ROUNDING


def remedy(told: str, unit: str, order: str | None = None) -> str:
    """What to do where the boxes are in another unit (or order) than `told`, a value of `BOX_TOLD`, says."""
    form = f"{order or _order_of(form_of(told))}{unit}"
    return f"name the column box_{form}" if told.startswith("box_") else f"give box_format={form}"


def form_of(told: str) -> str:
    """The form in a value of `BOX_TOLD`."""
    return told.removeprefix("box_")


def as_in_table(corners: Sequence[float], told: str) -> str:
    """A box as its table has it, for messages, from two corners in pixels or fractions."""
    form = form_of(told)
    x0, y0, x1, y1 = corners
    order = _order_of(form)
    box = (x0, y0, x1, y1) if order == "xyxy" else (x0, y0, x1 - x0, y1 - y0)
    if order == "cxcywh":
        box = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    return f"({', '.join(f'{value * UNITS[unit_of(form)]:.6g}' for value in box)}) as {form}"


def unit_of(form: str) -> str:
    """The end of a form's name that says its unit."""
    return form.removeprefix(_order_of(form))


def target_column(form: str) -> str:
    """The column that boxes of a form become."""
    return FRACTIONS if unit_of(form) else PIXELS


def converted(boxes: pa.Array, form: str) -> pa.Array:
    """A column of boxes, `[N]` lists, as two corners in pixels or fractions. A list that is not of 4 stays as it is."""
    if form == "xyxy" or pa.types.is_null(boxes.type):
        return boxes
    lengths = pc.fill_null(pc.list_value_length(boxes), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pc.list_flatten(boxes).cast(pa.float64(), safe=False).fill_null(np.nan)
    values = flat.to_numpy(zero_copy_only=False).copy()
    starts = np.cumsum(lengths) - lengths
    places_N4 = starts[lengths == 4, None] + np.arange(4)
    values[places_N4] = _corners(values[places_N4], form) / UNITS[unit_of(form)]
    offsets = pa.array(np.append(starts, lengths.sum()), pa.int32(), mask=np.append(~_valid(boxes), False))
    return pa.ListArray.from_arrays(offsets, pa.array(values, pa.float64()))


def _order_of(form: str) -> str:
    return max((order for order in ORDERS if form.startswith(order)), key=len)


def _corners(boxes_N4: npt.NDArray[np.float64], form: str) -> npt.NDArray[np.float64]:
    order = _order_of(form)
    if order == "xyxy":
        return boxes_N4
    first_N2, size_N2 = boxes_N4[:, :2], boxes_N4[:, 2:]
    if order == "cxcywh":
        first_N2 = first_N2 - size_N2 / 2
    return np.concatenate([first_N2, first_N2 + size_N2], axis=1)


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid
