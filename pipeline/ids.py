"""Columns of ids and of hashes: how millions of them are kept, compared and found without an object for each.

An id that is looked for is found by a hash of 64 bits in a sorted column. Ids are compared after that, so that two ids
with one hash are no mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Int64Array, UInt64Array

N = TypeVar("N", bound=np.generic)

_ROWS_AT_A_TIME = 1 << 16
_WORD = 8
_MASKS = np.array([(1 << (8 * num_bytes)) - 1 for num_bytes in range(_WORD)] + [2**64 - 1], dtype=np.uint64)
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # odd constants of the splitmix64 generator
_ALL_BITS = 2**64 - 1
_NO_DIGIT = 255
_DIGITS = np.full(256, _NO_DIGIT, dtype=np.uint8)  # by letter: its value as a hexadecimal digit
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


class Texts(Sequence[str]):
    """A column of texts as a sequence: each one is made when it is asked for."""

    def __init__(self, column: pa.Array) -> None:
        """`column` has strings and no nulls."""
        self.column = column

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return Texts(self.column[place])
        text: str = self.column[place].as_py()
        return text

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self.column), _ROWS_AT_A_TIME):
            yield from self.column[first : first + _ROWS_AT_A_TIME].to_pylist()


def joined(parts: list[npt.NDArray[N]]) -> npt.NDArray[N]:
    """These arrays, at least one, in one. They are dropped one by one, so that memory holds no part twice."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=parts[0].dtype)
    last = len(whole)
    while parts:
        part = parts.pop()
        whole[last - len(part) : last] = part
        last -= len(part)
    return whole


def joined_texts(parts: list[pa.Array]) -> pa.Array:
    """These columns of large strings in one, as `joined` does it: with short offsets, unless it has 2 GB of letters."""
    num_rows, has_nulls = sum(map(len, parts)), any(part.null_count for part in parts)
    lengths = [_ends(part) for part in parts]
    num_bytes = sum(int(ends[-1] - ends[0]) for ends in lengths)
    is_small = num_bytes < 2**31
    offsets = np.empty(num_rows + 1, dtype=np.int32 if is_small else np.int64)
    data = np.empty(num_bytes, dtype=np.uint8)
    is_valid = np.ones(num_rows if has_nulls else 0, dtype=bool)
    offsets[num_rows] = num_bytes
    row, place = num_rows, num_bytes
    while parts:
        part, ends = parts.pop(), lengths.pop()
        row, place = row - len(part), place - int(ends[-1] - ends[0])
        offsets[row : row + len(part)] = ends[:-1] - ends[0] + place
        if ends[-1] > ends[0]:
            data[place : place + ends[-1] - ends[0]] = np.frombuffer(part.buffers()[2], np.uint8)[ends[0] : ends[-1]]
        if has_nulls:
            is_valid[row : row + len(part)] = part.is_valid().to_numpy(zero_copy_only=False)
    valid = pa.py_buffer(np.packbits(is_valid, bitorder="little").tobytes()) if has_nulls else None
    kind = pa.string() if is_small else pa.large_string()
    return pa.Array.from_buffers(kind, num_rows, [valid, pa.py_buffer(offsets), pa.py_buffer(data)])


def _ends(texts: pa.Array) -> Int64Array:
    """Where the bytes of each of `N` large strings begin, and where the last one ends, `[N + 1]`."""
    if not len(texts):
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]


def hashes(column: pa.Array) -> UInt64Array:
    """A hash of each of `N` strings, `[N]`. Those of nulls mean nothing."""
    found = np.empty(len(column), dtype=np.uint64)
    for first in range(0, len(column), _ROWS_AT_A_TIME):
        part = column[first : first + _ROWS_AT_A_TIME].cast(pa.large_string())
        found[first : first + len(part)] = _hashes(part)
    return found


def hash_of(text: str) -> int:
    """The hash of one string: the same as `hashes` gives it."""
    data = text.encode()
    found = len(data)
    for first in range(0, len(data), _WORD):
        found = _mixed_one(found ^ int.from_bytes(data[first : first + _WORD], "little"))
    return found


def _hashes(texts: pa.Array) -> UInt64Array:
    data, ends = texts.buffers()[2], _ends(texts)
    lengths = np.diff(ends)
    found = lengths.astype(np.uint64)
    if data is None or not ends[-1] - ends[0]:
        return found
    padded = np.concatenate([np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], np.zeros(_WORD, np.uint8)])
    words = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))  # the word that begins at each byte
    starts = ends[:-1] - ends[0]
    for place in range(0, int(lengths.max()), _WORD):
        live = slice(None) if lengths.min() > place else np.flatnonzero(lengths > place)
        word = words[starts[live] + place] & _MASKS[np.minimum(lengths[live] - place, _WORD)]
        found[live] = _mixed(found[live] ^ word)
    return found


def _mixed(values: UInt64Array) -> UInt64Array:
    """Each value with its bits spread over all places (the last steps of splitmix64)."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(_FIRST)
    values ^= values >> np.uint64(27)
    values *= np.uint64(_SECOND)
    values ^= values >> np.uint64(31)
    return values


def _mixed_one(value: int) -> int:
    value = (value ^ value >> 30) * _FIRST & _ALL_BITS
    value = (value ^ value >> 27) * _SECOND & _ALL_BITS
    return value ^ value >> 31


def are_of(keys: Collection[tuple[str, int]], video_ids: Sequence[str], object_ids: Sequence[int]) -> BoolArray:
    """Which of `N` tracks are among these, by video and object, `[N]`."""
    every = zip(video_ids, object_ids, strict=True)
    return np.fromiter((key in keys for key in every), np.bool_, len(video_ids))


class IdIndex:
    """Finds the places of ids in a column of `N` ids, in which each stands once. 12 bytes an id beside the column.

    The hashes are sorted when an id is looked for out of the order of the column: tables of one job mostly have their
    rows in one order, and to sort ten million takes 5 seconds.
    """

    def __init__(self, column: pa.Array) -> None:
        self.column = column
        self._following = 0

    @cached_property
    def _by_hash(self) -> tuple[UInt64Array, npt.NDArray[np.int32]]:
        """All hashes, ascending, and the place of each."""
        found = hashes(self.column)
        order = np.argsort(found, kind="stable").astype(np.int32)
        found.sort()
        return found, order

    def same_hashes(self) -> Int64Array:
        """Places of ids that share their hash with another one, ascending: those that may stand in several rows."""
        if pc.all(pc.less(self.column[:-1], self.column[1:])).as_py() is not False and not self.column.null_count:
            return np.empty(0, dtype=np.int64)  # they ascend, so that none stands twice
        in_order, order = self._by_hash
        same = in_order[1:] == in_order[:-1]
        both = np.zeros(len(in_order), dtype=bool)
        both[1:] |= same
        both[:-1] |= same
        return np.sort(order[both]).astype(np.int64)

    def find(self, wanted: pa.Array) -> Int64Array:
        """The place of each of `M` ids, `[M]`; -1 for an id that is not there, and for null."""
        found = np.empty(len(wanted), dtype=np.int64)
        for first in range(0, len(wanted), _ROWS_AT_A_TIME):
            part = wanted[first : first + _ROWS_AT_A_TIME].cast(self.column.type)
            found[first : first + len(part)] = self._find(part)
        return found

    def find_one(self, wanted: str) -> int:
        """The place of an id; -1 if it is not there."""
        value = hash_of(wanted)
        in_order, order = self._by_hash
        view = memoryview(in_order.data)
        low, high = 0, len(view)
        while low < high:
            middle = (low + high) // 2
            if view[middle] < value:
                low = middle + 1
            else:
                high = middle
        while low < len(view) and view[low] == value:
            place = int(order[low])
            if self.column[place].as_py() == wanted:
                return place
            low += 1
        return -1

    def _find(self, texts: pa.Array) -> Int64Array:
        if not len(self.column):
            return np.full(len(texts), -1, dtype=np.int64)
        values = hashes(texts)
        places = self._in_order(values)
        if places is None:
            in_order, places_in_order = self._by_hash
            order = np.argsort(values)
            near = np.minimum(np.searchsorted(in_order, values[order]), len(in_order) - 1)
            places = np.empty(len(values), dtype=np.int64)
            places[order] = places_in_order[near]
        is_right = pc.fill_null(pc.equal(self.column.take(pa.array(places)), texts), False)
        wrong = np.flatnonzero(~is_right.to_numpy(zero_copy_only=False))
        same_hash = hashes(self.column.take(pa.array(places[wrong]))) == values[wrong]
        places[wrong] = -1
        for row in wrong[same_hash].tolist():  # another id has the same hash, or this one is null
            text = texts[row].as_py()
            places[row] = -1 if text is None else self.find_one(text)
        return places

    def _in_order(self, values: UInt64Array) -> Int64Array | None:
        """The places if these ids stand in the column in this order, each perhaps several times; else None.

        Tables of one job mostly have their rows in one order, where no place has to be looked for.
        """
        steps = np.cumsum(np.diff(values, prepend=values[:1]) != 0)
        for first in (self._following, self._following + 1):
            places = steps + first
            if not len(places) or places[-1] >= len(self.column):
                continue
            there = hashes(self.column[first : int(places[-1]) + 1])
            if (there[steps] == values).all():
                self._following = int(places[-1])
                return np.asarray(places, dtype=np.int64)
        return None


def _words_of_digits(texts: pa.Array, size: int) -> UInt64Array | None:
    """The bits of texts that all are `size` lower-case hexadecimal digits, `[N, W]`; `None` if one is not."""
    if texts.null_count or not len(texts):
        return None
    ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if (np.diff(ends) != size).any():
        return None
    digits = _DIGITS[np.frombuffer(texts.buffers()[2], np.uint8)[ends[0] : ends[-1]]]
    if (digits == _NO_DIGIT).any():
        return None
    return ((digits[0::2] << 4) | digits[1::2]).view(np.uint64).reshape(len(texts), -1)


@dataclass(frozen=True)
class HexColumn:
    """A column of `N` texts most of which are hexadecimal digits of one length: hashes, in half of the bytes.

    `words` are their bits, `[N, W]`; `is_hex` says of which rows, `[N]`. The other rows are empty, or in `others`.
    """

    words: UInt64Array
    is_hex: npt.NDArray[np.bool_]
    others: dict[int, str]

    @staticmethod
    def of(texts: pa.Array | pa.ChunkedArray, num_words: int) -> HexColumn:
        """The column of these texts, in which those of `16 · num_words` lower-case digits are packed."""
        size = 16 * num_words
        words = np.zeros((len(texts), num_words), dtype=np.uint64)
        is_hex = np.zeros(len(texts), dtype=bool)
        others: dict[int, str] = {}
        first = 0
        for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
            for begin in range(0, len(chunk), _ROWS_AT_A_TIME):
                part = chunk[begin : begin + _ROWS_AT_A_TIME].cast(pa.string())
                if (plain := _words_of_digits(part, size)) is not None:
                    words[first : first + len(part)], is_hex[first : first + len(part)] = plain, True
                    first += len(part)
                    continue
                fits = pc.fill_null(pc.match_substring_regex(part, f"^[0-9a-f]{{{size}}}$"), False)
                places = np.flatnonzero(fits.to_numpy(zero_copy_only=False))
                digits = "".join(part.take(pa.array(places)).to_pylist())
                words[first + places] = np.frombuffer(bytes.fromhex(digits), np.uint64).reshape(-1, num_words)
                is_hex[first + places] = True
                if len(places) < len(part):
                    rest = pc.and_(pc.invert(fits), pc.greater(pc.fill_null(pc.binary_length(part), 0), 0))
                    others.update((first + row, part[row].as_py()) for row in pc.indices_nonzero(rest).to_pylist())
                first += len(part)
        return HexColumn(words, is_hex, others)

    @staticmethod
    def joined(parts: list[HexColumn]) -> HexColumn:
        """The rows of all these columns, at least one. They are dropped; where all are empty, no memory is needed."""
        others: dict[int, str] = {}
        first = 0
        for part in parts:
            others |= {first + place: text for place, text in part.others.items()}
            first += len(part.is_hex)
        words, is_hex = [part.words for part in parts], [part.is_hex for part in parts]
        parts.clear()
        if not any(part.any() for part in is_hex):
            nothing = np.zeros((1, words[0].shape[1]), dtype=np.uint64)
            return HexColumn(np.broadcast_to(nothing, (first, nothing.shape[1])), np.broadcast_to(False, first), others)
        return HexColumn(joined(words), joined(is_hex), others)

    @staticmethod
    def scattered(parts: Sequence[tuple[HexColumn, Int64Array]], num_rows: int, num_words: int) -> HexColumn:
        """A column whose rows at the places of each part are those of the part; the others are empty."""
        if len(parts) == 1 and len(parts[0][1]) == num_rows:
            return parts[0][0]
        words, is_hex = np.zeros((num_rows, num_words), dtype=np.uint64), np.zeros(num_rows, dtype=bool)
        others: dict[int, str] = {}
        for part, places in parts:
            words[places], is_hex[places] = part.words, part.is_hex
            others |= {int(places[row]): text for row, text in part.others.items()}
        return HexColumn(words, is_hex, others)

    def __getitem__(self, place: int) -> str:
        if self.is_hex[place]:
            return bytes(self.words[place].data).hex()
        return self.others.get(place, "")

    def has_text(self) -> npt.NDArray[np.bool_]:
        """Which rows are not empty, `[N]`."""
        has = np.array(self.is_hex)
        has[list(self.others)] = True
        return has

    def equals(self, other: HexColumn) -> npt.NDArray[np.bool_]:
        """Which rows are the same text in another column of as many rows and words, `[N]`."""
        same: npt.NDArray[np.bool_] = (self.words == other.words).all(axis=1) & (self.is_hex == other.is_hex)
        for place in self.others.keys() | other.others.keys():
            same[place] = self[place] == other[place]
        return same

    def take(self, places: Int64Array) -> HexColumn:
        """The rows at these places; an empty text where the place is -1."""
        if not len(self.is_hex):
            return HexColumn(np.zeros((len(places), self.words.shape[1]), np.uint64), np.zeros(len(places), bool), {})
        there = places >= 0
        others = {}
        if self.others:
            rows = np.flatnonzero(np.isin(places, list(self.others)))
            others = {row: self.others[place] for row, place in zip(rows.tolist(), places[rows].tolist(), strict=True)}
        words = self.words[places]
        words[~there] = 0
        return HexColumn(words, self.is_hex[places] & there, others)

    def to_strings(self) -> pa.Array:
        """The texts again."""
        size = 16 * self.words.shape[1]
        parts = []
        for first in range(0, len(self.is_hex), _ROWS_AT_A_TIME):
            part = self.words[first : first + _ROWS_AT_A_TIME]
            digits = np.frombuffer(part.tobytes().hex().encode(), np.uint8)
            is_hex = self.is_hex[first : first + len(part)]
            lengths = np.where(is_hex, size, 0)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            kept = digits if is_hex.all() else digits.reshape(len(part), size)[is_hex].ravel()
            parts.append(pa.StringArray.from_buffers(len(part), pa.py_buffer(offsets), pa.py_buffer(kept.tobytes())))
        texts = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
        if self.others:
            mask = np.zeros(len(texts), dtype=bool)
            mask[list(self.others)] = True
            texts = pc.replace_with_mask(
                texts, mask, pa.array([self.others[p] for p in sorted(self.others)], pa.string())
            )
        return texts


@dataclass(frozen=True)
class Known:
    """What a log says of `N` videos, in columns: which it has, which are `ok`, and of which prompts these are."""

    is_known: npt.NDArray[np.bool_]
    is_ok: npt.NDArray[np.bool_]
    prompt_hashes: HexColumn
