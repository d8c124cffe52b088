"""The rows of `masks` of one video, frame by frame, though they are stored object by object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds

_ROWS_AT_A_TIME = 16_384


class MaskRows(Protocol):
    """Where rows of `masks` of one video come from."""

    def __call__(self, columns: list[str], where: ds.Expression | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of the video in these columns, sorted by object, then frame."""


def rows_by_frame(
    rows: MaskRows, frame_indexes: Sequence[int], columns: Sequence[str], num_objects: int
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Each of these frames, ascending, with its rows by object; none for a frame without rows.

    Memory holds about 16,000 rows, whatever the length of the video, which is read once for each such part.
    """
    step = max(1, _ROWS_AT_A_TIME // max(1, num_objects))
    for start in range(0, len(frame_indexes), step):
        part = list(frame_indexes[start : start + step])
        found: dict[int, list[dict[str, Any]]] = {index: [] for index in part}
        field = ds.field("frame_index")
        where = (field >= part[0]) & (field <= part[-1])  # by which statistics rule out parts of files
        if part[-1] - part[0] + 1 > len(part):
            where = where & field.isin(part)
        for batch in rows([*columns, "frame_index"], where):
            for row in batch.to_pylist():
                found[row["frame_index"]].append(row)
        yield from found.items()
