"""Which videos are left to label: those of the input tables minus those that the commit log has.

The plan holds ids, hashes and addresses in columns, and makes a `WorkItem` only when it is asked for the next one.
This way a million videos need a few hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.ids import HexColumn, IdIndex
from pipeline.inputs.durations import FileSizes
from pipeline.inputs.fates import Done, Fate, Tables, decided_alone, known, numbers_of, refused_hash, special
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.listing_choice import ListingChoice
from pipeline.inputs.matching import check_some_match
from pipeline.inputs.oddities import oddities
from pipeline.inputs.order import long_first, windows
from pipeline.inputs.prompt_index import index_of_found, index_prompts
from pipeline.inputs.prompted_objects import PromptedFrames, prompted_objects
from pipeline.inputs.reviewed_videos import missing, of_missing, with_review
from pipeline.inputs.video_files import VideoFiles
from pipeline.inputs.videos import read_videos
from pipeline.records import Outcome, Reason, Status, VideoSource, WorkItem
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.text import counted, no_row

WINDOW_VIDEOS = 1024  # long videos come first among so many
_VIDEOS_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class _Lengths:
    """How long the `N` videos of a window are.

    The table says it (`told_seconds`), or for the places in `unknown` the sizes of their files.
    """

    told_seconds: Float64Array
    unknown: Int64Array
    sizes: FileSizes

    def seconds(self) -> Float64Array:
        """Seconds to label of each video; 0 where nothing says it."""
        found = self.told_seconds.copy()
        found[self.unknown] = self.sizes.seconds()
        return found


@dataclass(frozen=True)
class Plan:
    """The videos of the input tables, and what is to become of each.

    `replaced` are videos that the log has, and whose rows must go because the videos are labeled or recorded again:
    their prompts changed (these are also in `changed`), reviewers have corrected or taken back objects of them (these
    are also in `reviewed`), or they are to be tried again. Of those `in_part`, which include the `reviewed` ones, only
    some objects are labeled again. `num_former` videos are in the log and in no table any more: their rows stay. A plan
    that `is_partial` has not looked for them.
    """

    changed: frozenset[str]
    replaced: frozenset[str]
    num_former: int
    reviewed: frozenset[str]
    in_part: frozenset[str]
    _tables: Tables
    _fates: npt.NDArray[np.uint8]

    @property
    def num_videos(self) -> int:
        """Number of distinct videos in the tables, without new ones that are left for the next run."""
        return len(self._fates) - self._count(Fate.LEFT)

    @property
    def num_done(self) -> int:
        """Number of videos that need nothing, because the log has them."""
        return self._count(Fate.DONE)

    @property
    def num_to_label(self) -> int:
        """Number of videos that workers get."""
        return self._count(Fate.LABEL)

    @property
    def num_no_prompts(self) -> int:
        """Number of videos to record as `no_prompts`."""
        return self._count(Fate.NO_PROMPTS)

    @property
    def num_refused(self) -> int:
        """Number of videos to record as failed, because their rows are wrong."""
        return self._count(Fate.REFUSED)

    @property
    def num_wrong_left(self) -> int:
        """Number of videos with wrong rows that stay as the log has them: those with masks keep them."""
        numbers = np.fromiter(self._tables.videos.problems, np.int64, len(self._tables.videos.problems))
        return int(np.count_nonzero(self._fates[numbers] == Fate.DONE))

    @property
    def num_left(self) -> int:
        """Number of videos that are left for the next run, because their files are still being written."""
        return len(self._tables.left) + len(self._tables.read.videos.temporary)

    def numbers_to_label(self) -> Int64Array:
        """The numbers of the videos that workers get."""
        return np.flatnonzero(self._fates == Fate.LABEL)

    def _count(self, fate: Fate) -> int:
        return int(np.count_nonzero(self._fates == fate))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the tables, for the user."""
        return self._tables.warnings

    @property
    def video_ids(self) -> Sequence[str]:
        """The ids of all videos of the tables."""
        return self._tables.videos.ids

    def prompt_hashes(self) -> HexColumn:
        """The hash of each video's prompts, in the order of `video_ids`; empty where it has none."""
        times = self._tables.videos.times
        return self._tables.prompts.hashes.hashes_of(slice(None), times.ranges_seconds, times.cuts_of(slice(None)))

    def former(self, done: Iterable[str]) -> list[str]:
        """Those of the finished videos `done` that the tables lack."""
        if not self.num_former:
            return []
        index, remaining = IdIndex(self._tables.videos.ids.column), iter(done)
        found: list[str] = []
        while some := list(islice(remaining, _VIDEOS_AT_A_TIME)):
            places = index.find(pa.array(some, pa.string()))
            found += [some[place] for place in np.flatnonzero(places < 0).tolist()]
        return found

    def prompted_objects(self, video_ids: Collection[str]) -> Mapping[str, PromptedFrames]:
        """The objects with prompts of these videos. Reads the tables once more."""
        return prompted_objects(self._tables.read, video_ids)

    def reasons(self) -> dict[str, Reason]:
        """Why each of the `replaced` videos is labeled or recorded again, by id."""
        files = self._tables.files_now
        others = {name: Reason.FILE if name in files else Reason.RETRY for name in self.replaced - self.changed}
        others |= dict.fromkeys(self.reviewed, Reason.REVIEW)
        return {**dict.fromkeys(self.changed & self.replaced, Reason.PROMPTS), **others}

    def done_files(
        self, are_wanted: Callable[[pa.Array], BoolArray], *, only_local: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Id and URI of videos that need nothing, where they have a file.

        `are_wanted` says of `N` ids which are asked for, `[N]`. With `only_local`, those that certainly lie in a store
        are left out.
        """
        videos = self._tables.videos
        for first in range(0, len(self._fates), _VIDEOS_AT_A_TIME):
            numbers = first + np.flatnonzero(self._fates[first : first + _VIDEOS_AT_A_TIME] == Fate.DONE)
            if only_local:
                numbers = numbers[videos.may_be_local(numbers)]
            wanted = numbers[are_wanted(videos.ids.column.take(pa.array(numbers)))] if len(numbers) else numbers
            for number in wanted.tolist():
                if (uri := videos.uri(number)) is not None:
                    yield videos.ids[number], uri

    @property
    def is_partial(self) -> bool:
        """Whether the listing of the videos began in the middle, so that finished ones may be missing."""
        return self._tables.read.is_partial

    @property
    def missing(self) -> tuple[str, ...]:
        """Videos with corrections that wait, and that the tables lack. A plan that `is_partial` has not looked."""
        return self._tables.missing

    @property
    def listing_choice(self) -> ListingChoice | None:
        """How a place in a store was listed, and why; `None` for tables and folders of this machine."""
        listing = self.listing
        return None if listing is None else listing.listed.choice

    @property
    def kind_of_listing(self) -> str:
        """`full` or `from_last`, as a place in a store was listed; empty for tables and folders of this machine."""
        return "" if self.listing_choice is None else self.listing_choice.kind

    def new_tails(self) -> pa.Array:
        """What follows after the root in the names of videos that the log does not have, `[N]`."""
        videos, listing = self._tables.videos, self.listing
        assert listing is not None
        is_new = self._fates != Fate.DONE
        is_new[numbers_of(self._tables, list(self.replaced))] = False
        return listing.found.tails.take(videos.rows.rows[is_new].astype(np.int64))

    def open_paths(self, are_well: Callable[[pa.Array], BoolArray], most: int) -> list[str] | None:
        """What follows after the root in the names of videos that are not labeled, or not well, ascending.

        `are_well` says of `N` ids of finished videos which are labeled well, `[N]`. `None` if they are more than
        `most`.
        """
        found: list[str] = []
        videos, listing = self._tables.videos, self.listing
        assert listing is not None
        for first in range(0, len(self._fates), _VIDEOS_AT_A_TIME):
            part = slice(first, first + _VIDEOS_AT_A_TIME)
            is_well = (self._fates[part] == Fate.DONE) & are_well(videos.ids.column[part])
            rows = videos.rows.rows[first + np.flatnonzero(~is_well)]
            if len(found) + len(rows) > most:
                return None
            found += listing.found.tails.take(rows.astype(np.int64)).to_pylist()
        return sorted({*found, *(f"/{name}" for name in listing.temporary)})

    def listed_versions(self) -> tuple[pa.Array, HexColumn] | None:
        """Ids of videos, and hashes of the versions of their files where a listing told them; `None` for a table."""
        return self._tables.read.videos.versions()

    @property
    def listing(self) -> VideoFiles | None:
        """The folder or glob of videos; `None` for a table."""
        videos = self._tables.read.videos
        return videos if isinstance(videos, VideoFiles) else None

    def with_files_now(self, files_now: Mapping[str, str], done: Mapping[str, Done], retry: Collection[str]) -> Plan:
        """The plan that also labels videos again whose file has another version: `files_now` are their hashes by id.

        Those that are still being written are left for the next run.
        """
        tables = self._tables
        left = _still_written(tables, numbers_of(tables, list(files_now))) | tables.left
        return _decided(replace(tables, files_now={**tables.files_now, **files_now}, left=left), done, retry)

    def again(self, done: Mapping[str, Done], retry: Collection[str] = ()) -> Plan:
        """The plan after the log has changed, without reading the tables again."""
        return _decided(self._tables, done, retry)

    def with_prompt_files(self, files: tuple[str, ...]) -> Plan:
        """The plan whose workers read prompts from these files, which are copies of those that were planned with."""
        tables = self._tables
        return replace(self, _tables=replace(tables, prompts=replace(tables.prompts, files=files)))

    def ids_to_label(self) -> pa.Array:
        """The ids of the `N` videos that workers get, `[N]`, in the order of the tables."""
        return self._tables.videos.ids.column.take(pa.array(self.numbers_to_label()))

    def items(
        self, window_videos: int = WINDOW_VIDEOS, turns: Sequence[Int64Array] | None = None
    ) -> Iterator[WorkItem]:
        """The videos to label, in order of dispatch: windows of about so many videos, the longest first in each.

        `turns` are places in `ids_to_label`, in groups: a group comes after all of the one before it. The sizes of the
        first window's files are looked up from this call on, before the first item is asked for.
        """
        numbers = self.numbers_to_label()
        places = self._tables.videos.places(numbers)
        if turns is None:
            groups = list(windows(places, window_videos))
        else:
            groups = [turn[window] for turn in turns for window in windows(_renumbered(places[turn]), window_videos)]
        return self._stream(numbers, places, groups, self._lengths(numbers, groups[:1], len(groups) == 1))

    def items_in_order(self) -> Iterator[WorkItem]:
        """The same in the order of the tables, in which whoever reads the prompts of all of them reads forward only."""
        for number in self.numbers_to_label().tolist():
            yield self._item(number, float(self._tables.videos.durations(np.array([number]))[0]))

    def _stream(
        self, numbers: Int64Array, places: Int64Array, groups: list[Int64Array], first: _Lengths
    ) -> Iterator[WorkItem]:
        """Window by window. While one is handed out, the sizes of the next one's files are looked up."""
        lengths = first
        for turn, group in enumerate(groups):
            following = self._lengths(numbers, groups[turn + 1 : turn + 2], turn + 2 == len(groups))
            seconds, lengths = lengths.seconds(), following
            order = long_first(places[group], seconds)
            for number, expected in zip(numbers[group[order]].tolist(), seconds[order].tolist(), strict=True):
                yield self._item(number, expected)

    def _lengths(self, numbers: Int64Array, group: list[Int64Array], is_last: bool) -> _Lengths:
        """How long the videos of the one window in `group` are; no videos where `group` is empty.

        Looking up a file in an object store costs a request, so only the last window's are looked up. Before the last
        window no worker runs out of work, and the order saves less than the requests cost.
        """
        videos = self._tables.videos
        wanted = numbers[group[0]] if group else numbers[:0]
        seconds = videos.durations(wanted)
        unknown = np.flatnonzero(seconds <= 0)
        uris = [videos.uri(number) for number in wanted[unknown].tolist()]
        read = self._tables.read
        return _Lengths(seconds, unknown, FileSizes(uris, read.storage_options, ask_stores=is_last, rules=read.rules))

    def _item(self, number: int, expected_seconds: float) -> WorkItem:
        videos, prompts = self._tables.videos, self._tables.prompts
        uri = videos.uri(number)
        times = videos.time_range(number)
        item = WorkItem(
            video_id=videos.ids[number],
            source=VideoSource(
                uri,
                videos.row_at(number) if uri is None else None,
                videos.row_at(number) if self._tables.read.keeps_of_videos else None,
            ),
            prompts_at=prompts.spans(number),
            prompt_hash=prompts.hash_of(number, times),
            range=times,
            expected_seconds=expected_seconds,
        )
        review = self.reviews.get(item.video_id)
        return item if review is None else with_review(item, review)

    @property
    def reviews(self) -> Mapping[str, ReviewedVideo]:
        """What people said of videos, by id."""
        return self._tables.reviews

    def no_prompts(self) -> Iterator[Outcome]:
        """Videos without prompts that the log does not have yet."""
        message = no_row(are_detections=self._tables.read.has_detections)
        for number in np.flatnonzero(self._fates == Fate.NO_PROMPTS).tolist():
            video_id = self._tables.videos.ids[number]
            yield Outcome(video_id, Status.NO_PROMPTS, "", 0, 0, "", message)

    def refused(self) -> Iterator[Outcome]:
        """Videos with wrong rows: they fail, with error class `input`."""
        videos, prompts = self._tables.videos, self._tables.prompts
        for number in np.flatnonzero(self._fates == Fate.REFUSED).tolist():
            video_id = self._tables.videos.ids[number]
            times = videos.time_range(number)
            prompt_hash = prompts.hash_of(number, times)
            message = f"video {video_id!r}: {videos.problems[number]}"
            yield Outcome(
                video_id, Status.FAILED, refused_hash(prompt_hash, videos.problems[number]), 0, 0, "input", message
            )


def make_plan(
    tables: InputTables,
    done: Mapping[str, Done],
    retry: Collection[str] = (),
    reviews: Mapping[str, ReviewedVideo] | None = None,
) -> Plan:
    """Read the input tables and decide about each video. `done` are the finished videos of the log, by id.

    Without a table of prompts, workers find the objects of all videos.
    A finished video is labeled again if its prompts or its range of time changed, if its id is among `retry`, or if
    `reviews` has other corrections than those that it was labeled with.
    Raises `InputError` for a table that cannot be used, `StorageError` if storage does not answer.
    """
    videos, numbers = read_videos(tables)
    prompts = index_prompts(tables, numbers) if tables.has_prompts else index_of_found(numbers.num_videos)
    check_some_match(tables, videos, prompts, done)
    del numbers  # 120 MB for ten million videos, which nobody needs any more
    warnings = list(oddities(tables, videos, prompts, done))
    lacked = missing(reviews or {}, done, videos.ids.column) if not tables.is_partial else []
    warnings += of_missing([name for name in lacked if name not in tables.told_missing])
    found = Tables(tables, videos, prompts, tuple(warnings), reviews=reviews or {}, missing=tuple(lacked))
    plan = _decided(found, done, retry)
    if plan.num_former and plan.num_former == len(done):
        warnings.append(_of_another_job(plan.num_former))
        found = replace(found, warnings=tuple(warnings))
        plan = replace(plan, _tables=found)
    left = _still_written(found, plan.numbers_to_label())
    return _decided(replace(found, left=left), done, retry) if left else plan


def _of_another_job(num_finished: int) -> str:
    are, none = ("is", "it is not") if num_finished == 1 else ("are", "none of them is")
    return (
        f"the output has {counted(num_finished, 'video')} that {are} done, and {none} in these tables: name another "
        "folder in output= if they are of another job"
    )


def _still_written(tables: Tables, numbers: Int64Array) -> frozenset[str]:
    """Which of these videos are left for the next run, because their files are still being written."""
    videos = tables.videos
    return tables.read.videos.still_written((videos.ids[number], videos.uri(number)) for number in numbers.tolist())


def _decided(tables: Tables, done: Mapping[str, Done], retry: Collection[str]) -> Plan:
    """Decide about all videos by columns, and about the few of which more than their hash is to be looked at."""
    videos, hashes = tables.videos, tables.prompts.hashes
    fates = np.empty(len(videos.ids), dtype=np.uint8)
    is_known, is_changed = np.zeros(len(fates), dtype=bool), np.zeros(len(fates), dtype=bool)
    for first in range(0, len(fates), _VIDEOS_AT_A_TIME):
        part = slice(first, first + _VIDEOS_AT_A_TIME)
        now = hashes.hashes_of(part, videos.times.ranges_seconds[part], videos.times.cuts_of(part))
        there = known(done, videos.ids.column[part])
        is_same = there.prompt_hashes.equals(now)
        is_known[part], is_changed[part] = there.is_known, there.is_known & ~is_same
        fates[part] = np.where(now.is_hex, Fate.LABEL, Fate.NO_PROMPTS)
        fates[part][there.is_known & is_same] = Fate.DONE
    is_replaced, reviewed, in_part = is_changed.copy(), set(), set()
    for number in special(tables, done, retry, fates).tolist():
        before = done.get(videos.ids[number])
        decision = decided_alone(tables, number, before, retry)
        fates[number], is_changed[number], is_replaced[number], is_reviewed, is_in_part = decision
        if is_reviewed:
            reviewed.add(videos.ids[number])
        if is_in_part:
            in_part.add(videos.ids[number])
    return Plan(
        frozenset(videos.ids.column.filter(pa.array(is_changed)).to_pylist()),
        frozenset(videos.ids.column.filter(pa.array(is_replaced)).to_pylist()),
        0 if tables.read.is_partial else len(done) - int(np.count_nonzero(is_known)),
        frozenset(reviewed),
        frozenset(in_part),
        tables,
        fates,
    )


def _renumbered(places: Int64Array) -> Int64Array:
    """Numbers of places, in order of their first video again: 0, 1, 2 and on."""
    _, first, numbers = np.unique(places, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers]
