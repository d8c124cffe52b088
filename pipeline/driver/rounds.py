"""Rounds of reviews: the run that labels videos again in part opens the next one, and gives its items the rows to keep.

That is where reviewers have corrected objects, and where objects are tried again of videos that people have reviewed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Int64Array
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.log import CommitLog
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.commits.snapshot import JobState
from pipeline.inputs.plan import Plan
from pipeline.inputs.reviewed_videos import with_former
from pipeline.records import Reason, Status, WorkItem
from pipeline.reviews.keeping import TABLE, Row, is_withdrawn, settled_objects, unchanged_objects
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import counted

_log = logging.getLogger(__name__)


def take_in(plan: Plan, log: CommitLog, keeper: SegmentKeeper, keep_rounds: int) -> None:
    """Set videos aside of which only some objects are labeled again: their rows count until new ones are there.

    Workers find the rows of the round before, to keep those of other objects. Videos that are not `ok` have none; they
    become unfinished. This opens the next round, unless a run was killed in the middle of the current one and this one
    goes on with it.
    """
    number = log.state.round + (0 if is_open(log.state, plan.in_part) else 1)
    keep_from(log, number, keep_rounds)
    if plan.reviewed:
        _log.info("round %d: reviewers have corrected %s", number, counted(len(plan.reviewed), "video"))
    if num_retried := len(plan.in_part - plan.reviewed):
        _log.info(
            "round %d: objects of %s that failed are tried again, the others keep their masks",
            number,
            counted(num_retried, "reviewed video"),
        )
    without_rows = [name for name in plan.in_part if log.state.finished[name].status is not Status.OK]
    keeper.forget(without_rows, plan.reasons(), without_rows)
    keeper.set_aside(plan.in_part)


def keep_from(log: CommitLog, number: int, keep_rounds: int) -> None:
    """Entries are of this round from now on, and so many rounds before it stay readable."""
    log.set_round(number, max(FIRST_ROUND, number - keep_rounds))


def is_open(state: JobState, in_part: Collection[str]) -> bool:
    """Whether videos of the current round are still to be labeled: of those that are set aside, some of `in_part`.

    Others of these are in no table any more, and would keep the round open forever.
    """
    if not state.set_aside().isdisjoint(in_part):
        return True
    # As a run of an earlier program left it.
    return any(
        name in state.tried and state.tried[name].why in (Reason.REVIEW, Reason.RETRY)
        for name in state.formers
        if name not in state.finished
    )


def left_the_round(plan: Plan, state: JobState) -> list[str]:
    """The videos that are set aside and that no table has any more: they left in the middle of a round."""
    aside = state.set_aside()
    return plan.former(aside) if aside else []


def end_round(plan: Plan, log: CommitLog) -> None:
    """Nobody waits any more for new rows of videos that left the tables in the middle of the round.

    Their corrections wait, and the run that finds one of them in its tables again takes these in, in a round of then.
    """
    if left := left_the_round(plan, log.state):
        _log.warning(
            "round %d: %s left the tables in the middle of it, and %s the masks of the round before",
            log.state.round,
            counted(len(left), "video"),
            "keeps" if len(left) == 1 else "keep",
        )
        log.put_back(left)


def corrected_first(plan: Plan) -> list[Int64Array] | None:
    """Places in `ids_to_label` in two groups: corrected videos, for which people wait, and all others; None for one.

    A segment with videos of both groups is written once more at its commit, and this way few have both.
    """
    if not plan.in_part:
        return None
    in_part = pa.array(sorted(plan.in_part), pa.string())
    is_first = np.asarray(pc.is_in(plan.ids_to_label().cast(pa.string()), value_set=in_part))
    groups = [np.flatnonzero(is_first), np.flatnonzero(~is_first)]
    return groups if all(map(len, groups)) else None


class ObjectsAgain(NamedTuple):
    """The objects that a run would label of each corrected video, again or for the first time; how many would leave."""

    by_video: Mapping[str, frozenset[int]] = MappingProxyType({})
    num_leaving: int = 0

    @property
    def num(self) -> int:
        """How many are labeled."""
        return sum(map(len, self.by_video.values()))


NO_OBJECTS_AGAIN = ObjectsAgain()


def objects_again(plan: Plan, storage: JobStorage, state: JobState) -> ObjectsAgain:
    """What a run would do with the objects of videos that reviewers have corrected.

    Raises `StorageError` if the store does not answer.
    """
    reviewed = sorted(plan.reviewed)
    if not reviewed:
        return NO_OBJECTS_AGAIN
    tables = JobTables(storage, state)
    videos, tracks = storage.retry("read tracks", lambda: (tables.videos(reviewed), tables.tracks(reviewed)))
    rows = {row["video_id"]: row for row in videos.to_pylist()}
    by_video: dict[str, list[Row]] = {video_id: [] for video_id in reviewed}
    for track in tracks.to_pylist():
        by_video[track["video_id"]].append(track)
    found = {name: _objects_again(rows[name], by_video[name], plan.reviews[name]) for name in reviewed}
    again = {name: labeled for name, (labeled, _) in found.items()}
    return ObjectsAgain(again, sum(num_leaving for _, num_leaving in found.values()))


def _objects_again(video: Row, tracks: Sequence[Row], review: ReviewedVideo) -> tuple[frozenset[int], int]:
    """The objects of one video that are labeled, and how many leave. These are its rows."""
    kept = settled_objects(tracks, video, review.settled)
    leaving = {track["object_id"] for track in tracks if is_withdrawn(track, review)} - kept
    same = unchanged_objects(tracks, review.object_hashes, review.splits, kept, TABLE)
    known = {track["object_id"] for track in tracks}
    again = known - kept - same - leaving
    return frozenset(again | (review.object_hashes.keys() - known)), len(leaving)


def with_former_rows(items: Iterable[WorkItem], state: JobState) -> Iterator[WorkItem]:
    """Items that say where the rows are that their videos had before this round, if any of these are kept."""
    for item in items:
        former = state.formers.get(item.video_id)
        yield item if former is None else with_former(item, former)
