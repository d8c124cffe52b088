"""`last_run.json`: how the last run ended, for whatever watches; and a bounded number of earlier ends, for comparison.

Nothing that labels relies on them: what counts is the commit log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import NewerVersion
from pipeline.output.layout import LAST_RUN, RUNS, past_run, start_of_run
from pipeline.records import BAD, Status
from pipeline.storage.documents import Document
from pipeline.storage.job_storage import JobStorage

_MOST_KEPT, _FEWEST_KEPT = 100, 8
_KEPT_FOR = timedelta(days=35)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CauseOfFailure(_Part):
    """Why videos or objects of a run ended badly: of how many, with the message of one of them."""

    kind: str
    error_class: str
    message: str
    count: int


class StepDone(_Part):
    """A step after a run. `log_entry` is the length of the log that it has seen, if it succeeded.

    `exit_code` is None for a step that was left out, and `message` says why. `place` is where a report or an export
    was written, with the day in it; empty for others.
    """

    step: str
    place: str = ""
    exit_code: int | None = None
    seconds: float = 0.0
    message: str = ""
    log_entry: int | None = None


class DoubtCount(_Part):
    """Doubtful tracks among the visible ones of some videos of a run."""

    num_videos: int
    num_tracks: int
    num_doubtful: int

    @property
    def share(self) -> float:
        """The share of doubtful tracks; 0 where there are no tracks."""
        return self.num_doubtful / self.num_tracks if self.num_tracks else 0.0


class RunDocument(Document):
    """The end of one run. docs/nightly.md says what each field means.

    `state` is the name of the `Ending` in lower case, or `owned`, `refused` or `interrupted`. `num_ended` are videos of
    this run by status, `videos` those of the whole output. `entry` is the length of the log before the run: what the
    run has changed is what `changes` tells from there on.
    """

    output: str
    started_at: str
    ended_at: str
    seconds: float
    state: str
    exit_code: int
    message: str
    entry: int | None = None
    num_planned: int | None = None
    num_former: int = 0
    listing: str = ""
    listing_why: str = ""
    num_before_this_run: int = 0
    num_waiting: int = 0
    num_left: int = 0
    num_ended: dict[str, int] = Field(default_factory=dict)
    videos: dict[str, int] = Field(default_factory=dict)
    num_objects_failed: int = 0
    num_objects_warned: int = 0
    num_frames: int = 0
    num_masks: int = 0
    frames_per_second: float = 0.0
    videos_per_second: float = 0.0
    worker_seconds: float = 0.0
    price_per_hour: float | None = None
    cost: float | None = None
    failures: dict[str, int] = Field(default_factory=dict)
    causes: list[CauseOfFailure] = Field(default_factory=list)
    doubt: DoubtCount | None = None
    worse: list[str] = Field(default_factory=list)
    after: list[StepDone] = Field(default_factory=list)

    @property
    def num_labeled(self) -> int:
        """Videos of this run that ended, with masks or badly."""
        return self.num_bad + self.num_ended.get(Status.OK.value, 0)

    @property
    def num_bad(self) -> int:
        """Videos of this run that failed or were quarantined."""
        return sum(self.num_ended.get(status.value, 0) for status in BAD)


def read_last_run(storage: JobStorage) -> RunDocument | None:
    """How the last run ended; None if nothing says so, or nothing of use.

    Raises `NewerVersion` if a newer version of this program wrote it, and `StorageError` if the store does not answer.
    """
    return _read(storage, LAST_RUN)


def write_last_run(storage: JobStorage, document: RunDocument) -> None:
    """Replace `last_run.json`. Raises `StorageError` if the store does not take it."""
    storage.replace(LAST_RUN, document.to_json(indent=2))


def runs_since(storage: JobStorage, since: datetime, before: datetime) -> list[RunDocument]:
    """The ends of runs that began at `since` or later and before another time, in order.

    Those that cannot be read are left out. One that says that it began later was written by a clock that ran ahead: it
    would be the night before each of the nights to come. Raises `StorageError` if the store does not answer.
    """
    paths = [path for path, started in _past(storage).items() if since <= started < before]
    found = []
    for path, data in zip(paths, storage.read_existing(paths), strict=True):
        with contextlib.suppress(ValueError):  # torn, or of a newer version
            if data is not None:
                found.append(RunDocument.from_json(data, f"{storage}/{path}"))
    return found


def keep_run(storage: JobStorage, document: RunDocument) -> None:
    """Put the end of a run among the earlier ones, and delete those beyond 35 days and the last hundred.

    The last few stay, however old they are, because a clock that ran ahead once would take them for old.
    Raises `StorageError` if the store does not answer.
    """
    started = datetime.fromisoformat(document.started_at)
    storage.replace(past_run(started), document.to_json())
    paths = _past(storage)
    old = [path for path in list(paths)[:-_FEWEST_KEPT] if paths[path] < started - _KEPT_FOR]
    storage.delete({*old, *list(paths)[:-_MOST_KEPT]})


def delete_runs(storage: JobStorage) -> None:
    """Delete what is kept of all runs, because their messages may name videos.

    Raises `StorageError` if the store does not answer.
    """
    storage.delete([LAST_RUN, *(stored.path for stored in storage.listing(RUNS))])


def _past(storage: JobStorage) -> Mapping[str, datetime]:
    """Paths of the ends of earlier runs with their starts, in order."""
    found = {stored.path: start_of_run(stored.path) for stored in storage.listing(RUNS)}
    return {path: started for path, started in found.items() if started is not None}


def _read(storage: JobStorage, path: str) -> RunDocument | None:
    try:
        return RunDocument.from_json(storage.read(path), f"{storage}/{path}")
    except FileNotFoundError:
        return None
    except NewerVersion:
        raise
    except ValueError:
        return None


def utc_now() -> datetime:
    """The time of now."""
    return datetime.now(UTC)
