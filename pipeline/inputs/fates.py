"""What becomes of each video of a plan: labeled, left as it is, refused, or left for the next run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Int64Array
from pipeline.ids import HexColumn, IdIndex, Known
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.prompt_index import PromptIndex
from pipeline.inputs.reviewed_videos import is_corrected, with_other_corrections
from pipeline.inputs.videos import VideoRows
from pipeline.records import Status
from pipeline.reviews.reviewed import NOT_REVIEWED, ReviewedVideo


class Done(Protocol):
    """How the log knows a finished video."""

    @property
    def status(self) -> Status: ...

    @property
    def prompt_hash(self) -> str: ...

    @property
    def source_hash(self) -> str: ...

    @property
    def review_hash(self) -> str: ...

    @property
    def review_hashes(self) -> tuple[str, ...]: ...


@runtime_checkable
class InColumns(Protocol):
    """Finished videos of which millions are looked up at a time."""

    def look_up(self, ids: pa.Array) -> Known: ...


class Fate(IntEnum):
    """What becomes of a video in this run. `NO_PROMPTS` and `REFUSED` are recorded, `LEFT` waits for the next run."""

    DONE, LABEL, NO_PROMPTS, REFUSED, LEFT = range(5)


@dataclass(frozen=True)
class Tables:
    """The input tables, and what was read of them.

    `files_now` has the `source_hash` of files as they are now: of videos whose file was replaced and that are to be
    labeled again for it. Files of the videos in `left` are still being written. `reviews` is what people said of
    videos; `missing` are those with corrections that wait, and that the tables lack.
    """

    read: InputTables
    videos: VideoRows
    prompts: PromptIndex
    warnings: tuple[str, ...]
    files_now: Mapping[str, str] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    reviews: Mapping[str, ReviewedVideo] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Decision(NamedTuple):
    """What is to become of one video. `is_replaced`: rows of it must go, `is_reviewed`: because of corrections.

    `is_in_part`: only some of its objects are labeled again, and the others keep their rows.
    """

    fate: Fate
    is_changed: bool = False
    is_replaced: bool = False
    is_reviewed: bool = False
    is_in_part: bool = False


def special(
    tables: Tables, done: Mapping[str, Done], retry: Collection[str], fates: npt.NDArray[np.uint8]
) -> Int64Array:
    """The numbers of videos of which more than the hash decides. `fates` are those by the hash, of all videos.

    That is problems, `retry`, replaced files, unfinished ones, corrections that came since, and masks of reviewers,
    which are the prompts of a video that has no others.
    """
    problems = np.fromiter(tables.videos.problems, np.int64, len(tables.videos.problems))
    names = [*retry, *tables.files_now, *tables.left, *with_other_corrections(tables.reviews, done)]
    if (fates == Fate.NO_PROMPTS).any():
        names += [name for name, review in tables.reviews.items() if review.has_masks]
    return np.unique(np.concatenate([problems, numbers_of(tables, names)])) if names else problems


def numbers_of(tables: Tables, names: Sequence[str]) -> Int64Array:
    """The numbers of those of these videos that the tables have."""
    if not names:
        return np.empty(0, np.int64)
    numbers = IdIndex(tables.videos.ids.column).find(pa.array(names, pa.string()))
    return numbers[numbers >= 0]


def decided_alone(tables: Tables, number: int, before: Done | None, retry: Collection[str]) -> Decision:
    """What is to become of one video of which more than the hash decides."""
    videos, files_now = tables.videos, tables.files_now
    times, video_id = videos.time_range(number), videos.ids[number]
    prompt_hash = tables.prompts.hash_of(number, times)
    review = tables.reviews.get(video_id, NOT_REVIEWED)
    fate = Fate.LABEL if prompt_hash or review.has_masks or _may_keep_rows(review, before) else Fate.NO_PROMPTS
    if video_id in tables.left:  # what the log has of it stays until then
        return Decision(Fate.LEFT if before is None else Fate.DONE)
    if number in videos.problems:
        fate, prompt_hash = Fate.REFUSED, refused_hash(prompt_hash, videos.problems[number])
    if before is None:
        return Decision(fate)
    if fate is Fate.REFUSED and before.status == Status.OK:
        return Decision(Fate.DONE)  # good masks stay when somebody adds a wrong row to the table
    if before.prompt_hash != prompt_hash:
        return Decision(fate, is_changed=True, is_replaced=True)
    if video_id in files_now and files_now[video_id] != before.source_hash:
        return Decision(fate, is_replaced=True)
    if fate is not Fate.REFUSED and is_corrected(review, before):
        return Decision(fate, is_replaced=True, is_reviewed=True, is_in_part=True)
    if video_id in retry:
        # Where people have worked, only the objects that failed are tried again.
        is_known = video_id in tables.reviews or bool(before.review_hash)
        is_in_part = fate is Fate.LABEL and before.status == Status.OK and is_known
        return Decision(fate, is_replaced=True, is_in_part=is_in_part)
    return Decision(Fate.DONE)


def _may_keep_rows(review: ReviewedVideo, before: Done | None) -> bool:
    """Whether rows of a video may stay that only masks of reviewers prompted, although all of these were withdrawn.

    A track that was accepted or rejected since keeps its rows, and so does one of which corrections are left that do
    not say where it is. The worker that reads the rows knows.
    """
    is_labeled = before is not None and before.status is Status.OK and not before.prompt_hash
    return is_labeled and bool(review.object_hashes or review.settled)


def known(done: Mapping[str, Done], ids: pa.Array) -> Known:
    """What is known of these videos: in columns, if `done` has such, or one by one."""
    if isinstance(done, InColumns):
        return done.look_up(ids)
    found = [done.get(video_id) for video_id in ids.to_pylist()]
    texts = pa.array(["" if one is None else one.prompt_hash for one in found], pa.string())
    is_ok = np.array([one is not None and one.status == Status.OK for one in found], dtype=bool)
    return Known(np.array([one is not None for one in found], dtype=bool), is_ok, HexColumn.of(texts, 2))


def refused_hash(prompt_hash: str, problem: str) -> str:
    """The hash of a video with a wrong row. It differs once the row is repaired, so the next run labels the video."""
    return blake2b(repr([prompt_hash, problem]).encode(), digest_size=16).hexdigest()
