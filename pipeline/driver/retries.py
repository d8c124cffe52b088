"""Which finished videos `retry=` labels again: those that ended badly, until that has happened too often."""

from __future__ import annotations

import logging
from collections.abc import Collection

from pipeline.commits.snapshot import FinishedVideo, JobState
from pipeline.config.job_config import JobConfig
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import MAX_NAMED, counted

_log = logging.getLogger(__name__)


def to_try_again(config: JobConfig, state: JobState, storage: JobStorage) -> frozenset[str]:
    """Ids of the finished videos that `retry=` names.

    `retry=failed` also names `ok` videos with objects that failed. A video that has ended badly `max_attempts` times in
    a row with the same prompts is left alone, because the next attempt would end in the same way; the log says so.
    """
    wanted = {Status(name) for name in config.retry}
    if not wanted:
        return frozenset()
    chosen: set[str] = set()
    given_up: list[str] = []
    uncounted: list[str] = []
    for video_id, finished in state.finished.items():
        if finished.tally.num_tracks_failed is None and finished.status is Status.OK:
            uncounted.append(video_id)
        elif _is_named(finished, wanted):
            is_over = finished.tally.num_failures >= config.max_attempts
            (given_up.append if is_over else chosen.add)(video_id)
    if uncounted and Status.FAILED in wanted:
        chosen |= _with_failed_objects(storage, state, uncounted)
    if given_up:
        named = ", ".join(map(repr, given_up[:MAX_NAMED])) + (", …" if len(given_up) > MAX_NAMED else "")
        _log.warning(
            "%s not tried again, because %d attempts with the same prompts ended badly (max_attempts): %s",
            counted(len(given_up), "video"),
            config.max_attempts,
            named,
        )
    return frozenset(chosen)


def _is_named(finished: FinishedVideo, wanted: Collection[Status]) -> bool:
    has_failed_objects = finished.status is Status.OK and bool(finished.tally.num_tracks_failed)
    return finished.status in wanted or (has_failed_objects and Status.FAILED in wanted)


def _with_failed_objects(storage: JobStorage, state: JobState, video_ids: Collection[str]) -> set[str]:
    """Which of these videos have objects that failed, by their rows: an earlier version did not count objects."""
    noted = JobTables(storage, state).noted_tracks(video_ids)
    return {str(track["video_id"]) for track in noted if track["status"] != Status.OK}
