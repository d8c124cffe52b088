"""What remains to be done: the input tables minus what the log has, in the order of dispatch.

The plan holds ids, hashes and addresses in columns and makes a `WorkItem` only when it is asked for the next, so that
a million videos need a few hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.inputs.durations import FileSizes, FloatArray
from pipeline.inputs.prompt_index import PromptIndex, index_prompts
from pipeline.inputs.shards import InputTables
from pipeline.inputs.videos import VideoRows, read_videos
from pipeline.records import Outcome, Status, WorkItem
from pipeline.storage.uris import StorageOptions
from pipeline.text import counted

ORDER_WINDOW = 1024  # videos within which long ones come first
_NUM_EXAMPLES = 3

Int64Array = npt.NDArray[np.int64]


class Done(Protocol):
    """How the log knows a finished video."""

    @property
    def status(self) -> Status: ...

    @property
    def prompt_hash(self) -> str: ...


class _Fate(IntEnum):
    DONE, LABEL, NO_PROMPTS, REFUSED = range(4)


@dataclass(frozen=True)
class _Tables:
    """What was read of the input tables."""

    videos: VideoRows
    prompts: PromptIndex
    storage_options: StorageOptions | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Lengths:
    """How long the videos of a window are, `[N]`: as the table says, or for those of `unknown`, by their files."""

    told_seconds: FloatArray
    unknown: Int64Array
    sizes: FileSizes

    def seconds(self) -> FloatArray:
        """Seconds to label of each video, as far as known; 0 = not."""
        found = self.told_seconds.copy()
        found[self.unknown] = self.sizes.seconds()
        return found


@dataclass
class Plan:
    """The videos of the input tables, what is to become of each, and what to tell the user.

    `replaced` are videos that the log has, but whose rows must go because they are labelled or recorded again:
    their prompts changed (also named in `changed`), or `retry=` asks for them.
    """

    num_videos: int
    num_done: int
    num_to_label: int
    num_no_prompts: int
    num_refused: int
    changed: frozenset[str]
    replaced: frozenset[str]
    _tables: _Tables
    _fates: npt.NDArray[np.uint8]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the tables."""
        return self._tables.warnings

    def again(self, done: Mapping[str, Done], retry: Collection[Status] = ()) -> Plan:
        """The plan after the log has changed, without reading the tables again."""
        return _decided(self._tables, done, retry)

    def items(self) -> Iterator[WorkItem]:
        """The videos to label, in order of dispatch. How large the first ones are is asked for at this call."""
        numbers = np.flatnonzero(self._fates == _Fate.LABEL)
        places = self._tables.videos.places(numbers)
        groups = list(windows(places, ORDER_WINDOW))
        return self._stream(numbers, places, groups, self._lengths(numbers, groups[:1], len(groups) == 1))

    def _stream(
        self, numbers: Int64Array, places: Int64Array, groups: list[Int64Array], first: _Lengths
    ) -> Iterator[WorkItem]:
        """Window by window; the lengths of the next one are looked up while one is handed out."""
        lengths = first
        for turn, group in enumerate(groups):
            following = self._lengths(numbers, groups[turn + 1 : turn + 2], turn + 2 == len(groups))
            seconds, lengths = lengths.seconds(), following
            order = long_first(places[group], seconds)
            for number, expected in zip(numbers[group[order]].tolist(), seconds[order].tolist(), strict=True):
                yield self._item(number, expected)

    def _lengths(self, numbers: Int64Array, group: list[Int64Array], is_last: bool) -> _Lengths:
        """How long the videos of a window are (none of them: of nothing).

        Of files in an object store only the last window is asked for, a request each: before it no worker runs dry,
        so the order matters less than the requests cost.
        """
        videos = self._tables.videos
        wanted = numbers[group[0]] if group else numbers[:0]
        seconds = videos.durations(wanted)
        unknown = np.flatnonzero(seconds <= 0)
        uris = [videos.uri(number) for number in wanted[unknown].tolist()]
        return _Lengths(seconds, unknown, FileSizes(uris, self._tables.storage_options, ask_stores=is_last))

    def _item(self, number: int, expected_seconds: float) -> WorkItem:
        videos, prompts = self._tables.videos, self._tables.prompts
        uri = videos.uri(number)
        start, end = videos.range_seconds(number)
        return WorkItem(
            video_id=self._tables.videos.ids[number],
            uri=uri,
            bytes_at=None if uri is not None else videos.bytes_at(number),
            prompts_at=prompts.spans(number),
            prompt_hash=prompts.hashes.hash_of(number, start, end),
            start_seconds=start,
            end_seconds=end,
            expected_seconds=expected_seconds,
        )

    def no_prompts(self) -> Iterator[Outcome]:
        """Videos without prompts that are not yet recorded as such."""
        for number in np.flatnonzero(self._fates == _Fate.NO_PROMPTS).tolist():
            video_id = self._tables.videos.ids[number]
            yield Outcome(video_id, Status.NO_PROMPTS, "", 0, 0, "", "the prompts table has none for it")

    def refused(self) -> Iterator[Outcome]:
        """Videos that cannot be labelled because of what their rows say, as failures of their input."""
        videos, prompts = self._tables.videos, self._tables.prompts
        for number in np.flatnonzero(self._fates == _Fate.REFUSED).tolist():
            video_id = self._tables.videos.ids[number]
            prompt_hash = prompts.hashes.hash_of(number, *videos.range_seconds(number))
            message = f"video {video_id!r}: {videos.problems[number]}"
            yield Outcome(
                video_id, Status.FAILED, _refused_hash(prompt_hash, videos.problems[number]), 0, 0, "input", message
            )


def make_plan(tables: InputTables, done: Mapping[str, Done], retry: Collection[Status] = ()) -> Plan:
    """Read the input tables and decide about each video. `done` are the finished videos of the log, by id.

    A finished video is done again if its prompts (or its labelled range) changed, or its status is among `retry`.
    Raises `InputError` for a table that cannot be used, `StorageError` when storage is away.
    """
    videos, numbers = read_videos(tables)
    prompts = index_prompts(tables, numbers)
    numbers.clear()  # a hundred megabytes for a million videos, needed by nobody from here on
    read = _Tables(videos, prompts, tables.storage_options, tuple(_warnings(tables, videos, prompts)))
    return _decided(read, done, retry)


def _decided(tables: _Tables, done: Mapping[str, Done], retry: Collection[Status]) -> Plan:
    videos = tables.videos
    fates = np.empty(len(videos.ids), dtype=np.uint8)
    changed, replaced = set(), set()
    hashes = tables.prompts.hashes.all_hashes(videos.times_seconds[:, :2])
    for number, (video_id, prompt_hash) in enumerate(zip(videos.ids, hashes, strict=True)):
        fate = _Fate.LABEL if prompt_hash else _Fate.NO_PROMPTS
        if number in videos.problems:
            fate, prompt_hash = _Fate.REFUSED, _refused_hash(prompt_hash, videos.problems[number])
        before = done.get(video_id)
        if before is not None and fate == _Fate.REFUSED and before.status == Status.OK:
            fate = _Fate.DONE  # good masks are not thrown away because a row was added to the table
        elif before is not None and before.prompt_hash != prompt_hash:
            changed.add(video_id)
            replaced.add(video_id)
        elif before is not None and before.status in retry:
            replaced.add(video_id)
        elif before is not None:
            fate = _Fate.DONE
        fates[number] = fate
    counts = np.bincount(fates, minlength=len(_Fate)).tolist()
    return Plan(
        num_videos=len(fates),
        num_done=counts[_Fate.DONE],
        num_to_label=counts[_Fate.LABEL],
        num_no_prompts=counts[_Fate.NO_PROMPTS],
        num_refused=counts[_Fate.REFUSED],
        changed=frozenset(changed),
        replaced=frozenset(replaced),
        _tables=tables,
        _fates=fates,
    )


def windows(places: Int64Array, size: int) -> Iterator[Int64Array]:
    """`N` videos in groups of about `size`, in their order; videos of one place are in one group.

    `places` are numbered 0, 1, 2 … in order of their first video. A group is indexes into `places`.
    """
    if not len(places):
        return
    num_in_place = np.bincount(places)
    window_of_video = ((np.cumsum(num_in_place) - num_in_place) // size)[places]
    order = np.argsort(window_of_video, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(window_of_video[order])) + 1)


def long_first(places: Int64Array, seconds: FloatArray) -> Int64Array:
    """An order of `N` videos: those of one place (a tar, a row group) together and in their order, and places with
    longer videos first, so that none of them is left for the end."""
    _, places = np.unique(places, return_inverse=True)
    longest = np.zeros(places.max(initial=-1) + 1)
    np.maximum.at(longest, places, seconds)
    return np.asarray(np.lexsort((places, -longest[places])))


def _refused_hash(prompt_hash: str, problem: str) -> str:
    """Differs from the hash of the same video once its row is repaired, so that it is labelled then."""
    return blake2b(repr([prompt_hash, problem]).encode(), digest_size=16).hexdigest()


def _warnings(tables: InputTables, videos: VideoRows, prompts: PromptIndex) -> Iterator[str]:
    for table in {tables.prompts.key: tables.prompts, tables.videos.key: tables.videos}.values():
        for name, meant in table.misspelled():
            yield f"column {name} of the {table.key} table is not read: did you mean {meant}?"
    if not len(videos.ids):
        yield f"the {tables.videos.key} table has no rows with a video_id: nothing to label"
    elif not prompts.num_rows:
        yield "the prompts table has no rows: every video will be recorded as no_prompts"
    if videos.num_without_id:
        yield f"left out, without a video_id: {counted(videos.num_without_id, 'row')} of the {tables.videos.key} table"
    if prompts.num_without_object:
        yield f"left out, without an object_id: {counted(prompts.num_without_object, 'row')} of the prompts table"
    if prompts.num_unknown_rows and tables.has_videos_table:
        examples = ", ".join(map(repr, prompts.unknown_examples)) or "none"
        yield (
            f"{prompts.num_unknown_rows} of {prompts.num_rows} rows of the prompts table are of videos that are not in "
            f"the videos table, and are left out; examples: {examples}"
        )
    if videos.problems:
        examples = "; ".join(f"{videos.ids[number]!r}: {problem}" for number, problem in _first(videos.problems))
        count = counted(len(videos.problems), "video")
        yield f"{count} not to be labelled, because of wrong rows; examples: {examples}"


def _first(problems: Mapping[int, str]) -> list[tuple[int, str]]:
    return sorted(problems.items())[:_NUM_EXAMPLES]
