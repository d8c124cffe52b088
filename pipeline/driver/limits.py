"""When a job is given up, and how long the driver waits before it tries again what failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config.job_config import WorkerConfig
from pipeline.driver.clock import Clock
from pipeline.records import Outcome, Status

_LONGEST_PAUSE_SECONDS = 60.0
_MIN_VIDEOS_TO_JUDGE = 100


@dataclass(frozen=True)
class Limits:
    """When the loop gives up."""

    max_failed_fraction: float
    max_setup_failures: int
    storage_patience_seconds: float

    @classmethod
    def of(cls, worker: WorkerConfig, max_failed_fraction: float) -> Limits:
        """The limits of a config."""
        return cls(max_failed_fraction, worker.max_setup_failures, worker.storage_patience_seconds)


def pause_seconds(num_failures: int) -> float:
    """How long to wait after so many failures in a row: 1 s, 2 s, 4 s …, at most 60 s."""
    return min(float(2 ** min(num_failures - 1, 10)), _LONGEST_PAUSE_SECONDS)


class FailureBudget:
    """How many videos of this run failed. It is judged after 100 videos, because the first ones may be special."""

    def __init__(self, max_failed_fraction: float) -> None:
        self._max_failed_fraction = max_failed_fraction
        self._num_videos = 0
        self._num_bad = 0

    def count(self, outcomes: Iterable[Outcome]) -> None:
        """These videos are in the log."""
        for outcome in outcomes:
            self._num_videos += 1
            self._num_bad += outcome.status is not Status.OK

    def exceeded(self) -> str:
        """How many videos failed, if they are too many; empty otherwise."""
        if self._num_videos < _MIN_VIDEOS_TO_JUDGE or self._num_bad <= self._max_failed_fraction * self._num_videos:
            return ""
        return f"{self._num_bad} of the first {self._num_videos} of this run"


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
