"""Which videos that ended badly are left alone, because that has happened too often with the same prompts and file."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pipeline.commits.finished import FinishedVideo, FinishedVideos
from pipeline.records import Retries, Status
from pipeline.text import OBJECT


def is_given_up(finished: FinishedVideo, max_attempts: int) -> bool:
    """Whether a video that ended badly has done so as often as it may. One whose file was not there never has."""
    return finished.num_failures >= max_attempts and _was_opened(finished)


def _was_opened(finished: FinishedVideo) -> bool:
    """Whether a video's file is known to have been read: one that was not there may be there by now."""
    last = finished.setback or finished
    return last.status is not Status.FAILED or bool(last.source_hash)


def _bad_videos(videos: FinishedVideos, withdrawn: Collection[str]) -> Iterator[FinishedVideo]:
    """Those that have no good rows, or not of all objects."""
    return (finished for finished in _as_wanted(videos, withdrawn) if finished.is_bad)


def _set_back_videos(videos: FinishedVideos, withdrawn: Collection[str]) -> Iterator[FinishedVideo]:
    """Those that could not be labeled again and keep their rows."""
    return (finished for finished in _as_wanted(videos, withdrawn) if finished.setback is not None)


def _hit_by(kind: str, videos: FinishedVideos, withdrawn: Collection[str]) -> Iterator[FinishedVideo]:
    """Videos that a kind of cause has hit: a status, also of the last try of one that keeps its rows, or `OBJECT`."""
    for finished in _as_wanted(videos, withdrawn):
        is_partly = finished.status is Status.OK and bool(finished.tally.num_tracks_failed)
        tried = finished.setback or finished
        if is_partly if kind == OBJECT else kind in (finished.status, tried.status):
            yield finished


def _as_wanted(videos: FinishedVideos, withdrawn: Collection[str]) -> Iterator[FinishedVideo]:
    """All that are not well, and perhaps others.

    Of `withdrawn` ones nobody wants the labels that could not be made: they are as if that had never been tried.
    """
    every = dict(videos.noted()) | {name: videos[name] for name in videos.setbacks}
    for name, finished in every.items():
        yield finished._replace(setback=None) if name in withdrawn else finished


def retries_of(
    statuses: Collection[str], max_attempts: int, videos: FinishedVideos, withdrawn: Collection[str], kind: str = ""
) -> Retries:
    """What `retry=` and `max_attempts=` mean for the bad videos of a job, whether or not `retry=` names them.

    `kind` asks for those alone that such a cause has hit, see `_hit_by`. `withdrawn` are videos that could not be
    labeled with corrections that nobody wants any more.
    """
    bad = _hit_by(kind, videos, withdrawn) if kind else _bad_videos(videos, withdrawn)
    set_back = () if kind else _set_back_videos(videos, withdrawn)
    given_up, kept = (
        [finished.num_failures for finished in some if is_given_up(finished, max_attempts)] for some in (bad, set_back)
    )
    return Retries(tuple(statuses), max_attempts, len(given_up), max([*given_up, *kept], default=0), len(kept))
