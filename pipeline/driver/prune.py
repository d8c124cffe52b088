"""`prune=true`: what no table has any more leaves the output, with all that names it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.exclusion import Work, at_work
from pipeline.commits.run_document import delete_runs
from pipeline.commits.snapshot import JobState
from pipeline.errors import ConfigError
from pipeline.inputs.plan import Plan
from pipeline.output.layout import LISTING, STATUS, VERIFY, WAITING
from pipeline.output.saved_sessions import delete_others
from pipeline.records import Reason
from pipeline.reviews.pruning import drop_others
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted

_log = logging.getLogger(__name__)

_NUM_EXAMPLES = 5


def is_pruned(plan: Plan, state: JobState) -> bool:
    """Whether nothing is left to remove."""
    return not plan.num_former and state.erased_before == state.next_entry


def prune(plan: Plan, storage: JobStorage, state: JobState, keeper: SegmentKeeper) -> None:
    """Remove the videos that no table has: rows, saved sessions, and what the last run and the log say of them.

    The log is the last, so that a driver that is killed before the end finds work when the command is repeated.

    Raises `ConfigError` if the tables name no video at all, because everything would go, which nobody means, and while
    a compaction is at work.
    """
    former = find_former(plan, storage, state)
    with at_work(storage, Work.PRUNE):
        if former:
            _log.warning("prune=true: %s; removed", describe_pruned(former))
        keeper.forget(former, dict.fromkeys(former, Reason.PRUNE))
        delete_others(storage, plan.video_ids)
        storage.delete([STATUS, WAITING, LISTING])
        storage.delete_tree(VERIFY)
        delete_runs(storage)
        wanted = frozenset(plan.video_ids)
        drop_others(storage, wanted.__contains__)
        keeper.erase(wanted.__contains__)


def find_former(plan: Plan, storage: JobStorage, state: JobState) -> list[str]:
    """The finished videos that no table has, for `prune=true`.

    Raises `ConfigError` if these are all because the tables name no video.
    """
    former = plan.former(state.finished)
    if former and not plan.num_videos:
        raise ConfigError(
            f"prune=true would remove all {counted(len(former), 'video')} of {storage}, because the tables name no "
            "video. Check them; to remove everything, delete the output."
        )
    return former


def describe_pruned(former: Sequence[str]) -> str:
    """`1 video that no table has: 'film4'`."""
    return f"{counted(len(former), 'video')} that no table has: {_some(former)}"


def _some(video_ids: Sequence[str]) -> str:
    shown = ", ".join(map(repr, sorted(video_ids)[:_NUM_EXAMPLES]))
    return f"{shown}, …" if len(video_ids) > _NUM_EXAMPLES else shown
