"""Rows of `masks` as whole tracks, a bounded number at a time, with numpy columns and reductions by track.

Legend: N rows, T tracks. Rows are sorted by video, object and frame, as every segment is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Float64Array, Int64Array

KEYS = ("video_id", "object_id")
_AT_LEAST = 1 << 15


@dataclass(frozen=True)
class TrackRows:
    """Rows of whole tracks. `starts` is the first row of each track, `[T]`; there is at least one."""

    table: pa.Table
    starts: Int64Array

    @cached_property
    def counts(self) -> Int64Array:
        """Rows of each track, `[T]`."""
        return np.diff(self.starts, append=self.table.num_rows)

    @cached_property
    def video_ids(self) -> list[str]:
        """The video of each track."""
        found: list[str] = self.table["video_id"].take(pa.array(self.starts)).to_pylist()
        return found

    @cached_property
    def object_ids(self) -> Int64Array:
        """The object of each track, `[T]`."""
        return np.asarray(self.column("object_id")[self.starts], np.int64)

    @cached_property
    def is_start(self) -> BoolArray:
        """Whether a row is the first one of its track, `[N]`."""
        found = np.zeros(self.table.num_rows, bool)
        found[self.starts] = True
        return found

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers or flags, `[N]`."""
        return np.asarray(self.table[name].to_numpy())

    def floats(self, name: str) -> Float64Array:
        """A column of numbers, `[N]`; nan where it is null, and everywhere if the rows lack it."""
        if name not in self.table.column_names:
            return np.full(self.table.num_rows, np.nan)
        return np.asarray(self.table[name].cast(pa.float64()).to_numpy(), np.float64)

    def repeated(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of tracks `[T]` for each of their rows, `[N]`."""
        return np.repeat(values, self.counts)

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sum of values `[N]` over each track, `[T]`."""
        found: npt.NDArray[Any] = np.add.reduceat(values, self.starts)
        return found

    def largest(self, values: Float64Array) -> tuple[Float64Array, Int64Array]:
        """The largest of values `[N]` of each track, and the first row that has it, both `[T]`."""
        most = np.maximum.reduceat(values, self.starts)
        rows = np.where(values == self.repeated(most), np.arange(len(values)), len(values))
        return most, np.minimum.reduceat(rows, self.starts)

    def quantile(self, values: Float64Array, share: float) -> tuple[Float64Array, Int64Array]:
        """What a share of the values `[N]` of each track are at most, and the row of the lowest, both `[T]`.

        Values of nan do not count; a track that has no other has nan and its first row.
        """
        tracks_N = np.repeat(np.arange(len(self.starts)), self.counts)
        order = np.lexsort((values, tracks_N))  # nan comes last
        num_known = self.sums(~np.isnan(values))
        places = self.starts + np.maximum(np.ceil(share * num_known).astype(np.int64) - 1, 0)
        found = values[order[places]]
        return np.where(num_known > 0, found, np.nan), np.where(num_known > 0, order[self.starts], self.starts)


def whole_tracks(batches: Iterable[pa.RecordBatch], at_least: int = _AT_LEAST) -> Iterator[TrackRows]:
    """Sorted rows as whole tracks. Rows of the last track of a batch wait for the next batch.

    About `at_least` rows are handed on together, because small segments give small batches.
    """
    waiting: list[pa.Table] = []
    num_waiting = 0
    for batch in batches:
        waiting.append(pa.Table.from_batches([batch]))
        num_waiting += batch.num_rows
        if num_waiting < at_least:
            continue
        rows = pa.concat_tables(waiting).combine_chunks()
        starts = _starts(rows)
        last = int(starts[-1])
        if last:
            yield TrackRows(rows.slice(0, last).combine_chunks(), starts[:-1])
        waiting, num_waiting = [rows.slice(last)], rows.num_rows - last
    if num_waiting:
        rows = pa.concat_tables(waiting).combine_chunks()
        yield TrackRows(rows, _starts(rows))


def _starts(rows: pa.Table) -> Int64Array:
    """The first row of each track, ascending."""
    is_new = np.zeros(rows.num_rows, bool)
    is_new[0] = True
    for key in KEYS:
        values = rows[key].combine_chunks()
        is_new[1:] |= pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy(zero_copy_only=False)
    return np.flatnonzero(is_new)
