"""Whether the coordinates of a whole table look like pixels. One small box says nothing; a thousand of them do.

A detector's boxes in fractions or percent are valid boxes in pixels, very small ones, so that nothing fails: the masks
are of other things.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array
from pipeline.inputs.boxes import FRACTIONS, PIXELS, remedy
from pipeline.text import counted

_ENOUGH_FOR_PERCENT = 10
"""Boxes after which it is odd that none leaves 0..100. A few objects may well stand in that corner."""


class Coordinates:
    """The largest coordinates of all rows that were added.

    `told` is what tells the form of all boxes (see `boxes.BOX_TOLD`); empty where the tables differ. `table` is
    the key that names the table.
    """

    def __init__(self, told: str = "", table: str = "prompts") -> None:
        self._told, self._table = told, table
        self._num = {PIXELS: 0, FRACTIONS: 0, "points_xy": 0}
        self._largest = dict.fromkeys(self._num, 0.0)
        self._has_part = dict.fromkeys(self._num, False)

    def add(self, rows: pa.RecordBatch) -> None:
        """Look at the boxes and points of some rows."""
        for name in self._num:
            column = rows.column(name)
            if pa.types.is_null(column.type) or column.null_count == len(column):
                continue
            values = _finite(column)
            self._num[name] += len(column) - column.null_count
            if len(values):
                self._largest[name] = max(self._largest[name], float(values.max()))
                self._has_part[name] |= bool((values != np.floor(values)).any())

    def warnings(self) -> Iterator[str]:
        """What is odd, for the user."""
        num, largest = self._num[PIXELS], self._largest[PIXELS]
        if num and 0 < largest <= 1:
            yield (
                f"no box in the {self._table} table ({counted(num, 'row')} with one) has a coordinate above 1: if they "
                f"are fractions of the frame, {self._remedy('n')}; now they count as pixels"
            )
        elif num >= _ENOUGH_FOR_PERCENT and largest <= 100 and self._has_part[PIXELS]:
            yield (
                f"no box in the {self._table} table ({num} rows with one) has a coordinate above 100: if they are "
                f"percent of the frame, {self._remedy('_percent')}; now they count as pixels"
            )
        if self._largest[FRACTIONS] > 2:
            yield (
                f"the largest coordinate of the boxes in the {self._table} table is {self._largest[FRACTIONS]:g} times "
                f"the frame: if they are pixels, {self._remedy('')}"
            )
        if self._num["points_xy"] and 0 < self._largest["points_xy"] <= 1 and self._has_part["points_xy"]:
            yield (
                f"no coordinate of the clicks in the {self._table} table is above 1, as if they were fractions of the "
                "frame: points_xy are pixels"
            )

    def _remedy(self, unit: str) -> str:
        return remedy(self._told, unit) if self._told else "name their columns so, or give another box_format"


def _finite(column: pa.Array) -> Float64Array:
    values = column
    while pa.types.is_nested(values.type):
        values = pc.list_flatten(values)
    if pa.types.is_null(values.type):
        return np.empty(0)
    numbers = values.drop_null().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers[np.isfinite(numbers)])
