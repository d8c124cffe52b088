"""When a job is given up, and how long the driver waits before it tries again what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.config.worker_config import WorkerConfig
from pipeline.driver.clock import Clock
from pipeline.records import Outcome, Report, Status
from pipeline.text import counted

_LONGEST_PAUSE_SECONDS = 60.0
_MIN_VIDEOS_TO_JUDGE = 100


@dataclass(frozen=True)
class Limits:
    """When the loop gives up, but for failed videos, which `FailureBudget` counts."""

    max_setup_failures: int
    storage_patience_seconds: float

    @classmethod
    def of(cls, worker: WorkerConfig) -> Limits:
        """The limits of a config."""
        return cls(worker.max_setup_failures, worker.storage_patience_seconds)


def pause_seconds(num_failures: int) -> float:
    """How long to wait after so many failures in a row: 1 s, 2 s, 4 s …, at most 60 s."""
    return min(float(2 ** min(num_failures - 1, 10)), _LONGEST_PAUSE_SECONDS)


@dataclass
class _Share:
    """How many of some things failed."""

    num: int = 0
    num_bad: int = 0

    def is_above(self, fraction: float) -> bool:
        return self.num_bad > fraction * self.num


class FailureBudget:
    """How many videos of this run failed, and how many objects of its `ok` videos.

    `retried` are videos that failed before with the same prompts (their hashes, by id). They do not count, because they
    were chosen for having failed.
    """

    def __init__(self, max_failed_fraction: float, retried: Mapping[str, str] | None = None) -> None:
        self._max_failed_fraction = max_failed_fraction
        self._retried = retried or {}
        self._videos = _Share()
        self._objects = _Share()

    def count(self, outcomes: Iterable[Outcome]) -> None:
        """These videos are in the log."""
        for outcome in outcomes:
            if outcome.status is Status.NO_PROMPTS or self._retried.get(outcome.video_id) == outcome.prompt_hash:
                continue
            self._videos.num += 1
            if outcome.status is not Status.OK:
                self._videos.num_bad += 1
            else:
                self._objects.num += outcome.details.num_tracks or 0
                self._objects.num_bad += outcome.details.num_tracks_failed or 0

    def exceeded(self) -> str:
        """What failed, if it is too much after 100 videos: the first ones may be special. Empty otherwise."""
        return self._judged("the first ") if self._videos.num >= _MIN_VIDEOS_TO_JUDGE else ""

    def exceeded_at_end(self) -> str:
        """What failed, if it is too much, of however few videos. Empty otherwise."""
        return self._judged("the ")

    def _judged(self, which: str) -> str:
        for noun, share in (("video", self._videos), ("object", self._objects)):
            if share.is_above(self._max_failed_fraction):
                return f"{share.num_bad} of {which}{counted(share.num, noun)} of this run"
        return ""


class StorageOutage:
    """Whether storage answers, what it said last, and how long it has been away."""

    def __init__(self, clock: Clock, patience_seconds: float) -> None:
        self.last_error = ""
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._num_errors = 0
        self._away_since: float | None = None

    def failed(self, message: str) -> float:
        """Storage did not answer. Returns until when to leave it alone; this grows with each failure in a row."""
        self.last_error = f"storage: {message}"
        self._num_errors += 1
        if self._away_since is None:
            self._away_since = self._clock()
        return self._clock() + pause_seconds(self._num_errors)

    def is_over(self) -> bool:
        """Storage answered. Returns whether it had been away."""
        was_away = self._away_since is not None
        self._num_errors, self._away_since = 0, None
        return was_away

    def is_too_long(self) -> bool:
        """Whether storage has been away for longer than the job waits for it."""
        return self._away_since is not None and self._clock() - self._away_since > self._patience_seconds


class ShutOut:
    """Which workers cannot publish what they have labeled, while others can: the store is not away.

    Such a worker would label on, and lose all of that at its end.
    """

    def __init__(self, clock: Clock, patience_seconds: float) -> None:
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._refused_since: dict[str, float] = {}
        self._published_at = 0.0

    def is_to_go(self, report: Report) -> bool:
        """Note a report. Returns whether its worker was refused for too long, and others published meanwhile."""
        now = self._clock()
        if report.segments or not report.unflushed:
            self._refused_since.pop(report.worker_id, None)
            self._published_at = now if report.segments else self._published_at
        elif len(report.storage_errors) > len(report.returned):  # the others are of videos that could not be read
            since = self._refused_since.setdefault(report.worker_id, now)
            return now - since > self._patience_seconds and self._published_at > since
        return False

    def forget(self, worker_id: str) -> None:
        """This worker is gone."""
        self._refused_since.pop(worker_id, None)
