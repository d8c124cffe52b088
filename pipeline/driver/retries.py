"""Which finished videos `retry=` labels again: those that ended badly, until that has happened too often."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits.finished import FinishedVideo
from pipeline.commits.given_up import is_given_up
from pipeline.commits.snapshot import JobState
from pipeline.config.job_config import JobConfig
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.plan import Plan
from pipeline.inputs.reviewed_videos import taken_back
from pipeline.records import Status
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.storage.file_versions import current_versions
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import MAX_NAMED, counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Named:
    """Finished videos that `retry=` names, by what is to be done with them."""

    again: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    uncounted: set[str] = field(default_factory=set)


def to_try_again(
    config: JobConfig, state: JobState, storage: JobStorage, reviews: Mapping[str, ReviewedVideo] | None = None
) -> frozenset[str]:
    """Ids of the finished videos that `retry=` names, and of those that are set aside to be labeled again.

    `retry=failed` also names `ok` videos with objects that failed. A video that has ended badly `max_attempts` times in
    a row with the same prompts and the same file is left alone, because it would end in the same way again. A video
    that could not be labeled again counts as one to which that never happened, where `reviews` says that the
    corrections were withdrawn.
    """
    named = _named(config, state, reviews or {})
    return state.set_aside() | named.again | _with_failed_objects(storage, state, named.uncounted)


def with_other_files(plan: Plan, config: JobConfig, state: JobState, retry: Collection[str]) -> Plan:
    """The plan that also tries videos again which ended badly too often, where their file is another one now.

    `retry` are the videos of the plan that are tried again anyway. Says which videos are left alone.
    """
    given_up = _named(config, state, plan.reviews).given_up
    if not given_up:
        return plan
    named = pa.array(given_up, pa.string())
    files = plan.done_files(lambda ids: np.asarray(pc.is_in(ids.cast(pa.string()), value_set=named)))
    versions = current_versions(files, config.storage_options, ask_stores=True, rules=address_rules(config))
    hashes = {video_id: version.digest() for video_id, version in versions}
    other = {name: now for name, now in hashes.items() if now != _tried_file(state.finished[name])}
    if left := sorted(given_up - other.keys()):
        _log.warning(
            "%s not tried again, because %s with the same prompts and file ended badly (max_attempts): %s. "
            "Another file, other prompts or a higher max_attempts= lets them be tried again",
            counted(len(left), "video"),
            counted(config.max_attempts, "attempt"),
            ", ".join(map(repr, left[:MAX_NAMED])) + (", …" if len(left) > MAX_NAMED else ""),
        )
    # Those that have rows keep them until others are there, also where their worker finds another file than theirs.
    in_part = {name for name in other if name in state.finished.setbacks}
    files_now = {name: now for name, now in other.items() if name not in in_part}
    return plan.with_files_now(files_now, state.finished, {*retry, *in_part}) if other else plan


def _named(config: JobConfig, state: JobState, reviews: Mapping[str, ReviewedVideo]) -> _Named:
    wanted = {Status(name) for name in config.retry}
    withdrawn = taken_back(reviews, state.finished, state.finished.setbacks)
    named = _Named()
    set_back = [(name, state.finished[name]) for name, one in state.finished.setbacks.items() if one.status in wanted]
    for video_id, one in chain(set_back, state.finished.noted()) if wanted else ():
        finished = one._replace(setback=None) if video_id in withdrawn else one
        if finished.tally.num_tracks_failed is None and finished.status is Status.OK and Status.FAILED in wanted:
            named.uncounted.add(video_id)
        elif _is_named(finished, wanted):
            is_over = is_given_up(finished, config.max_attempts)
            (named.given_up if is_over else named.again).add(video_id)
    return named


def _is_named(finished: FinishedVideo, wanted: Collection[Status]) -> bool:
    has_failed_objects = finished.status is Status.OK and bool(finished.tally.num_tracks_failed)
    is_set_back = finished.setback is not None and finished.setback.status in wanted
    return finished.status in wanted or is_set_back or (has_failed_objects and Status.FAILED in wanted)


def _tried_file(finished: FinishedVideo) -> str:
    """The version of the file with which a video was tried last, as far as that is known."""
    return (finished.setback.source_hash if finished.setback else "") or finished.source_hash


def _with_failed_objects(storage: JobStorage, state: JobState, video_ids: Collection[str]) -> set[str]:
    """Which of these videos have objects that failed, by their rows: an earlier version did not count objects."""
    if not video_ids:
        return set()
    noted = JobTables(storage, state).noted_tracks(video_ids)
    return {str(track["video_id"]) for track in noted if track["status"] != Status.OK}
