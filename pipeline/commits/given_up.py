"""Which videos that ended badly are left alone, because that has happened too often with the same prompts and file."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.commits.finished import FinishedVideo, FinishedVideos
from pipeline.records import Retries, Status


def is_given_up(finished: FinishedVideo, max_attempts: int) -> bool:
    """Whether a video that ended badly has done so as often as it may. One whose file was not there never has."""
    return finished.num_failures >= max_attempts and _was_opened(finished)


def _was_opened(finished: FinishedVideo) -> bool:
    """Whether a video's file is known to have been read: one that was not there may be there by now."""
    last = finished.setback or finished
    return last.status is not Status.FAILED or bool(last.source_hash)


def retries_of(statuses: Collection[str], max_attempts: int, videos: FinishedVideos) -> Retries:
    """What `retry=` and `max_attempts=` mean for the bad videos of a job, whether or not `retry=` names them."""
    bad = [finished for _, finished in videos.noted() if finished.is_bad]
    return Retries(tuple(statuses), max_attempts, sum(is_given_up(one, max_attempts) for one in bad))
