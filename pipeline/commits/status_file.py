"""`_status.json`: how far a run is, for other processes. Nothing relies on it: what counts is the commit log."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from pipeline.errors import NewerVersion
from pipeline.output.layout import STATUS
from pipeline.storage.documents import Document
from pipeline.storage.job_storage import JobStorage


class RunStatus(Document):
    """Counts of one run and of the job. `num_ended` are videos of this run by status, `failures` those by error class.

    `state` is `running`, or the name of the `Ending` in lower case.
    """

    state: str
    written_at: str = ""
    num_planned: int | None = None
    num_before_this_run: int = 0
    num_ended: dict[str, int] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    num_frames: int = 0
    num_masks: int = 0
    frames_per_second: float = 0.0
    videos_per_second: float = 0.0
    num_waiting: int = 0
    num_workers: int = 0
    num_gpus: float = 0.0
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    last_error: str = ""


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
