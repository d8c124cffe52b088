"""The finished videos of a job, by id: what the log says of each.

A job can have ten million of them. Those that a roll-up tells of are kept in columns, about 75 bytes each. Those that
came since are one short text each in a dictionary, until the next roll-up is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.arrays import Int64Array
from pipeline.commits.finished_columns import CODES, STATUS_LIST, Columns, Parts, no_columns
from pipeline.commits.rolled_up import Rolled, RolledUp
from pipeline.commits.setbacks import Setback
from pipeline.ids import HexColumn, Known, Texts
from pipeline.records import BAD, Status

_ROWS_AT_A_TIME = 1 << 18
_MOST_REMEMBERED = 1 << 16


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

    `source_hash` stands for the version of its file; it is empty where that is not known. `review_hash` stands for the
    corrections that it was labeled with; it is empty where there were none. A `setback` is why it has its former rows.
    """

    status: Status
    prompt_hash: str
    segment: str
    tally: Tally = _PLAIN
    source_hash: str = ""
    review_hash: str = ""
    setback: Setback | None = None

    @property
    def review_hashes(self) -> tuple[str, ...]:
        """Those of the corrections that it was labeled with, and of those with which that failed."""
        return (self.review_hash,) if self.setback is None else (self.review_hash, self.setback.review_hash)

    @property
    def num_failures(self) -> int:
        """How often in a row it ended badly, with the same prompts."""
        return self.tally.num_failures if self.setback is None else self.setback.num_failures

    @property
    def is_bad(self) -> bool:
        """Whether the video failed or was quarantined, or is known to have objects that failed."""
        return self.status in BAD or bool(self.tally.num_tracks_failed)


_LETTERS = {status: status.value[0] for status in Status}
_STATUSES = {letter: status for status, letter in _LETTERS.items()}


class FinishedVideos(Mapping[str, FinishedVideo]):
    """Finished videos by id. See the module for how they are kept.

    Most videos have the same tally and no corrections. What the others have is in dictionaries of its own.
    """

    def __init__(self) -> None:
        self._packed: dict[str, str] = {}
        self._segments: list[str] = []
        self._numbers: dict[str, int] = {}
        self._tallies: dict[str, Tally] = {}
        self._reviews: dict[str, str] = {}
        self._setbacks: dict[str, Setback] = {}
        self._all = no_columns()
        self._rolled_up: RolledUp | None = None  # videos that are not in columns yet
        self._gone_of_them: set[str] = set()
        self._is_gone = np.zeros(0, dtype=bool)  # rows of the columns that count no more
        self._num_gone = 0
        self._rows: dict[str, int] = {}  # rows of the columns that were looked for; -1 for none
        self.num_by_status: Counter[Status] = Counter()

    def __getitem__(self, video_id: str) -> FinishedVideo:
        packed = self._packed.get(video_id)
        if packed is not None:
            head, source_hash, prompt_hash = packed.split(":", 2)
            segment = self._segments[int(head[1:])]
            status, review_hash = _STATUSES[head[0]], self.review_hash(video_id)
            tally, setback = self.tally(video_id), self._setbacks.get(video_id)
            return FinishedVideo(status, prompt_hash, segment, tally, source_hash, review_hash, setback)
        columns, row = self._place_of(video_id)
        if row < 0:
            raise KeyError(video_id)
        return FinishedVideo(
            STATUS_LIST[columns.statuses[row]],
            columns.prompt_hashes[row],
            self._segments[columns.segments[row]],
            self.tally(video_id),
            columns.source_hashes[row],
            self.review_hash(video_id),
            self._setbacks.get(video_id),
        )

    @property
    def _columns(self) -> Columns:
        """The columns of all videos that a roll-up tells of. They are decoded now, if they were not."""
        if self._rolled_up is not None:
            self._all, self._rolled_up = self._rolled_up.all(), None
            self._segments = list(self._numbers)
            self._is_gone = np.zeros(len(self._all.ids), dtype=bool)
            self._is_gone[[self._all.index.find_one(video_id) for video_id in self._gone_of_them]] = True
            self._gone_of_them = set()
        return self._all

    def _place_of(self, video_id: str) -> tuple[Columns, int]:
        """The columns and the row of them that count for a video; row -1 if there is none."""
        if self._rolled_up is not None:
            if video_id in self._gone_of_them:
                return self._all, -1
            parts = self._rolled_up.parts_of(pa.array([video_id], pa.string()))
            if parts is not None:
                self._segments = list(self._numbers)
                return next(((part, part.index.find_one(video_id)) for part, _ in parts), (self._all, -1))
        return self._columns, self._row(video_id)

    def tally(self, video_id: str) -> Tally:
        """The counts of a finished video."""
        return self._tallies.get(video_id, _PLAIN)

    def review_hash(self, video_id: str) -> str:
        """The hash of the corrections that a finished video was labeled with; empty where there were none."""
        return self._reviews.get(video_id, "")

    @property
    def reviews(self) -> Mapping[str, str]:
        """The hashes of the corrections of all videos that were labeled with some."""
        return self._reviews

    @property
    def setbacks(self) -> Mapping[str, Setback]:
        """Of all videos that could not be labeled again and have their former rows: how that ended."""
        return self._setbacks

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """The counts of all videos that have others than a video labeled whole at its first attempt."""
        return self._tallies

    @property
    def has_sources(self) -> bool:
        """Whether the version of the file of any of them may be known."""
        if self._rolled_up is not None:
            return bool(self._packed) or self._rolled_up.has_sources
        return bool(self._packed) or bool(self._all.source_hashes.has_text().any())

    def __contains__(self, video_id: object) -> bool:
        if video_id in self._packed:
            return True
        return isinstance(video_id, str) and self._place_of(video_id)[1] >= 0

    def __iter__(self) -> Iterator[str]:
        ids = self._columns.ids
        kept = ids.filter(pa.array(~self._is_gone)) if self._num_gone else ids
        yield from Texts(kept)
        yield from self._packed

    def items(self) -> ItemsView[str, FinishedVideo]:
        """All ids, each with what the log says of it: by columns, because to look for each takes ten times as long."""
        return _Items(self)

    def noted(self) -> Iterable[tuple[str, FinishedVideo]]:
        """All that ended badly, that have objects that failed or that nobody counted, and perhaps others.

        They have a tally, so that the millions that are well are not looked at.
        """
        found = [(video_id, self[video_id]) for video_id in self._tallies if video_id in self]
        num_bad = sum(self.num_by_status[status] for status in BAD)
        return found if sum(one.status in BAD for _, one in found) == num_bad else self.items()

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
                tally, review = self.tally(video_id), self.review_hash(video_id)
                name, setback = self._segments[segment], self._setbacks.get(video_id)
                yield video_id, FinishedVideo(STATUS_LIST[status], prompt, name, tally, source, review, setback)
        for video_id in self._packed:
            yield video_id, self[video_id]

    def __len__(self) -> int:
        num_rows = len(self._all.ids) if self._rolled_up is None else self._rolled_up.num_rows
        return len(self._packed) + num_rows - self._num_gone

    def put(self, video_id: str, finished: FinishedVideo) -> None:
        """Record a video as finished, or as moved to another segment."""
        self.discard(video_id)
        number = self._numbers.setdefault(finished.segment, len(self._segments))
        if number == len(self._segments):
            self._segments.append(finished.segment)
        self._packed[video_id] = f"{_LETTERS[finished.status]}{number}:{finished.source_hash}:{finished.prompt_hash}"
        if finished.tally != _PLAIN:
            self._tallies[video_id] = _UNCOUNTED if finished.tally == _UNCOUNTED else finished.tally
        if finished.review_hash:
            self._reviews[video_id] = finished.review_hash
        if finished.setback is not None:
            self._setbacks[video_id] = finished.setback
        self.num_by_status[finished.status] += 1

    def discard(self, video_id: str) -> None:
        """Make a video one that is still to be labeled."""
        packed = self._packed.pop(video_id, None)
        self._tallies.pop(video_id, None)
        self._reviews.pop(video_id, None)
        self._setbacks.pop(video_id, None)
        if packed is not None:
            self.num_by_status[_STATUSES[packed[0]]] -= 1
            return
        columns, row = self._place_of(video_id)
        if row >= 0:
            if self._rolled_up is None:
                self._is_gone[row] = True
            else:
                self._gone_of_them.add(video_id)
            self._num_gone += 1
            self.num_by_status[STATUS_LIST[columns.statuses[row]]] -= 1

    def ids(self) -> pa.Array:
        """All ids, in no order."""
        columns = self._columns
        kept = columns.ids.filter(pa.array(~self._is_gone)) if self._num_gone else columns.ids
        return pa.concat_arrays([kept, pa.array(self._packed.keys(), kept.type)]) if self._packed else kept

    def look_up(self, ids: pa.Array) -> Known:
        """What is known of `N` videos, for those who ask for many at a time."""
        found = self._found(ids)
        is_known, is_ok = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
        for columns, places, rows in found:
            is_here = rows >= 0
            is_known[places] = is_here
            is_ok[places[is_here]] = columns.statuses[rows[is_here]] == CODES[Status.OK]
        parts = [(columns.prompt_hashes.take(rows), places) for columns, places, rows in found]
        return Known(is_known, is_ok, HexColumn.scattered(parts, len(ids), 2))

    def are_well(self, ids: pa.Array) -> npt.NDArray[np.bool_]:
        """Which of `N` videos are `ok`, with no object that failed and nothing that could not be mended, `[N]`."""
        with_failed = [video_id for video_id, tally in self._tallies.items() if tally.num_tracks_failed]
        with_failed += self._setbacks
        has_failed = np.asarray(pc.is_in(ids.cast(pa.string()), value_set=pa.array(with_failed, pa.string())))
        return np.asarray(self.look_up(ids).is_ok & ~has_failed)

    def have_sources(self, ids: pa.Array) -> npt.NDArray[np.bool_]:
        """Of which of `N` videos the log has the version of their file, `[N]`."""
        return self.source_hashes(ids).has_text()

    def source_hashes(self, ids: pa.Array) -> HexColumn:
        """The `source_hash` of each of `N` videos; empty where the log has none."""
        parts = [(columns.source_hashes.take(rows), places) for columns, places, rows in self._found(ids)]
        return HexColumn.scattered(parts, len(ids), 1)

    def to_table(self) -> pa.Table:
        """Columns `name`, `status`, `segment`, `prompt_hash`, `source_hash`: one row per video."""
        columns = self._columns
        kept = np.flatnonzero(~self._is_gone)
        parts = [self._packed_table()] if self._packed or not len(kept) else []
        some = (kept[first : first + _ROWS_AT_A_TIME] for first in range(0, len(kept), _ROWS_AT_A_TIME))
        parts += (self._rows_as_table(columns, rows) for rows in some)
        return pa.concat_tables(parts)

    def rolled(self, num_rows: int) -> Rolled:
        """What a roll-up says of them as a whole that has so many rows in a row group."""
        counts = {status.value: count for status, count in self.num_by_status.items()}
        return Rolled(-(-len(self) // num_rows), counts, self.has_sources)

    def sorted_tables(self, num_rows: int) -> Iterator[pa.Table]:
        """What `to_table` gives, sorted by id, so many rows at a time. All are in columns from now on."""
        if self._packed:
            self._pack_all()
        columns = self._columns
        order = np.flatnonzero(~self._is_gone)
        ids = columns.ids.take(pa.array(order))
        if pc.all(pc.less(ids[:-1], ids[1:])).as_py() is False:
            order = order[pc.sort_indices(ids).to_numpy()]
        for first in range(0, len(order), num_rows):
            yield self._rows_as_table(columns, order[first : first + num_rows])

    def _rows_as_table(self, columns: Columns, rows: Int64Array) -> pa.Table:
        codes = pa.array(columns.statuses[rows].astype(np.int32))
        segments = pa.array(columns.segments[rows])
        return pa.table(
            {
                "name": columns.ids.take(pa.array(rows)).cast(pa.string()),
                "status": pa.DictionaryArray.from_arrays(codes, pa.array([s.value for s in STATUS_LIST])),
                "segment": pa.DictionaryArray.from_arrays(segments, pa.array(self._segments, pa.string())),
                "prompt_hash": columns.prompt_hashes.take(rows).to_strings(),
                "source_hash": columns.source_hashes.take(rows).to_strings(),
            }
        )

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
        return FinishedVideos.from_batches(_batches(table), table.num_rows, tallies)

    @staticmethod
    def from_batches(
        batches: Iterable[pa.RecordBatch], most_rows: int, tallies: Mapping[str, Tally] | None
    ) -> FinishedVideos:
        """The videos of at most so many such rows, which are packed as they come. A `source_hash` may be missing."""
        videos = FinishedVideos()
        videos._read(batches, most_rows)
        videos.set_tallies(tallies)
        return videos

    @staticmethod
    def from_roll_up(file: pq.ParquetFile, rolled: Rolled, name: str) -> FinishedVideos | None:
        """The videos of a roll-up, which are decoded when they are looked for; `None` if all have to be read."""
        if not RolledUp.is_usable(file, rolled):
            return None
        videos = FinishedVideos()
        videos._rolled_up = RolledUp(file, rolled, videos._numbers, name)
        videos.num_by_status = videos._rolled_up.num_by_status
        return videos

    def set_tallies(self, tallies: Mapping[str, Tally] | None) -> None:
        """The counts of videos that have others than most; None where nobody counted."""
        self._tallies = dict.fromkeys(self, _UNCOUNTED) if tallies is None else dict(tallies)

    def set_reviews(self, hashes: Mapping[str, str]) -> None:
        """The hashes of the corrections of all videos that were labeled with some."""
        self._reviews = dict(hashes)

    def set_setbacks(self, setbacks: Mapping[str, Setback]) -> None:
        """How the last try ended of all videos that could not be labeled again."""
        self._setbacks = dict(setbacks)

    def set_back(self, video_id: str, setback: Setback) -> None:
        """A finished video could not be labeled again."""
        self._setbacks[video_id] = setback

    def _read(self, batches: Iterable[pa.RecordBatch], most_rows: int) -> None:
        """Take over these videos and no others; their tallies stay."""
        parts = Parts(most_rows)
        self._segments, self._numbers = [], {}
        for batch in batches:
            parts.add(batch, self._numbers)
        self._segments = list(self._numbers)
        self._all, self._packed, self._rows = parts.columns(), {}, {}
        self._is_gone, self._num_gone = np.zeros(len(self._all.ids), dtype=bool), 0
        counts = np.bincount(self._all.statuses, minlength=len(STATUS_LIST)).tolist()
        self.num_by_status = Counter(
            {status: count for status, count in zip(STATUS_LIST, counts, strict=True) if count}
        )

    def _pack_all(self) -> None:
        """Bring those that came since into the columns."""
        table = self.to_table()
        self._read(_batches(table), table.num_rows)

    def _found(self, ids: pa.Array) -> list[tuple[Columns, Int64Array, Int64Array]]:
        """Where `N` videos are: columns, places among `ids`, and the row of each; -1 for one that is not finished.

        Those that are in none of these are not finished. All are in columns from now on, unless few are asked for.
        """
        parts = self._rolled_up.parts_of(ids) if self._rolled_up is not None else None
        if parts is None:
            if self._packed:
                self._pack_all()
            rows = self._columns.index.find(ids)
            if self._num_gone:
                rows[(rows >= 0) & self._is_gone[rows]] = -1
            return [(self._all, np.arange(len(ids)), rows)]
        self._segments = list(self._numbers)
        found = []
        for columns, places in parts:
            asked = ids.take(pa.array(places))
            rows = columns.index.find(asked)
            if self._gone_of_them:
                is_gone = pc.is_in(asked.cast(pa.string()), value_set=pa.array(self._gone_of_them, pa.string()))
                rows[np.asarray(is_gone)] = -1
            found.append((columns, places, rows))
        return [*found, *self._found_packed(ids)]

    def _found_packed(self, ids: pa.Array) -> list[tuple[Columns, Int64Array, Int64Array]]:
        """As `_found`, of those that came since the roll-up."""
        if not self._packed:
            return []
        here = Parts(len(self._packed))
        for batch in _batches(self._packed_table()):
            here.add(batch, self._numbers)
        columns = here.columns()
        rows = columns.index.find(ids)
        places = np.flatnonzero(rows >= 0)
        return [(columns, places, rows[places])]

    def _row(self, video_id: str) -> int:
        """The row of the columns that counts for a video; -1 if there is none."""
        if not len(self._columns.ids):
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
