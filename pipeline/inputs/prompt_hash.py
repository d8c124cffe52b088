"""A hash of a video's prompts. When it differs from the hash in the commit log, the video is labeled again.

Rows that mean the same have the same hash: the order of rows, the width of numbers, null or empty lists and `category`
do not matter. A hash is made of the sum of its rows' digests, so 24 bytes a video suffice for any number of rows, and
the rows may come in any order from any shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Int64Array, UInt64Array

PROMPT_COLUMNS = (
    "object_id",
    "frame_index",
    "pts_seconds",
    "points_xy",
    "point_labels",
    "box_xyxy",
    "mask_rle",
    "box_xyxyn",
)
_VIDEOS_AT_A_TIME = 8192
_BY_INDEX, _BY_TIME, _NOWHERE = 0, 1, 2


def row_digests(rows: pa.RecordBatch) -> UInt64Array:
    """A digest of each row's `PROMPT_COLUMNS` in their canonical form: two 64-bit words, `[N, 2]`."""
    points = _column(rows, "points_xy")
    point_lengths, coordinates = _lengths(points), _flat(points)
    coordinate_lengths = _lengths(coordinates)
    size, counts = _mask_parts(_column(rows, "mask_rle"))
    pieces = [
        _Pieces.of_each_row(_fixed_part(rows)),
        _Pieces(point_lengths, coordinate_lengths.astype(np.int64)),
        _Pieces(_sums(coordinate_lengths, point_lengths), _floats(_flat(coordinates))),
        _list_pieces(_column(rows, "point_labels")),
        _list_pieces(_column(rows, "box_xyxy")),
        _list_pieces(size),
    ]
    lengths = np.stack([piece.lengths for piece in pieces], axis=1).astype(np.int64)
    pieces.append(_Pieces.of_each_row(lengths))
    fractions = _list_pieces(_column(rows, "box_xyxyn"))
    digests = bytearray()
    for number, mask in enumerate(counts.to_pylist()):
        digest = blake2b(digest_size=16)
        for piece in pieces:
            digest.update(piece.row(number))
        digest.update(mask or b"")
        if fractions.lengths[number]:  # rows without such a box keep the digests that earlier programs gave them
            digest.update(b"box_xyxyn")
            digest.update(fractions.row(number))
        digests += digest.digest()
    return np.frombuffer(bytes(digests), dtype="<u8").reshape(-1, 2)


class PromptHashes:
    """The hashes of many videos, by number, built up from their rows: 24 bytes per video."""

    def __init__(self, num_videos: int) -> None:
        self.num_rows = np.zeros(num_videos, dtype=np.int64)
        self._sums = np.zeros((num_videos, 2), dtype=np.uint64)

    def add(self, video_numbers: Int64Array, digests_N2: UInt64Array) -> None:
        """Add rows to their videos: `digests_N2[i]` is of a row of video `video_numbers[i]`."""
        np.add.at(self._sums, video_numbers, digests_N2)
        np.add.at(self.num_rows, video_numbers, 1)

    def hash_of(self, video_number: int, start_seconds: float | None, end_seconds: float | None) -> str:
        """32 hexadecimal digits; empty for a video without prompts.

        The range of time is part of the hash, because frame indexes are counted from its start.
        """
        sums = self._sums[video_number].tolist()
        return _video_hash(sums, int(self.num_rows[video_number]), start_seconds, end_seconds)

    def all_hashes(self, ranges_N2: npt.NDArray[np.float64]) -> Iterator[str]:
        """`hash_of` each video in turn; `ranges_N2` are start and end in seconds, NaN for none."""
        for first in range(0, len(self.num_rows), _VIDEOS_AT_A_TIME):
            part = slice(first, first + _VIDEOS_AT_A_TIME)
            columns = (self._sums[part].tolist(), self.num_rows[part].tolist(), ranges_N2[part].tolist())
            for sums, num_rows, times in zip(*columns, strict=True):
                start, end = (None if seconds != seconds else seconds for seconds in times)
                yield _video_hash(sums, num_rows, start, end)


def hash_of_rows(batches: Iterable[pa.RecordBatch], start_seconds: float | None, end_seconds: float | None) -> str:
    """The hash of one video from all of its rows; see `PromptHashes.hash_of`."""
    hashes = PromptHashes(1)
    for batch in batches:
        hashes.add(np.zeros(batch.num_rows, dtype=np.int64), row_digests(batch))
    return hashes.hash_of(0, start_seconds, end_seconds)


def _video_hash(sums: list[int], num_rows: int, start_seconds: float | None, end_seconds: float | None) -> str:
    if not num_rows:
        return ""
    return blake2b(repr([*sums, num_rows, start_seconds, end_seconds]).encode(), digest_size=16).hexdigest()


class _Pieces:
    """The values of a column of lists, row after row: row `i` has `lengths[i]` of them."""

    def __init__(self, lengths: Int64Array, values: npt.NDArray[np.generic]) -> None:
        self.lengths = lengths
        self._bytes = memoryview(values.tobytes())
        self._ends = (np.cumsum(lengths) * values.itemsize).tolist()
        self._starts = [0, *self._ends[:-1]]

    @staticmethod
    def of_each_row(values: npt.NDArray[np.generic]) -> _Pieces:
        """`K` values for each row: `[N, K]`."""
        return _Pieces(np.full(len(values), values.shape[1], dtype=np.int64), values)

    def row(self, number: int) -> memoryview:
        """The bytes of a row's values."""
        return self._bytes[self._starts[number] : self._ends[number]]


def _fixed_part(rows: pa.RecordBatch) -> Int64Array:
    """Of each row, `[N, 3]`: the object, whether a frame is named by index or time, and the frame (bits of a float)."""
    object_ids = pc.fill_null(_column(rows, "object_id").cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    frame_index = _column(rows, "frame_index").cast(pa.float64(), safe=False)
    pts_seconds = _column(rows, "pts_seconds").cast(pa.float64(), safe=False)
    has_index, has_time = pc.invert(frame_index.is_null(nan_is_null=True)), pts_seconds.is_valid()
    ways = pc.if_else(has_index, _BY_INDEX, pc.if_else(has_time, _BY_TIME, _NOWHERE))
    positions = _floats(pc.if_else(has_index, frame_index, pts_seconds))
    return np.stack([object_ids, ways.to_numpy(zero_copy_only=False), positions.view(np.int64)], axis=1)


def _column(rows: pa.RecordBatch, name: str) -> pa.Array:
    return rows.column(name) if name in rows.schema.names else pa.nulls(rows.num_rows)


def _list_pieces(lists: pa.Array) -> _Pieces:
    return _Pieces(_lengths(lists), _floats(_flat(lists)))


def _lengths(lists: pa.Array) -> Int64Array:
    if pa.types.is_null(lists.type):
        return np.zeros(len(lists), dtype=np.int64)
    lengths: Int64Array = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def _flat(lists: pa.Array) -> pa.Array:
    return pa.nulls(0) if pa.types.is_null(lists.type) else pc.list_flatten(lists)


def _floats(numbers: pa.Array) -> npt.NDArray[np.float64]:
    """As float64, with NaN for null and for any NaN, and 0 for -0."""
    values = numbers.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return np.where(np.isnan(values), np.nan, values + 0.0)


def _sums(values: Int64Array, group_lengths: Int64Array) -> Int64Array:
    """Sums of consecutive groups of `values`."""
    totals = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(values)])
    ends = np.cumsum(group_lengths)
    return np.asarray(totals[ends] - totals[ends - group_lengths], dtype=np.int64)


def _mask_parts(masks: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Sizes (lists) and counts (bytes) of a column of masks."""
    if pa.types.is_null(masks.type):
        return masks, pa.nulls(len(masks), pa.large_binary())
    if pa.types.is_struct(masks.type):
        return pc.struct_field(masks, "size"), _binary(pc.struct_field(masks, "counts"))
    return pa.nulls(len(masks)), _binary(masks)


def _binary(texts: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    return texts.cast(pa.large_binary())
