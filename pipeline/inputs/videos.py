"""The rows of the videos table as the driver keeps them: columns, not objects, so that a million videos fit."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Int64Array
from pipeline.ids import IdIndex, Texts, joined, joined_texts
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.packed_columns import PackedTexts, PlaceCollector, RowPlaces, TextPacker
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.video_files import VideoFiles
from pipeline.records import RowSpan, TimeRange, check_range
from pipeline.storage.uris import absolute_uri, split_tar_member

_CUTS = "cuts_seconds"
_TIMES = ("start_seconds", "end_seconds", "duration_seconds")


@dataclass(frozen=True)
class VideoTimes:
    """Start and end of `N` videos, `[N, 2]`, and their durations, `[N]`; NaN = none.

    An array that is NaN all over needs no memory, and cannot be written. `cuts_seconds` are lists of times, `[N]`, null
    where a video has none; None: no video has any.
    """

    ranges_seconds: npt.NDArray[np.float64]
    durations_seconds: npt.NDArray[np.float64]
    cuts_seconds: pa.Array | None = None

    def cuts_of(self, part: slice | int) -> list[tuple[float, ...]] | None:
        """Those of some videos, each ascending and once; None: no video has any."""
        if self.cuts_seconds is None:
            return None
        start, stop, _ = (slice(part, part + 1) if isinstance(part, int) else part).indices(len(self.cuts_seconds))
        lists = self.cuts_seconds.slice(start, stop - start).to_pylist()
        return [tuple(sorted({float(time) for time in of_video or () if time is not None})) for of_video in lists]


@dataclass
class VideoRows:
    """The `N` distinct videos of a table, numbered in order of their first row. All columns are in that order.

    `uris` are as the table has them, null where the bytes are in the row. Relative ones count from `folders`, one for
    each of `files`. `problems` says, by number, why a video cannot be labeled.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    ids: Texts
    uris: PackedTexts
    rows: RowPlaces
    times: VideoTimes
    problems: dict[int, str]
    num_without_id: int

    def uri(self, number: int) -> str | None:
        """Absolute URI of a video; a relative one counts from the folder of its table."""
        uri = self.uris[number]
        return absolute_uri(uri, self.folders[self.rows.at(number)[0]]) if uri else None

    def may_be_local(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these videos may lie on a disk of this machine: those whose URI names no host, `[N]`."""
        uris = self.uris.take(numbers)
        names_host = pc.and_(
            pc.match_substring(uris, "://"), pc.invert(pc.match_substring_regex(uris, "^(file|local):"))
        )
        return np.asarray(pc.invert(pc.fill_null(names_host, False)))

    def row_at(self, number: int) -> RowSpan:
        """The row of a video, which holds its bytes if it has no `uri`."""
        file, row_group, row = self.rows.at(number)
        return RowSpan(self.files[file], row_group, row, row + 1)

    def time_range(self, number: int) -> TimeRange:
        """The part of a video that is labeled."""
        start, end = (None if value != value else value for value in self.times.ranges_seconds[number].tolist())
        cuts = self.times.cuts_of(number)
        return TimeRange(start, end, cuts[0] if cuts else ())

    def durations(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Seconds of each of these videos that are to be labeled, `[N]`; 0 where they are not known."""
        (start, end), duration = self.times.ranges_seconds[numbers].T, self.times.durations_seconds[numbers]
        start = np.nan_to_num(start, nan=0.0)
        length = np.where(np.isnan(end), duration, np.fmin(end, duration)) - start
        # Players write infinity for a duration that they do not know.
        return np.asarray(np.where(np.isfinite(length) & (length > 0), length, 0.0))

    def places(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each video the number of its place, which it may share with others: a tar, or a row group of bytes."""
        shared: dict[object, int] = {}
        found = np.empty(len(numbers), dtype=np.int64)
        num_places = 0
        for i, number in enumerate(numbers.tolist()):
            uri = self.uris[number]
            place: object = None
            if not uri:
                place = self.rows.at(number)[:2]
            elif "::" in uri and (parts := split_tar_member(uri)) is not None:
                place = parts[0]
            place_number = num_places if place is None else shared.setdefault(place, num_places)
            num_places = max(num_places, place_number + 1)
            found[i] = place_number
        return found


class VideoNumbers:
    """The numbers of videos, by their ids and by other names that they have.

    `other_names` has such names and the id of each. It is called when an id is not found, unless `named_so` tells of
    `N` names and the places of `N` videos, -1 for none, which of these names the video there has besides its id.
    """

    def __init__(
        self,
        ids: Texts,
        other_names: Callable[[], tuple[pa.Array, pa.Array] | None],
        named_so: Callable[[pa.Array, Int64Array], BoolArray] | None = None,
    ) -> None:
        self.num_videos = len(ids)
        self._index = IdIndex(ids.column)
        self._other_names = other_names
        self._named_so = named_so

    @cached_property
    def _others(self) -> tuple[IdIndex, npt.NDArray[np.int64]] | None:
        """Finds the places of other names, and the number of the video of each."""
        found = self._other_names()
        return None if found is None else (IdIndex(found[0]), self._index.find(found[1]))

    def all_names(self) -> list[str]:
        """All names that `find` finds."""
        others = self._other_names()
        return [*self._index.column.to_pylist(), *([] if others is None else others[0].to_pylist())]

    def find(self, names: pa.Array) -> npt.NDArray[np.int64]:
        """The number of the video with each name, `[N]`; -1 where there is none."""
        if pa.types.is_dictionary(names.type):
            names = names.dictionary_decode()
        found = self._index.find(names)
        rest = np.flatnonzero(found < 0)
        if len(rest) and self._named_so is not None:  # the names of ten million videos are a gigabyte with their index
            unknown = names.take(pa.array(rest)).cast(pa.large_string())
            places = self._index.find(pc.replace_substring_regex(unknown, r"\.[^./]*$", ""))
            found[rest] = np.where(self._named_so(unknown, places), places, -1)
        elif len(rest) and self._others is not None:
            index, numbers = self._others
            places = index.find(names.take(pa.array(rest)))
            is_known = places >= 0
            found[rest[is_known]] = numbers[places[is_known]]  # of no video at all there are no numbers
        return found


def read_videos(tables: InputTables) -> tuple[VideoRows, VideoNumbers]:
    """All videos of `videos=`, or without it those that the rows of `prompts=` name, and their numbers by id.

    Where a video has a second name (the name of its file with the suffix), its number is found by that too.
    """
    collector = _Collector(tables)
    for batch in tables.videos.read(("video_id", "uri", *_TIMES, *((_CUTS,) if tables.has_cuts else ()))):
        collector.add(batch)
    videos = collector.finish()
    listing = tables.videos
    if not isinstance(listing, VideoFiles) or not listing.ids_are_stems or videos.problems:
        return videos, VideoNumbers(videos.ids, listing.other_names)
    rows, named_so = videos.rows.rows.astype(np.int64), listing.named_so
    return videos, VideoNumbers(
        videos.ids, listing.other_names, lambda names, places: named_so(names, np.where(places < 0, -1, rows[places]))
    )


@dataclass(frozen=True)
class _Told:
    """What a later row says of a video whose first row has no uri: columns of `VideoRows`."""

    uri: str
    address: tuple[int, int, int]
    times_seconds: npt.NDArray[np.float64]


class _Collector:
    """Collects rows. A table of videos has one row a video. In a table of prompts all rows of a video name one uri.

    Rows of prompts may leave the uri out, where another row of the video has it, also in another file.
    """

    def __init__(self, tables: InputTables) -> None:
        self._files = tables.videos.files
        self._folders = tables.videos.folders
        self._has_bytes = "bytes" in tables.videos.column_names
        self._same_id_problem = tables.videos.same_id_problem
        self._one_row_each = tables.has_videos_table
        self._ids = [pa.array([], pa.large_string())]
        self._listed = tables.videos.found.ids if isinstance(tables.videos, VideoFiles) else None
        self._numbers: dict[str, int] = {}
        self._said = array("q")  # hash of what the first row of a video says, where several rows may say it
        self._uris = TextPacker()
        self._rows = PlaceCollector()
        self._ranges = [np.empty((0, 2), dtype=np.float64)]
        self._durations = [np.empty(0, dtype=np.float64)]
        self._cuts: list[pa.Array] = []
        self._num_rows: dict[int, int] = {}
        self._without_uri: set[int] = set()
        self._told_later: dict[int, _Told] = {}
        self._disagreeing: set[int] = set()
        self._num_without_id = 0

    def add(self, batch: RowBatch) -> None:
        """Take in the rows of one batch."""
        uris = _texts(batch.rows.column("uri"))
        if self._one_row_each:
            self._add_all(batch, uris)
            return
        times_N3 = np.stack([_seconds(batch.rows.column(name)) for name in _TIMES], axis=1)
        said = list(zip(uris.to_pylist(), times_N3.tolist(), strict=True))
        first_rows: list[int] = []
        for row, video_id in enumerate(batch.rows.column("video_id").to_pylist()):
            if not video_id:
                self._num_without_id += 1
                continue
            number = self._numbers.get(video_id)
            if number is None:
                self._numbers[video_id] = len(self._numbers)
                first_rows.append(row)
                self._said.append(hash(repr(said[row])))
                if not said[row][0] and not self._has_bytes:
                    self._without_uri.add(len(self._numbers) - 1)
            elif said[row][0] and number in self._without_uri:
                self._without_uri.discard(number)
                self._said[number] = hash(repr(said[row]))
                address = (batch.file_number, batch.row_group, batch.start + row)
                self._told_later[number] = _Told(said[row][0], address, times_N3[row])
            elif said[row][0] and self._said[number] != hash(repr(said[row])):
                self._disagreeing.add(number)
        self._keep(batch, uris, times_N3, np.asarray(first_rows, dtype=np.int64))

    def _add_all(self, batch: RowBatch, uris: pa.Array) -> None:
        """Take in all rows with an id. Those that stand twice are found at the end."""
        ids = _texts(batch.rows.column("video_id"))
        self._num_without_id += ids.null_count
        chosen = np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))
        if self._listed is None:
            self._ids.append(ids.take(pa.array(chosen)))
        times_N3 = np.stack([_seconds(batch.rows.column(name)) for name in _TIMES], axis=1)
        self._keep(batch, uris, times_N3, chosen)

    def _keep(
        self, batch: RowBatch, uris: pa.Array, times_N3: npt.NDArray[np.float64], chosen: npt.NDArray[np.int64]
    ) -> None:
        self._uris.add(uris.take(pa.array(chosen)))
        self._rows.add(batch.file_number, batch.row_group, batch.start + chosen)
        self._ranges.append(_or_nothing(times_N3[chosen, :2]))
        self._durations.append(_or_nothing(times_N3[chosen, 2]))
        if _CUTS in batch.rows.schema.names:
            self._cuts.append(_lists(batch.rows.column(_CUTS)).take(pa.array(chosen)))

    def finish(self) -> VideoRows:
        """Everything that was added."""
        uris, rows = self._uris.finish(), self._rows.finish()
        ranges_N2, durations_N = _joined_or_nothing(self._ranges), _joined_or_nothing(self._durations)
        names = pa.array(self._numbers.keys(), pa.large_string())
        ids = joined_texts(self._ids) if self._one_row_each else names
        if self._listed is not None:  # all of them have an id, and are in columns already
            ids = self._listed
        cuts = pa.concat_arrays(self._cuts) if self._cuts else None
        if self._one_row_each and (again := self._rows_again(ids)):
            kept = np.ones(len(ids), dtype=bool)
            kept[again] = False
            ids, uris, rows = ids.filter(pa.array(kept)), uris.chosen(kept), rows.chosen(kept)
            ranges_N2, durations_N = ranges_N2[kept], durations_N[kept]
            cuts = None if cuts is None else cuts.filter(pa.array(kept))
        if self._told_later:
            places = sorted(self._told_later)
            told = [self._told_later[number] for number in places]
            uris = uris.with_others(np.asarray(places), [one.uri for one in told])
            rows = rows.with_others(np.asarray(places), np.array([one.address for one in told], np.int32))
            times_N3 = np.array([one.times_seconds for one in told])
            ranges_N2, durations_N = ranges_N2.copy(), durations_N.copy()
            ranges_N2[places], durations_N[places] = times_N3[:, :2], times_N3[:, 2]
        return VideoRows(
            files=self._files,
            folders=self._folders,
            ids=Texts(ids),
            uris=uris,
            rows=rows,
            times=VideoTimes(ranges_N2, durations_N, cuts),
            problems={**_wrong_cuts(cuts), **self._problems(uris, ranges_N2)},
            num_without_id=self._num_without_id,
        )

    def _rows_again(self, ids: pa.Array) -> list[int]:
        """Rows whose id stands in an earlier row already; `_num_rows` has the videos that they are of, afterwards."""
        again: list[int] = []
        first_rows: dict[str, int] = {}
        num_rows: dict[int, int] = {}
        for row in IdIndex(ids).same_hashes().tolist():
            first = first_rows.setdefault(ids[row].as_py(), row)
            if first != row:
                again.append(row)
                num_rows[first] = num_rows.get(first, 1) + 1
        places = np.asarray(again, dtype=np.int64)
        self._num_rows = {row - int(np.searchsorted(places, row)): count for row, count in num_rows.items()}
        return again

    def _problems(self, uris: PackedTexts, ranges_N2: npt.NDArray[np.float64]) -> dict[int, str]:
        problems: dict[int, str] = {}
        for number in np.flatnonzero(~np.isnan(ranges_N2).all(axis=1)).tolist():
            try:
                check_range(*(None if np.isnan(value) else value for value in ranges_N2[number].tolist()))
            except ValueError as error:
                problems[number] = str(error)
        if not self._has_bytes:
            problems |= dict.fromkeys(uris.null_places().tolist(), "its row has no uri; give it one")
        for number, num_rows in self._num_rows.items():
            problems[number] = self._same_id_problem(num_rows)
        for number in self._disagreeing:
            problems[number] = "its prompt rows disagree about uri, start_seconds or end_seconds; make them equal"
        return problems


def _or_nothing(times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """These times, in an array without memory where all are NaN."""
    return np.broadcast_to(np.nan, times.shape) if np.isnan(times).all() else times.copy()


def _joined_or_nothing(parts: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    if all(0 in part.strides for part in parts if len(part)):
        return np.broadcast_to(np.nan, (sum(map(len, parts)), *parts[0].shape[1:]))
    return joined(parts)


def _texts(column: pa.Array) -> pa.Array:
    """Strings; empty ones are null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    texts = column.cast(pa.large_string())
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts)


def _seconds(column: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers, NaN for null."""
    values: npt.NDArray[np.float64] = (
        column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    )
    return values


def _lists(column: pa.Array) -> pa.Array:
    """Lists of numbers."""
    kind = pa.large_list(pa.float64())
    return pa.nulls(len(column), kind) if pa.types.is_null(column.type) else column.cast(kind)


def _wrong_cuts(cuts: pa.Array | None) -> dict[int, str]:
    """Why videos cannot be labeled that have a cut at no time, by number."""
    if cuts is None:
        return {}
    times = pc.list_flatten(cuts)
    is_wrong = pc.invert(pc.fill_null(pc.and_(pc.is_finite(times), pc.greater_equal(times, 0.0)), False))
    numbers = pc.list_parent_indices(cuts).filter(is_wrong).to_pylist()
    return dict.fromkeys(numbers, "cuts_seconds: expected finite numbers of seconds from 0; correct them")
