"""A hash of a video's prompts. When it differs from the hash in the commit log, the video is labeled again.

Rows that mean the same have the same hash: the order of rows, the width of numbers, null or empty lists and `category`
do not matter. A hash is made of the sum of its rows' digests, so 24 bytes a video suffice for any number of rows, and
the rows may come in any order from any shards.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Int64Array, UInt8Array, UInt64Array
from pipeline.ids import HexColumn

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
    digests = np.empty((rows.num_rows, 2), dtype="<u8")
    has_counts = counts.is_valid().to_numpy(zero_copy_only=False)
    is_plain = ~has_counts & (fractions.lengths == 0)
    for alike in _of_equal_lengths([piece.lengths for piece in pieces], np.flatnonzero(is_plain)):
        digests[alike] = _digests_of(np.concatenate([piece.of(alike) for piece in pieces], axis=1))
    for number in np.flatnonzero(~is_plain).tolist():
        digest = blake2b(digest_size=16)
        for piece in pieces:
            digest.update(piece.row(number))
        digest.update(counts[number].as_py() or b"")
        if fractions.lengths[number]:  # rows without such a box keep the digests that earlier programs gave them
            digest.update(b"box_xyxyn")
            digest.update(fractions.row(number))
        digests[number] = np.frombuffer(digest.digest(), dtype="<u8")
    return digests


def _of_equal_lengths(lengths: Sequence[Int64Array], rows: Int64Array) -> Iterator[Int64Array]:
    """These rows in groups whose pieces have equal lengths: mostly all of a table in one."""
    if not len(rows):
        return
    lengths_NK = np.stack([length[rows] for length in lengths], axis=1)
    if (lengths_NK == lengths_NK[0]).all():
        yield rows
        return
    _, group = np.unique(lengths_NK, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    yield from np.split(rows[order], np.flatnonzero(np.diff(group.ravel()[order])) + 1)


def _digests_of(messages_NL: UInt8Array) -> UInt64Array:
    """The digest of each of `N` messages of `L` bytes, `[N, 2]`."""
    texts = struct.iter_unpack(f"{messages_NL.shape[1]}s", np.ascontiguousarray(messages_NL).data)
    return _words(texts)


def _words(messages: Iterable[tuple[bytes]]) -> UInt64Array:
    """The digest of each of `N` messages, `[N, 2]`."""
    new = blake2b(digest_size=16).copy  # to copy an empty one takes a quarter less time than to make one
    digests = []
    for (message,) in messages:
        digest = new()
        digest.update(message)
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


class PromptHashes:
    """The hashes of many videos, by number, built up from their rows: 24 bytes per video."""

    def __init__(self, num_videos: int) -> None:
        self.num_rows = np.zeros(num_videos, dtype=np.int32)
        self._sums = np.zeros((num_videos, 2), dtype=np.uint64)

    def add(self, video_numbers: Int64Array, digests_N2: UInt64Array) -> None:
        """Add rows to their videos: `digests_N2[i]` is of a row of video `video_numbers[i]`."""
        ordered = video_numbers
        if (video_numbers[1:] < video_numbers[:-1]).any():  # most tables are in order
            order = np.argsort(video_numbers, kind="stable")
            ordered, digests_N2 = video_numbers[order], digests_N2[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        videos = ordered[starts]
        self._sums[videos] += np.add.reduceat(digests_N2, starts, axis=0) if len(starts) else 0
        self.num_rows[videos] += np.diff(starts, append=len(ordered)).astype(self.num_rows.dtype)

    def hash_of(
        self,
        video_number: int,
        start_seconds: float | None,
        end_seconds: float | None,
        cuts_seconds: Sequence[float] = (),
    ) -> str:
        """32 hexadecimal digits; empty for a video without prompts.

        The range of time is part of the hash, because frame indexes are counted from its start. So are the cuts,
        because objects end there.
        """
        sums = self._sums[video_number].tolist()
        return _video_hash(sums, int(self.num_rows[video_number]), start_seconds, end_seconds, cuts_seconds)

    def hashes_of(
        self, part: slice, ranges_N2: npt.NDArray[np.float64], cuts: Sequence[Sequence[float]] | None = None
    ) -> HexColumn:
        """`hash_of` consecutive videos; `ranges_N2` are their start and end in seconds, NaN for none.

        `cuts` are those of each of these videos; None: no video has any.
        """
        sums_N2, num_rows = self._sums[part], self.num_rows[part]
        words = np.zeros((len(num_rows), 2), dtype=np.uint64)
        has_rows, has_range = num_rows > 0, ~np.isnan(ranges_N2).all(axis=1)
        if cuts is not None:
            has_range |= np.array([len(of_video) > 0 for of_video in cuts], dtype=bool)
        plain = np.flatnonzero(has_rows & ~has_range)
        texts = [pa.array(column).cast(pa.string()) for column in (*sums_N2[plain].T, num_rows[plain])]
        joined = pc.binary_join_element_wise(*texts, ", ")
        messages = pc.binary_join_element_wise("[", joined, ", None, None]", "").cast(pa.binary()).to_pylist()
        words[plain] = _words(zip(messages, strict=True))
        for number in np.flatnonzero(has_rows & has_range).tolist():
            start, end = (None if seconds != seconds else seconds for seconds in ranges_N2[number].tolist())
            of_video = () if cuts is None else cuts[number]
            found = _video_hash(sums_N2[number].tolist(), int(num_rows[number]), start, end, of_video)
            words[number] = np.frombuffer(bytes.fromhex(found), dtype="<u8")
        return HexColumn(words, has_rows, {})


def hash_of_rows(
    batches: Iterable[pa.RecordBatch],
    start_seconds: float | None,
    end_seconds: float | None,
    cuts_seconds: Sequence[float] = (),
) -> str:
    """The hash of one video from all of its rows; see `PromptHashes.hash_of`."""
    hashes = PromptHashes(1)
    for batch in batches:
        hashes.add(np.zeros(batch.num_rows, dtype=np.int64), row_digests(batch))
    return hashes.hash_of(0, start_seconds, end_seconds, cuts_seconds)


def _video_hash(
    sums: list[int],
    num_rows: int,
    start_seconds: float | None,
    end_seconds: float | None,
    cuts_seconds: Sequence[float],
) -> str:
    if not num_rows:
        return ""
    said: list[object] = [*sums, num_rows, start_seconds, end_seconds]
    if len(cuts_seconds):  # videos without cuts keep the hashes that earlier programs gave them
        said.append(list(map(float, cuts_seconds)))
    return blake2b(repr(said).encode(), digest_size=16).hexdigest()


class _Pieces:
    """The values of a column of lists, row after row: row `i` has `lengths[i]` of them."""

    def __init__(self, lengths: Int64Array, values: npt.NDArray[np.generic]) -> None:
        self.lengths = lengths
        self._bytes = np.frombuffer(values.tobytes(), np.uint8)
        self._size = values.itemsize
        self._ends = np.cumsum(lengths) * values.itemsize

    @staticmethod
    def of_each_row(values: npt.NDArray[np.generic]) -> _Pieces:
        """`K` values for each row: `[N, K]`."""
        return _Pieces(np.full(len(values), values.shape[1], dtype=np.int64), values)

    def row(self, number: int) -> bytes:
        """The bytes of a row's values."""
        end = int(self._ends[number])
        return self._bytes[end - int(self.lengths[number]) * self._size : end].tobytes()

    def of(self, rows: Int64Array) -> UInt8Array:
        """The bytes of the values of rows that have as many of them, `[R, L]`."""
        length = int(self.lengths[rows[0]]) * self._size
        if len(rows) == len(self.lengths):
            return self._bytes.reshape(len(rows), length)
        return np.asarray(self._bytes[(self._ends[rows] - length)[:, None] + np.arange(length)])


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
