"""Columns of millions of rows of which the driver asks for few: kept in a fraction of their bytes.

The addresses of ten million finished videos take 460 MB as texts, and a run that finds nothing to do reads none of
them. Where the rows of ten million videos lie would take 360 MB as numbers of 32 bits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Int64Array
from pipeline.ids import joined, joined_texts

_BLOCK_ROWS = 8_192
_NUM_UNPACKED = 4
_CODEC = "zstd"
_NULL = -1


@dataclass(frozen=True)
class _Block:
    """Texts, compressed: the length of each one, -1 for null, and then the letters of all."""

    num_rows: int
    num_bytes: int
    has_nulls: bool
    packed: bytes

    @staticmethod
    def of(parts: list[pa.Array]) -> _Block:
        is_null = np.concatenate([part.is_null().to_numpy(zero_copy_only=False) for part in parts])
        texts = joined_texts([pc.fill_null(part, "") for part in parts])
        lengths = np.asarray(pc.binary_length(texts)).astype(np.int32)
        lengths[is_null] = _NULL
        letters = texts.buffers()[2]
        data = lengths.tobytes() + (letters.to_pybytes() if letters is not None else b"")
        return _Block(len(texts), len(data), bool(is_null.any()), pa.compress(data, codec=_CODEC, asbytes=True))

    def texts(self) -> pa.Array:
        data = pa.decompress(self.packed, self.num_bytes, codec=_CODEC)
        lengths = np.frombuffer(data, np.int32, self.num_rows)
        ends = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0), dtype=np.int64)])
        is_valid = pa.py_buffer(np.packbits(lengths != _NULL, bitorder="little").tobytes())
        buffers = [is_valid, pa.py_buffer(ends), data.slice(lengths.nbytes)]
        return pa.Array.from_buffers(pa.large_string(), self.num_rows, buffers)


class PackedTexts:
    """A column of texts, some perhaps null, compressed in blocks. Rows near each other are unpacked once."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self._blocks = blocks
        self._ends = list(accumulate((block.num_rows for block in blocks), initial=0))
        self._unpacked = lru_cache(_NUM_UNPACKED)(partial(_texts_of, blocks))

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def num_blocks(self) -> int:
        """How many blocks there are: one of them is unpacked to read a text."""
        return len(self._blocks)

    @property
    def num_bytes(self) -> int:
        """Bytes of the compressed blocks."""
        return sum(len(block.packed) for block in self._blocks)

    def __getitem__(self, place: int) -> str | None:
        number = bisect_right(self._ends, place) - 1
        text: str | None = self._unpacked(number)[place - self._ends[number]].as_py()
        return text

    def take(self, places: Int64Array) -> pa.Array:
        """The texts of `M` rows, as large strings, `[M]`."""
        numbers = np.searchsorted(self._ends, places, side="right") - 1
        order = np.argsort(numbers, kind="stable")
        parts = [pa.array([], pa.large_string())]
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else ():
            number = int(numbers[group[0]])
            parts.append(self._unpacked(number).take(pa.array(places[group] - self._ends[number])))
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_arrays(parts).take(pa.array(back))

    def all(self) -> pa.Array:
        """The whole column, as large strings, `[N]`."""
        return pa.concat_arrays([pa.array([], pa.large_string()), *(block.texts() for block in self._blocks)])

    def between(self, first: int, last: int) -> pa.Array:
        """The texts of the rows `[first, last)`, as large strings."""
        return self.take(np.arange(first, min(last, len(self))))

    def find(self, texts: Sequence[str]) -> Int64Array:
        """Where any of these texts stands, ascending."""
        places = [np.empty(0, np.int64)]
        for first, block in zip(self._ends, self._blocks if texts else (), strict=False):
            is_there = pc.is_in(block.texts(), value_set=pa.array(texts, pa.large_string()))
            places.append(first + np.flatnonzero(is_there.to_numpy(zero_copy_only=False)))
        return np.concatenate(places)

    def num_after(self, text: str) -> int:
        """How many of the texts are greater than this one."""
        later = (pc.greater(block.texts(), pa.scalar(text, pa.large_string())) for block in self._blocks)
        return sum(pc.sum(part).as_py() or 0 for part in later)

    def null_places(self) -> Int64Array:
        """Where there is no text, ascending."""
        blocks = ((first, self._unpacked(n)) for n, first in enumerate(self._ends[:-1]) if self._blocks[n].has_nulls)
        found = [first + np.flatnonzero(part.is_null().to_numpy(zero_copy_only=False)) for first, part in blocks]
        return np.concatenate([np.empty(0, np.int64), *found])

    def chosen(self, which: BoolArray) -> PackedTexts:
        """The rows of a mask, `[N]`."""
        packer = TextPacker()
        for number, (first, last) in enumerate(pairwise(self._ends)):
            packer.add(self._unpacked(number).filter(pa.array(which[first:last])))
        return packer.finish()

    def with_others(self, places: Int64Array, others: Sequence[str]) -> PackedTexts:
        """With other texts at these places, which ascend."""
        packer = TextPacker()
        for number, (first, last) in enumerate(pairwise(self._ends)):
            begin, end = np.searchsorted(places, [first, last])
            mask = np.zeros(last - first, dtype=bool)
            mask[places[begin:end] - first] = True
            part = self._unpacked(number)
            packer.add(pc.replace_with_mask(part, mask, pa.array(others[begin:end], part.type)))
        return packer.finish()


class TextPacker:
    """Makes `PackedTexts` of texts that come in parts."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._waiting: list[pa.Array] = []
        self._num_waiting = 0

    def add(self, texts: pa.Array) -> None:
        """Append large strings."""
        for first in range(0, len(texts), _BLOCK_ROWS):
            part = texts.slice(first, _BLOCK_ROWS)
            self._waiting.append(part)
            self._num_waiting += len(part)
            if self._num_waiting >= _BLOCK_ROWS:
                self._pack()

    def finish(self) -> PackedTexts:
        """All that were added. Nothing is added after this."""
        self._pack()
        return PackedTexts(self._blocks)

    def _pack(self) -> None:
        if self._num_waiting:
            self._blocks.append(_Block.of(self._waiting))
        self._waiting, self._num_waiting = [], 0


def packed(parts: Iterable[pa.Array]) -> PackedTexts:
    """These strings, packed."""
    packer = TextPacker()
    for part in parts:
        packer.add(part.cast(pa.large_string()))
    return packer.finish()


def _texts_of(blocks: Sequence[_Block], number: int) -> pa.Array:
    return blocks[number].texts()


@dataclass(frozen=True)
class RowPlaces:
    """Where `N` rows, or runs of rows, lie in the files of a table: about 7 bytes each.

    A place is a file, a row group of it, and a row there. `groups` are the files and row groups, `[G, 2]`; `group_of`
    are places among them, `[N]`, and `rows` the first rows, `[N]`.
    """

    groups: npt.NDArray[np.int32]
    group_of: npt.NDArray[np.unsignedinteger[Any]]
    rows: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, which: BoolArray | Int64Array) -> RowPlaces:
        """Some of them: a mask, `[N]`, or their numbers in any order."""
        return RowPlaces(self.groups, self.group_of[which], self.rows[which])

    def with_others(self, places: Int64Array, others_M3: npt.NDArray[np.int32]) -> RowPlaces:
        """With other places for some: `others_M3` are file, row group and row of each."""
        new, number = np.unique(others_M3[:, :2], axis=0, return_inverse=True)
        group_of, rows = self.group_of.astype(np.uint32), self.rows.copy()
        group_of[places], rows[places] = len(self.groups) + number.ravel(), others_M3[:, 2]
        return RowPlaces(np.concatenate([self.groups, new]), narrow(group_of), rows)

    def at(self, place: int) -> tuple[int, int, int]:
        """Number of the file, row group and row of one."""
        file, row_group = self.groups[self.group_of[place]].tolist()
        return file, row_group, int(self.rows[place])


class PlaceCollector:
    """Makes `RowPlaces` of batches, each of which lies in one row group."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        self._group_of: list[npt.NDArray[np.uint32]] = [np.empty(0, np.uint32)]
        self._rows: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]

    def add(self, file: int, row_group: int, rows: Int64Array) -> None:
        """Append rows of a row group."""
        self._group_of.append(np.full(len(rows), self._number(file, row_group), np.uint32))
        self._rows.append(rows.astype(np.int32))

    def finish(self) -> RowPlaces:
        """All that were added. Nothing is added after this."""
        groups = np.array([*self._numbers], dtype=np.int32).reshape(-1, 2)
        return RowPlaces(groups, narrow(joined(self._group_of)), joined(self._rows))

    def _number(self, file: int, row_group: int) -> int:
        return self._numbers.setdefault((file, row_group), len(self._numbers))


def narrow(numbers: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The same numbers, none below 0, with as few bytes each as the greatest one needs."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))), copy=False)
