"""What the scores of many objects come to: in all, by category, size, hidden share and length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array, Int64Array

SUMMARY = pa.schema(
    [
        pa.field("grouped_by", pa.string(), nullable=False),  # all, category, size, hidden or length
        pa.field("group", pa.string(), nullable=False),
        pa.field("num_objects", pa.int64(), nullable=False),  # with scored frames
        pa.field("num_frames", pa.int64(), nullable=False),  # scored, of all these objects
        pa.field("j", pa.float64()),  # mean over objects, 0 … 1
        pa.field("f", pa.float64()),
        pa.field("j_and_f", pa.float64()),
        pa.field("hota", pa.float64()),  # in the row of all, where it was asked for
        pa.field("det_a", pa.float64()),
        pa.field("ass_a", pa.float64()),
        pa.field("loc_a", pa.float64()),
    ]
)

NO_CATEGORY = "none"
"""The group of objects without a category."""

_SIZES = ((32**2, "small: below 32² pixels"), (96**2, "medium: below 96² pixels"), (np.inf, "large"))
_HIDDEN = ((0.0, "always visible"), (0.25, "up to 25 %"), (0.5, "up to 50 %"), (1.0, "above 50 %"))
_LENGTHS = ((30, "up to 30 frames"), (100, "up to 100 frames"), (300, "up to 300 frames"), (np.inf, "longer"))


def summarize(objects: pa.Table, hota: dict[str, float] | None = None) -> pa.Table:
    """The groups of `objects`, rows like `evaluation.OBJECTS`, as rows of `SUMMARY`. Sizes are those of COCO."""
    objects = objects.filter(pc.field("num_frames") > 0)
    rows = [_group("all", "all", objects) | (hota or {})]
    for name, (numbers, names) in _groups(objects).items():
        rows += [
            _group(name, names[number], objects.filter(pa.array(numbers == number)))
            for number in np.unique(numbers).tolist()
        ]
    return pa.Table.from_pylist(rows, SUMMARY)


def _groups(objects: pa.Table) -> dict[str, tuple[Int64Array, list[str]]]:
    """For each way to group: the number of each object's group, and the groups' names."""
    categories = pc.fill_null(objects["category"], NO_CATEGORY).combine_chunks().dictionary_encode()
    encoded = categories.chunk(0) if isinstance(categories, pa.ChunkedArray) else categories
    frames = _numbers(objects, "num_frames")
    return {
        "category": (np.asarray(encoded.indices), encoded.dictionary.to_pylist()),
        "size": _bins(np.nextafter(_numbers(objects, "true_area_mean"), np.inf), _SIZES),
        "hidden": _bins(_numbers(objects, "num_hidden") / frames, _HIDDEN),
        "length": _bins(_numbers(objects, "length"), _LENGTHS),
    }


def _bins(values: Float64Array, bins: tuple[tuple[float, str], ...]) -> tuple[Int64Array, list[str]]:
    """The first bin whose bound is not below the value; objects that never show have the size 0."""
    bounds = np.array([bound for bound, _ in bins])
    return np.searchsorted(bounds, np.nan_to_num(values), side="left"), [name for _, name in bins]


def _group(grouped_by: str, group: str, objects: pa.Table) -> dict[str, Any]:
    means = {name: pc.mean(objects[name]).as_py() for name in ("j", "f", "j_and_f")}
    total = {"num_objects": objects.num_rows, "num_frames": pc.sum(objects["num_frames"]).as_py() or 0}
    return {"grouped_by": grouped_by, "group": group} | total | means


def _numbers(objects: pa.Table, name: str) -> Float64Array:
    values: Float64Array = objects[name].cast(pa.float64()).to_numpy()
    return values


def summary_lines(summary: pa.Table) -> Iterator[str]:
    """The summary for a terminal; scores in percent, as papers print them."""
    rows = summary.to_pylist()
    names = [*(f"{row['grouped_by']}: {row['group']}" for row in rows[1:]), "all objects"]
    width = min(max(map(len, names)), 60)
    yield f"{'':<{width}}{'objects':>9}{'frames':>10}{'J&F':>8}{'J':>7}{'F':>7}"
    for row in rows:
        name = "all objects" if row["grouped_by"] == "all" else f"{row['grouped_by']}: {row['group']}"
        scores = "".join(f"{_percent(row[key]):>{size}}" for key, size in (("j_and_f", 8), ("j", 7), ("f", 7)))
        yield f"{name[:width]:<{width}}{row['num_objects']:>9}{row['num_frames']:>10}{scores}"
    first = rows[0]
    if first["hota"] is not None:
        yield "HOTA {hota}  DetA {det_a}  AssA {ass_a}  LocA {loc_a}".format(
            **{key: _percent(first[key]) for key in ("hota", "det_a", "ass_a", "loc_a")}
        )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
