"""Finished videos in columns, about 75 bytes each, as they are read from a roll-up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ids import HexColumn, IdIndex, joined, joined_texts
from pipeline.records import Status

STATUS_LIST = tuple(Status)
CODES = {status: code for code, status in enumerate(STATUS_LIST)}


@dataclass(frozen=True)
class Columns:
    """What a roll-up says of `N` videos: ids, codes of statuses, numbers of segments, and hashes."""

    ids: pa.Array
    statuses: npt.NDArray[np.uint8]
    segments: npt.NDArray[np.int32]
    prompt_hashes: HexColumn
    source_hashes: HexColumn

    @cached_property
    def index(self) -> IdIndex:
        """Finds the row of an id. Made when one is looked for, because many readers look for none."""
        return IdIndex(self.ids)


def no_columns() -> Columns:
    """Those of no video."""
    none = pa.nulls(0, pa.string())
    return Columns(
        none.cast(pa.large_string()),
        np.zeros(0, np.uint8),
        np.zeros(0, np.int32),
        HexColumn.of(none, 2),
        HexColumn.of(none, 1),
    )


@dataclass
class Parts:
    """Columns as they grow, batch after batch."""

    ids: list[pa.Array] = field(default_factory=list)
    statuses: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    segments: list[npt.NDArray[np.int32]] = field(default_factory=list)
    prompt_hashes: list[HexColumn] = field(default_factory=list)
    source_hashes: list[HexColumn] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, numbers: dict[str, int]) -> None:
        """Pack these rows; `numbers` are those of the segments that were met, by name."""
        self.ids.append(batch.column("name").cast(pa.large_string()))
        codes = _numbered(batch.column("status"), {status.value: code for status, code in CODES.items()})
        self.statuses.append(codes.astype(np.uint8))
        self.segments.append(_numbered(batch.column("segment"), numbers).astype(np.int32))
        self.prompt_hashes.append(HexColumn.of(batch.column("prompt_hash"), 2))
        has_sources = "source_hash" in batch.schema.names
        sources = batch.column("source_hash") if has_sources else pa.nulls(batch.num_rows, pa.string())
        self.source_hashes.append(HexColumn.of(sources, 1))

    def columns(self) -> Columns:
        """All rows that were added."""
        if not self.ids:
            return no_columns()
        return Columns(
            joined_texts(self.ids),
            joined(self.statuses),
            joined(self.segments),
            HexColumn.joined(self.prompt_hashes),
            HexColumn.joined(self.source_hashes),
        )


def _numbered(column: pa.Array, numbers: dict[str, int]) -> npt.NDArray[np.int64]:
    """The number of each of these names; names that have none get the next ones."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    names = encoded.dictionary.to_pylist()
    wanted = np.unique(indices)
    places = np.zeros(len(names), dtype=np.int64)
    for place in wanted.tolist():
        places[place] = numbers.setdefault(names[place], len(numbers))
    return np.asarray(places[indices])
