"""The finished videos of a job, by id: what the log says of each.

A job can have ten million of them. Those that a roll-up tells of are kept in columns, about 75 bytes each. Those that
came since are one short text each in a dictionary, until the next roll-up is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Int64Array
from pipeline.ids import HexColumn, IdIndex, Known, Texts, joined, joined_texts
from pipeline.records import BAD, Status

_ROWS_AT_A_TIME = 1 << 18
_MOST_REMEMBERED = 1 << 16
_STATUS_LIST = tuple(Status)
_CODES = {status: code for code, status in enumerate(_STATUS_LIST)}


class Tally(NamedTuple):
    """What the log counts of a finished video: objects that failed or have a warning, and how often it was tried.

    Numbers of objects are `None` where a version wrote them that did not count objects. `attempts` are those of all
    runs. `num_failures` says how often in a row the video ended badly, with the same prompts.
    """

    num_tracks_failed: int | None = 0
    num_tracks_warned: int | None = 0
    attempts: int = 1
    num_failures: int = 0


_PLAIN = Tally()
_UNCOUNTED = Tally(None, None)


class FinishedVideo(NamedTuple):
    """What the log says of a finished video: status, hash of its prompts, the segment with its rows, and counts.

    `source_hash` stands for the version of its file; it is empty where that is not known.
    """

    status: Status
    prompt_hash: str
    segment: str
    tally: Tally = _PLAIN
    source_hash: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether the video failed or was quarantined, or is known to have objects that failed."""
        return self.status in BAD or bool(self.tally.num_tracks_failed)


_LETTERS = {status: status.value[0] for status in Status}
_STATUSES = {letter: status for status, letter in _LETTERS.items()}


@dataclass(frozen=True)
class _Columns:
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


class FinishedVideos(Mapping[str, FinishedVideo]):
    """Finished videos by id. See the module for how they are kept.

    Most videos have the same tally. The others have theirs in a dictionary of its own.
    """

    def __init__(self) -> None:
        self._packed: dict[str, str] = {}
        self._segments: list[str] = []
        self._numbers: dict[str, int] = {}
        self._tallies: dict[str, Tally] = {}
        self._columns = _no_columns()
        self._is_gone = np.zeros(0, dtype=bool)  # rows of the columns that count no more
        self._num_gone = 0
        self._rows: dict[str, int] = {}  # rows of the columns that were looked for; -1 for none
        self.num_by_status: Counter[Status] = Counter()

    def __getitem__(self, video_id: str) -> FinishedVideo:
        packed = self._packed.get(video_id)
        if packed is not None:
            head, source_hash, prompt_hash = packed.split(":", 2)
            segment = self._segments[int(head[1:])]
            return FinishedVideo(_STATUSES[head[0]], prompt_hash, segment, self.tally(video_id), source_hash)
        row, columns = self._row(video_id), self._columns
        if row < 0:
            raise KeyError(video_id)
        return FinishedVideo(
            _STATUS_LIST[columns.statuses[row]],
            columns.prompt_hashes[row],
            self._segments[columns.segments[row]],
            self.tally(video_id),
            columns.source_hashes[row],
        )

    def tally(self, video_id: str) -> Tally:
        """The counts of a finished video."""
        return self._tallies.get(video_id, _PLAIN)

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """The counts of all videos that have others than a video labeled whole at its first attempt."""
        return self._tallies

    @property
    def has_sources(self) -> bool:
        """Whether the version of the file of any of them may be known."""
        sources = self._columns.source_hashes
        return bool(self._packed) or bool(sources.is_hex.any()) or bool(sources.others)

    def __contains__(self, video_id: object) -> bool:
        if video_id in self._packed:
            return True
        return len(self._is_gone) > 0 and isinstance(video_id, str) and self._row(video_id) >= 0

    def __iter__(self) -> Iterator[str]:
        ids = self._columns.ids
        kept = ids.filter(pa.array(~self._is_gone)) if self._num_gone else ids
        yield from Texts(kept)
        yield from self._packed

    def items(self) -> ItemsView[str, FinishedVideo]:
        """All ids, each with what the log says of it: by columns, because to look for each takes ten times as long."""
        return _Items(self)

    def pairs(self) -> Iterator[tuple[str, FinishedVideo]]:
        """What `items` goes through."""
        columns, kept = self._columns, np.flatnonzero(~self._is_gone)
        for first in range(0, len(kept), _ROWS_AT_A_TIME):
            rows = kept[first : first + _ROWS_AT_A_TIME]
            ids = columns.ids.take(pa.array(rows)).to_pylist()
            prompts = columns.prompt_hashes.take(rows).to_strings().to_pylist()
            sources = columns.source_hashes.take(rows).to_strings().to_pylist()
            numbers = columns.statuses[rows].tolist(), columns.segments[rows].tolist()
            for video_id, prompt, source, status, segment in zip(ids, prompts, sources, *numbers, strict=True):
                tally = self.tally(video_id)
                yield video_id, FinishedVideo(_STATUS_LIST[status], prompt, self._segments[segment], tally, source)
        for video_id in self._packed:
            yield video_id, self[video_id]

    def __len__(self) -> int:
        return len(self._packed) + len(self._columns.ids) - self._num_gone

    def put(self, video_id: str, finished: FinishedVideo) -> None:
        """Record a video as finished, or as moved to another segment."""
        self.discard(video_id)
        number = self._numbers.setdefault(finished.segment, len(self._segments))
        if number == len(self._segments):
            self._segments.append(finished.segment)
        self._packed[video_id] = f"{_LETTERS[finished.status]}{number}:{finished.source_hash}:{finished.prompt_hash}"
        if finished.tally != _PLAIN:
            self._tallies[video_id] = _UNCOUNTED if finished.tally == _UNCOUNTED else finished.tally
        self.num_by_status[finished.status] += 1

    def discard(self, video_id: str) -> None:
        """Make a video one that is still to be labeled."""
        packed = self._packed.pop(video_id, None)
        self._tallies.pop(video_id, None)
        if packed is not None:
            self.num_by_status[_STATUSES[packed[0]]] -= 1
        elif len(self._is_gone) and (row := self._row(video_id)) >= 0:
            self._is_gone[row] = True
            self._num_gone += 1
            self.num_by_status[_STATUS_LIST[self._columns.statuses[row]]] -= 1

    def ids(self) -> pa.Array:
        """All ids, in no order."""
        columns = self._columns
        kept = columns.ids.filter(pa.array(~self._is_gone)) if self._num_gone else columns.ids
        return pa.concat_arrays([kept, pa.array(self._packed.keys(), kept.type)]) if self._packed else kept

    def look_up(self, ids: pa.Array) -> Known:
        """What is known of `N` videos, for those who ask for many at a time."""
        rows, columns = self._found(ids), self._columns
        is_known = rows >= 0
        is_ok = np.zeros(len(rows), dtype=bool)
        is_ok[is_known] = columns.statuses[rows[is_known]] == _CODES[Status.OK]
        return Known(is_known, is_ok, columns.prompt_hashes.take(rows))

    def are_well(self, ids: pa.Array) -> npt.NDArray[np.bool_]:
        """Which of `N` videos are `ok`, with no object that failed, `[N]`."""
        with_failed = [video_id for video_id, tally in self._tallies.items() if tally.num_tracks_failed]
        has_failed = np.asarray(pc.is_in(ids.cast(pa.string()), value_set=pa.array(with_failed, pa.string())))
        return np.asarray(self.look_up(ids).is_ok & ~has_failed)

    def have_sources(self, ids: pa.Array) -> npt.NDArray[np.bool_]:
        """Of which of `N` videos the log has the version of their file, `[N]`."""
        return self.source_hashes(ids).has_text()

    def source_hashes(self, ids: pa.Array) -> HexColumn:
        """The `source_hash` of each of `N` videos; empty where the log has none."""
        rows = self._found(ids)
        return self._columns.source_hashes.take(rows)

    def to_table(self) -> pa.Table:
        """Columns `name`, `status`, `segment`, `prompt_hash`, `source_hash`: one row per video."""
        columns, kept = self._columns, np.flatnonzero(~self._is_gone)
        parts = [self._packed_table()] if self._packed or not len(kept) else []
        for first in range(0, len(kept), _ROWS_AT_A_TIME):
            rows = kept[first : first + _ROWS_AT_A_TIME]
            codes = pa.array(columns.statuses[rows].astype(np.int32))
            segments = pa.array(columns.segments[rows])
            parts.append(
                pa.table(
                    {
                        "name": columns.ids.take(pa.array(rows)).cast(pa.string()),
                        "status": pa.DictionaryArray.from_arrays(codes, pa.array([s.value for s in _STATUS_LIST])),
                        "segment": pa.DictionaryArray.from_arrays(segments, pa.array(self._segments, pa.string())),
                        "prompt_hash": columns.prompt_hashes.take(rows).to_strings(),
                        "source_hash": columns.source_hashes.take(rows).to_strings(),
                    }
                )
            )
        return pa.concat_tables(parts)

    def _packed_table(self) -> pa.Table:
        packed = pc.split_pattern(pa.array(self._packed.values(), pa.string()), ":", max_splits=2)
        head = pc.list_element(packed, 0)
        letters = pc.utf8_slice_codeunits(head, 0, 1).dictionary_encode()
        numbers = pc.utf8_slice_codeunits(head, 1, 20).cast(pa.int32())
        statuses = pa.array([_STATUSES[letter].value for letter in letters.dictionary.to_pylist()], pa.string())
        names = pa.array(self._segments, pa.string())
        return pa.table(
            {
                "name": pa.array(self._packed.keys(), pa.string()),
                "status": pa.DictionaryArray.from_arrays(letters.indices, statuses),
                "segment": pa.DictionaryArray.from_arrays(numbers, names),
                "prompt_hash": pc.list_element(packed, 2),
                "source_hash": pc.list_element(packed, 1),
            }
        )

    @staticmethod
    def from_table(table: pa.Table, tallies: Mapping[str, Tally] | None) -> FinishedVideos:
        """The inverse of `to_table`. `tallies` are None where a version wrote the table that did not count objects."""
        return FinishedVideos.from_batches(_batches(table), tallies)

    @staticmethod
    def from_batches(batches: Iterable[pa.RecordBatch], tallies: Mapping[str, Tally] | None) -> FinishedVideos:
        """The videos of such rows, which are packed as they come. A `source_hash` may be missing."""
        videos = FinishedVideos()
        videos._read(batches)
        videos.set_tallies(tallies)
        return videos

    def set_tallies(self, tallies: Mapping[str, Tally] | None) -> None:
        """The counts of videos that have others than most; None where nobody counted."""
        self._tallies = dict.fromkeys(self, _UNCOUNTED) if tallies is None else dict(tallies)

    def _read(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take over these videos and no others; their tallies stay."""
        parts = _Parts()
        self._segments, self._numbers = [], {}
        for batch in batches:
            parts.add(batch, self._numbers)
        self._segments = list(self._numbers)
        self._columns, self._packed, self._rows = parts.columns(), {}, {}
        self._is_gone, self._num_gone = np.zeros(len(self._columns.ids), dtype=bool), 0
        counts = np.bincount(self._columns.statuses, minlength=len(_STATUS_LIST)).tolist()
        self.num_by_status = Counter(
            {status: count for status, count in zip(_STATUS_LIST, counts, strict=True) if count}
        )

    def _found(self, ids: pa.Array) -> Int64Array:
        """The row of each of `N` videos, `[N]`; -1 for those that are not finished. All are in columns from now on."""
        if self._packed:
            self._read(_batches(self.to_table()))
        rows = self._columns.index.find(ids)
        if self._num_gone:
            rows[(rows >= 0) & self._is_gone[rows]] = -1
        return rows

    def _row(self, video_id: str) -> int:
        """The row of the columns that counts for a video; -1 if there is none."""
        if not len(self._is_gone):
            return -1
        row = self._rows.get(video_id)
        if row is None:
            if len(self._rows) >= _MOST_REMEMBERED:
                self._rows.clear()
            row = self._rows[video_id] = self._columns.index.find_one(video_id)
        return -1 if row < 0 or self._is_gone[row] else row


class _Items(ItemsView[str, FinishedVideo]):
    _mapping: FinishedVideos

    def __iter__(self) -> Iterator[tuple[str, FinishedVideo]]:
        return self._mapping.pairs()


def _batches(table: pa.Table) -> Sequence[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = table.to_batches(_ROWS_AT_A_TIME)
    return batches


def _no_columns() -> _Columns:
    none = pa.nulls(0, pa.string())
    return _Columns(
        none.cast(pa.large_string()),
        np.zeros(0, np.uint8),
        np.zeros(0, np.int32),
        HexColumn.of(none, 2),
        HexColumn.of(none, 1),
    )


@dataclass
class _Parts:
    """Columns as they grow, batch after batch."""

    ids: list[pa.Array] = field(default_factory=list)
    statuses: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    segments: list[npt.NDArray[np.int32]] = field(default_factory=list)
    prompt_hashes: list[HexColumn] = field(default_factory=list)
    source_hashes: list[HexColumn] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, numbers: dict[str, int]) -> None:
        """Pack these rows; `numbers` are those of the segments that were met, by name."""
        self.ids.append(batch.column("name").cast(pa.large_string()))
        codes = _numbered(batch.column("status"), {status.value: code for status, code in _CODES.items()})
        self.statuses.append(codes.astype(np.uint8))
        self.segments.append(_numbered(batch.column("segment"), numbers).astype(np.int32))
        self.prompt_hashes.append(HexColumn.of(batch.column("prompt_hash"), 2))
        has_sources = "source_hash" in batch.schema.names
        sources = batch.column("source_hash") if has_sources else pa.nulls(batch.num_rows, pa.string())
        self.source_hashes.append(HexColumn.of(sources, 1))

    def columns(self) -> _Columns:
        """All rows that were added."""
        if not self.ids:
            return _no_columns()
        return _Columns(
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
