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

from pipeline.inputs import InputTables
from pipeline.prompt_index import PromptIndex, index_prompts
from pipeline.video_rows import VideoRows, read_videos
from pipeline.work import Outcome, Status, WorkItem

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
    warnings: tuple[str, ...]
    _videos: VideoRows
    _prompts: PromptIndex
    _video_ids: list[str]
    _fates: npt.NDArray[np.uint8]

    def items(self) -> Iterator[WorkItem]:
        """The videos to label, in order of dispatch."""
        numbers = np.flatnonzero(self._fates == _Fate.LABEL)
        durations = self._videos.durations()[numbers]
        for number in numbers[dispatch_order(self._videos.places(numbers), durations, ORDER_WINDOW)].tolist():
            start, end, duration = self._videos.times(number)
            uri = self._videos.uri(number)
            yield WorkItem(
                video_id=self._video_ids[number],
                uri=uri,
                bytes_at=None if uri is not None else self._videos.bytes_at(number),
                prompts_at=self._prompts.spans(number),
                prompt_hash=_prompt_hash(self._videos, self._prompts, number),
                start_seconds=start,
                end_seconds=end,
                duration_seconds=duration,
            )

    def no_prompts(self) -> Iterator[Outcome]:
        """Videos without prompts that are not yet recorded as such."""
        for number in np.flatnonzero(self._fates == _Fate.NO_PROMPTS).tolist():
            yield Outcome(self._video_ids[number], Status.NO_PROMPTS, "", 0, 0, "", "the prompts table has none for it")

    def refused(self) -> Iterator[Outcome]:
        """Videos that cannot be labelled because of what their rows say, as failures of their input."""
        for number in np.flatnonzero(self._fates == _Fate.REFUSED).tolist():
            message = f"video {self._video_ids[number]!r}: {self._videos.problems[number]}"
            prompt_hash = _refused_hash(self._videos, self._prompts, number)
            yield Outcome(self._video_ids[number], Status.FAILED, prompt_hash, 0, 0, "input", message)


def make_plan(tables: InputTables, done: Mapping[str, Done], retry: Collection[Status] = ()) -> Plan:
    """Read the input tables and decide about each video. `done` are the finished videos of the log, by id.

    A finished video is done again if its prompts (or its labelled range) changed, or its status is among `retry`.
    Raises `InputError` for a table that cannot be used, `StorageError` when storage is away.
    """
    videos = read_videos(tables)
    prompts = index_prompts(tables, videos.numbers)
    fates = np.empty(len(videos.numbers), dtype=np.uint8)
    changed, replaced = set(), set()
    for video_id, number in videos.numbers.items():
        before = done.get(video_id)
        fate, prompt_hash = _fate_of_a_new_video(videos, prompts, number)
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
        warnings=tuple(_warnings(tables, videos, prompts)),
        _videos=videos,
        _prompts=prompts,
        _video_ids=list(videos.numbers),
        _fates=fates,
    )


def dispatch_order(places: Int64Array, durations: npt.NDArray[np.float64], window: int) -> Int64Array:
    """An order of `N` videos: those of one place (a tar, a row group) together and in their order; within windows of
    about `window` videos, places with longer videos first, so that none of them is left for the end.

    `places` are numbered 0, 1, 2 … in order of their first video.
    """
    if not len(places):
        return np.empty(0, dtype=np.int64)
    num_in_place = np.bincount(places)
    longest = np.zeros(len(num_in_place))
    np.maximum.at(longest, places, durations)
    window_of_place = (np.cumsum(num_in_place) - num_in_place) // window
    order_of_places = np.lexsort((-longest, window_of_place))
    turn_of_place = np.empty(len(order_of_places), dtype=np.int64)
    turn_of_place[order_of_places] = np.arange(len(order_of_places))
    return np.argsort(turn_of_place[places], kind="stable")


def _fate_of_a_new_video(videos: VideoRows, prompts: PromptIndex, number: int) -> tuple[_Fate, str]:
    """What is to become of a video that the log does not know, and the hash that goes with it."""
    if number in videos.problems:
        return _Fate.REFUSED, _refused_hash(videos, prompts, number)
    prompt_hash = _prompt_hash(videos, prompts, number)
    return (_Fate.LABEL if prompt_hash else _Fate.NO_PROMPTS), prompt_hash


def _prompt_hash(videos: VideoRows, prompts: PromptIndex, number: int) -> str:
    start, end, _ = videos.times(number)
    return prompts.hashes.hash_of(number, start, end)


def _refused_hash(videos: VideoRows, prompts: PromptIndex, number: int) -> str:
    """Differs from the hash of the same video once its row is repaired, so that it is labelled then."""
    said = [_prompt_hash(videos, prompts, number), videos.problems[number]]
    return blake2b(repr(said).encode(), digest_size=16).hexdigest()


def _warnings(tables: InputTables, videos: VideoRows, prompts: PromptIndex) -> Iterator[str]:
    if not len(videos.numbers):
        yield f"the {tables.videos.key} table has no rows with a video_id: nothing to label"
    elif not prompts.num_rows:
        yield "the prompts table has no rows: every video will be recorded as no_prompts"
    if videos.num_without_id:
        yield f"{videos.num_without_id} rows of the {tables.videos.key} table have no video_id and are left out"
    if prompts.num_without_object:
        yield f"{prompts.num_without_object} rows of the prompts table have no object_id and are left out"
    if prompts.num_unknown_rows and tables.has_videos_table:
        examples = ", ".join(map(repr, prompts.unknown_examples)) or "none"
        yield (
            f"{prompts.num_unknown_rows} of {prompts.num_rows} rows of the prompts table are of videos that are not in "
            f"the videos table, and are left out; examples: {examples}"
        )
    if videos.problems:
        ids = list(videos.numbers)
        examples = "; ".join(f"{ids[number]!r}: {problem}" for number, problem in _first(videos.problems))
        yield f"{len(videos.problems)} videos cannot be labelled because of their rows; examples: {examples}"


def _first(problems: Mapping[int, str]) -> list[tuple[int, str]]:
    return sorted(problems.items())[:_NUM_EXAMPLES]
