"""`_status.json`: how far a run is, for other processes. Nothing relies on it: what counts is the commit log."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from pydantic import Field

from pipeline.errors import NewerVersion, StorageError
from pipeline.output.layout import STATUS
from pipeline.storage.documents import Document
from pipeline.storage.job_storage import JobStorage


class RunStatus(Document):
    """Counts of one run and of the job. `num_ended` are videos of this run by status, `failures` those by error class.

    `num_planned` videos are in the tables of the run. `num_former` are finished and in none of these tables any more.
    `gone` names up to a thousand of these, and of videos with corrections alone that no table has.
    `listing` is `full` or `from_last` where `videos=` is a place in a store: the latter has not looked for former and
    replaced videos.
    Objects are counted in the `ok` videos of this run: those that failed, and those that have a warning. `num_workers`
    have loaded their model, `num_workers_starting` are asked for and have not. On `num_nodes_left_alone` workers failed
    again and again before their first frame. `worker_seconds` are the times for which all workers had their model
    loaded, which a price of an hour turns into the cost of the run.

    `retry` and `max_attempts` are keys of the run. `max_attempts` is None in files of earlier versions.

    `state` is `running`, or the name of the `Ending` in lower case.
    """

    state: str
    written_at: str = ""
    num_planned: int | None = None
    num_former: int = 0
    gone: tuple[str, ...] = ()
    listing: str = ""
    num_before_this_run: int = 0
    num_ended: dict[str, int] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    num_objects_failed: int = 0
    num_objects_warned: int = 0
    num_frames: int = 0
    num_masks: int = 0
    frames_per_second: float = 0.0
    videos_per_second: float = 0.0
    num_waiting: int = 0
    num_workers: int = 0
    num_workers_starting: int = 0
    num_gpus: float = 0.0
    num_nodes_left_alone: int = 0
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    worker_seconds: float = 0.0
    last_error: str = ""
    retry: tuple[str, ...] = ()
    max_attempts: int | None = None


def write_status(storage: JobStorage, status: RunStatus) -> None:
    """Replace the file, with the time of now. Raises `StorageError` if the store does not take it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    storage.replace(STATUS, status.model_copy(update={"written_at": now}).to_json(indent=2))


def read_status(storage: JobStorage) -> RunStatus | None:
    """What the last run wrote; None if there is no such file, or nothing of use in it.

    Raises:
        NewerVersion: a newer version of this program wrote it.
        StorageError: the store does not answer.
    """
    try:
        return RunStatus.from_json(storage.read(STATUS), f"{storage}/{STATUS}")
    except FileNotFoundError:
        return None
    except NewerVersion:
        raise
    except ValueError:
        return None


def correct_status(storage: JobStorage, now: RunStatus) -> None:
    """Put what `now` was given into what the last run wrote: nothing was left to do, but tables or keys are others now.

    A store that does not take it raises nothing, because the file only informs.
    """
    found = {name: getattr(now, name) for name in now.model_fields_set}
    with contextlib.suppress(NewerVersion, StorageError):
        before = read_status(storage)
        if before is not None and before != (after := before.model_copy(update=found)):
            storage.replace(STATUS, after.to_json(indent=2))
