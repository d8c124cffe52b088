"""Finished videos in columns, about 75 bytes each, as they are read from a roll-up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ids import HexColumn, IdIndex, joined_texts
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


class _Hashes:
    """A `HexColumn` of at most `num_rows` rows, as it is filled. Pages of memory that no hash is in are never there."""

    def __init__(self, num_rows: int, num_words: int) -> None:
        self._words = np.zeros((num_rows, num_words), dtype=np.uint64)
        self._is_hex = np.zeros(num_rows, dtype=bool)
        self._others: dict[int, str] = {}
        self._any = False

    def put(self, first: int, texts: pa.Array) -> None:
        """Pack texts into the rows from `first` on."""
        part = HexColumn.of(texts, self._words.shape[1])
        if part.is_hex.any():
            self._any = True
            self._words[first : first + len(texts)], self._is_hex[first : first + len(texts)] = part.words, part.is_hex
        self._others |= {first + row: text for row, text in part.others.items()}

    def finish(self, num_rows: int) -> HexColumn:
        """The rows that were filled."""
        if not self._any:
            shape = (num_rows, self._words.shape[1])
            nothing = np.broadcast_to(np.zeros((1, shape[1]), np.uint64), shape)
            return HexColumn(nothing, np.broadcast_to(False, num_rows), self._others)
        return HexColumn(self._words[:num_rows], self._is_hex[:num_rows], self._others)


class Parts:
    """Columns of at most `num_rows` rows as they grow, batch after batch.

    All but the ids are written where they stay. Kept in parts and joined, ten million rows would take 250 MB more for a
    moment.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = 0
        self._ids: list[pa.Array] = []
        self._statuses = np.empty(num_rows, np.uint8)
        self._segments = np.empty(num_rows, np.int32)
        self._prompt_hashes, self._source_hashes = _Hashes(num_rows, 2), _Hashes(num_rows, 1)

    def add(self, batch: pa.RecordBatch, numbers: dict[str, int]) -> None:
        """Pack these rows; `numbers` are those of the segments that were met, by name."""
        first, self._num_rows = self._num_rows, self._num_rows + batch.num_rows
        rows = slice(first, self._num_rows)
        self._ids.append(batch.column("name").cast(pa.large_string()))
        self._statuses[rows] = _numbered(batch.column("status"), {status.value: code for status, code in CODES.items()})
        self._segments[rows] = _numbered(batch.column("segment"), numbers)
        self._prompt_hashes.put(first, batch.column("prompt_hash"))
        if "source_hash" in batch.schema.names:
            self._source_hashes.put(first, batch.column("source_hash"))

    def columns(self) -> Columns:
        """All rows that were added. Nothing is added after this."""
        if not self._ids:
            return no_columns()
        rows = slice(0, self._num_rows)
        return Columns(
            joined_texts(self._ids),
            self._statuses[rows],
            self._segments[rows],
            self._prompt_hashes.finish(self._num_rows),
            self._source_hashes.finish(self._num_rows),
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
