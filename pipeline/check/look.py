"""Looks at videos and their prompts as a worker would, up to the first frame: what fails here will fail there.

The prompts of every video are read. Only some videos are opened, because each costs a request or more. Without the
model nobody knows whether it sees an object, and without decoding a file nobody knows whether it is whole.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, pairwise

from model import MediaError, Reader, VideoInfo, open_reader
from pipeline.config.job_config import FramesConfig, JobConfig
from pipeline.errors import InputError, StorageError
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.fitting import fitted, says_only_what_it_is_not
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts, read_prompts
from pipeline.inputs.table_readers import TableReaders
from pipeline.records import FramePosition, TimeRange, WorkItem
from pipeline.redact import redact
from pipeline.storage.retry import Backoff
from pipeline.video.media import open_media

_PARALLEL = 8
_ITEMS_AHEAD = 1 << 14  # 13 MB of videos to come, some of which are being opened
_PATIENCE_SECONDS = 20.0
_DECODED_FRAMES = 48  # of a video, to find out how fast videos of this kind are decoded here


@dataclass(frozen=True)
class Opened:
    """What one video says of itself. `num_frames` are those of the labeled range, before `frames.stride` and `fps`.

    `decoded` are a number of frames and the seconds that it took to decode them, where that was tried. `num_bytes` is
    the size of the file, 0 where nobody tells it.
    """

    info: VideoInfo
    num_frames: int | None
    num_labeled: int | None
    decoded: tuple[int, float] = (0, 0.0)
    num_bytes: int = 0

    @property
    def most_frames(self) -> int | None:
        """Frames of the labeled range at most: those of the whole file where a part may have more than its share."""
        return self.num_frames if self.info.has_even_rate else self.info.num_frames_claimed


@dataclass(frozen=True)
class Looked:
    """One video: its prompts, and if it was opened what it says of itself, or why it cannot be read.

    `problems` are objects that will fail, by object id; `warnings` are odd ones. Only if every object has a problem
    does the video fail. `prompts` are None where the run finds the objects by itself.
    """

    item: WorkItem
    prompts: VideoPrompts | None
    opened: Opened | None
    error: str
    problems: dict[int, str]
    warnings: dict[int, str]

    @property
    def fails(self) -> bool:
        """Whether the whole video will fail: it cannot be read, or each of its objects has a problem."""
        if self.error or self.prompts is None:
            return bool(self.error)
        return all(one.object_id in self.problems for one in self.prompts.objects)

    def num_masks(self, direction: str, only: Collection[int] | None = None) -> int:
        """Rows of `masks` that are made of the video, by what it says of itself; 0 where nobody knows that.

        `only` are the objects that are labeled, if others keep their masks. One that reviewers have added is in no
        table of prompts, and counts as one on all frames.
        """
        if self.opened is None or not self.opened.num_labeled or self.prompts is None:
            return 0
        total, labeled = self.opened.num_frames or 1, self.opened.num_labeled
        known_ids = {one.object_id for one in self.prompts.objects}
        shares = [1.0] * len(set(only or ()) - known_ids)
        for one in self.prompts.objects:
            if one.object_id in self.problems or not one.prompts or (only is not None and one.object_id not in only):
                continue
            places = [_place(position, self.item.range, self.opened.info) for position, _ in one.prompts]
            known = [max(place, 0.0) for place in places if place is not None] or [0.0]
            shares.append(_covered(known, self._shots(total), direction) / total)
        return round(sum(min(max(share, 0.0), 1.0) * labeled for share in shares))

    def _shots(self, total: int) -> list[tuple[float, float]]:
        """Where each shot of a video of so many frames begins and stops, about: no object is followed across a cut."""
        assert self.opened is not None
        times, info = self.item.range, self.opened.info
        cuts = [_place(FramePosition(None, cut), times, info) for cut in times.cuts_seconds]
        edges = [0.0, *(float(round(cut)) for cut in cuts if cut is not None and 0 < round(cut) < total), float(total)]
        return list(pairwise(edges))


def look(
    items: Iterable[WorkItem],
    config: JobConfig,
    num_opened: int,
    patience_seconds: float = _PATIENCE_SECONDS,
    *,
    num_items: int,
) -> Iterator[Looked]:
    """Every video in turn, with its prompts if the job has any. Of all, `num_opened` are opened, evenly spaced.

    `num_items` is how many videos there are: they are taken as they are needed, because ten million take 8 GB. In the
    order of the tables their prompts are read forward, once. A store that does not answer for a video within
    `patience_seconds` is the fault of this video: the check goes on.

    Raises `StorageError` if the storage of the tables does not answer.
    """
    chosen = _evenly_spaced(num_items, num_opened)
    backoff = Backoff(patience_seconds=patience_seconds)
    to_decode = set(sorted(chosen)[:: max(1, len(chosen) // 4)])
    with TableReaders(InputNaming.of(config)) as tables, ThreadPoolExecutor(_PARALLEL, "check") as pool:

        def opening(number: int, item: WorkItem) -> Future[Opened] | None:
            if number not in chosen:
                return None
            return pool.submit(_open, item, config, tables, backoff, decodes=number in to_decode)

        try:
            for item, future in _ahead((item, opening(number, item)) for number, item in enumerate(items)):
                prompts, error, opened = None if config.discover else VideoPrompts(()), "", None
                try:
                    if prompts is not None:
                        prompts = read_prompts(item, config.storage_options, tables.prompts)
                    opened = None if future is None else _result(future)
                except (MediaError, InputError) as failure:
                    error = redact(str(failure))
                yield _looked(item, prompts, opened, error)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ahead(
    videos: Iterator[tuple[WorkItem, Future[Opened] | None]],
) -> Iterator[tuple[WorkItem, Future[Opened] | None]]:
    """The same, some thousand ahead of whoever takes them, so that several are being opened meanwhile."""
    waiting = deque(islice(videos, _ITEMS_AHEAD))
    while waiting:
        yield waiting.popleft()
        waiting.extend(islice(videos, 1))


def _covered(places: Sequence[float], shots: Sequence[tuple[float, float]], direction: str) -> float:
    """How many frames an object has masks on, that has prompts at these places: those of the shots with prompts."""
    covered = 0.0
    for number, (start, stop) in enumerate(shots):
        is_last = number == len(shots) - 1
        here = [place for place in places if start <= place < stop or (is_last and place >= stop)]
        if here:
            first = min(here) if direction == "forward" else start
            covered += (max(here) + 1 if direction == "backward" else stop) - first
    return covered


def _result(opening: Future[Opened]) -> Opened:
    """What was opened. Raises `MediaError` also where the store did not answer."""
    try:
        return opening.result()
    except StorageError as error:
        raise MediaError(str(error)) from error


def _looked(item: WorkItem, prompts: VideoPrompts | None, opened: Opened | None, error: str) -> Looked:
    problems, warnings = {}, {}
    for one in prompts.objects if prompts is not None else ():
        try:
            if warning := _check_object(one, item.range, opened):
                warnings[one.object_id] = warning
        except ValueError as failure:
            problems[one.object_id] = str(failure)
    return Looked(item, prompts, opened, error, problems, warnings)


def _check_object(one: ObjectPrompts, times: TimeRange, opened: Opened | None) -> str:
    """A warning about an object, mostly empty. Raises `ValueError` if the object will fail."""
    if one.error:
        raise ValueError(one.error)
    warnings = []
    if says_only_what_it_is_not(prompt for _, prompt in one.prompts):
        warnings.append("all clicks have label 0, so that none says where the object is; add one with label 1")
    for position, prompt in one.prompts if opened is not None else ():
        assert opened is not None
        place = _place(position, times, opened.info)
        if place is None:
            raise ValueError(f"{position}: the frames of this video have no times; give frame_index")
        most = opened.most_frames
        last = math.inf if most is None else most - (position.frame_index is not None)
        if not -1 < place <= last:
            raise ValueError(f"{position}: by its file the video has {most} frames in the labeled range")
        try:
            _, warning = fitted(prompt, opened.info.size_hw, one.box_told)
        except ValueError as error:
            raise ValueError(f"{position}: {error}") from error
        warnings += [f"{position}: {warning}"] if warning else []
    return "; ".join(warnings)


def _place(position: FramePosition, times: TimeRange, info: VideoInfo) -> float | None:
    """The number of a prompt's frame in the labeled range, about; `None` if the video has no times."""
    if position.frame_index is not None:
        return float(position.frame_index)
    if info.start_seconds is None or position.pts_seconds is None:
        return None
    start = info.start_seconds if times.start_seconds is None else max(times.start_seconds, info.start_seconds)
    return (position.pts_seconds - start) * (info.fps or 0.0)


def _open(item: WorkItem, config: JobConfig, tables: TableReaders, backoff: Backoff, *, decodes: bool) -> Opened:
    with open_media(item, config.storage_options, tables.video_bytes, backoff, rules=address_rules(config)) as media:
        reader = open_reader(media, config.decode.threads or 1, max_pixels=config.decode.max_pixels)
        info = reader.info()
        num_frames = _num_frames(info, item.range)
        num_labeled = _num_labeled(num_frames, info, config.frames)
        decoded = _decode(reader) if decodes else (0, 0.0)
        return Opened(info, num_frames, num_labeled, decoded, media.num_bytes or 0)


def _decode(reader: Reader) -> tuple[int, float]:
    """How many of the first frames were decoded, and in how many seconds."""
    started, num_frames = time.perf_counter(), 0
    with closing(reader.read()) as frames:
        for frame in frames:
            if frame.fault:  # an image of a folder that cannot be read costs its video this one frame
                continue
            frame.picture.pixels(frame.picture.size_hw)
            num_frames += 1
            if num_frames == _DECODED_FRAMES:
                break
    return num_frames, time.perf_counter() - started


def _num_frames(info: VideoInfo, times: TimeRange) -> int | None:
    """Frames of the labeled range by the claims of the file; `None` if it claims nothing."""
    total = info.num_frames_claimed
    if total is None and info.duration_seconds is not None and info.fps:
        total = round(info.duration_seconds * info.fps)
    if total is None or not info.fps or (times.start_seconds is None and times.end_seconds is None):
        return total
    first = info.start_seconds or 0.0
    start = max(times.start_seconds or first, first)
    end = min(times.end_seconds if times.end_seconds is not None else math.inf, first + total / info.fps)
    return max(0, round((end - start) * info.fps))


def _num_labeled(num_frames: int | None, info: VideoInfo, frames: FramesConfig) -> int | None:
    if num_frames is None:
        return None
    if frames.fps is not None and info.fps:
        return min(num_frames, math.ceil(num_frames * frames.fps / info.fps))
    return math.ceil(num_frames / frames.stride)


def _evenly_spaced(total: int, wanted: int) -> set[int]:
    if wanted >= total:
        return set(range(total))
    return {number * total // wanted for number in range(wanted)}
