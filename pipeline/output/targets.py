"""Places that a command is told to write to: they are checked as any place is, and must not lie among files of a job.

`pq.read_table("labels/masks")` reads every file of that folder, so that a report or a queue there would end it.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.output import layout
from pipeline.output.schema import TABLES
from pipeline.redact import redact_uri
from pipeline.storage import destinations
from pipeline.storage.job_storage import TEMPORARY
from pipeline.storage.on_disk import is_folder
from pipeline.storage.uris import StorageOptions, is_local, local_path

_OF_A_JOB = frozenset((*TABLES, *layout.OWN_NAMES, TEMPORARY))


def check_file(to: str, example: str, storage_options: StorageOptions | None = None, key: str = "to") -> None:
    """As `destinations.check_file`, and `check_beside_jobs`."""
    destinations.check_file(to, example, storage_options, key)
    check_beside_jobs(to, key)


def check_folder(to: str, storage_options: StorageOptions | None = None) -> None:
    """As `destinations.check_folder`, and `check_beside_jobs`."""
    destinations.check_folder(to, storage_options)
    check_beside_jobs(to, "to")


def check_beside_jobs(place: str, key: str) -> None:
    """Raises `ConfigError` if a place on disk is a file or folder of a job, or lies in one.

    Beside them is room: `labels/report.html` is fine, and so is `labels/_logs/run.log`. In a store nothing is looked
    up, because that costs requests.
    """
    if not is_local(place):
        return
    path = Path(local_path(place)).expanduser().resolve()
    for job in path.parents:
        own = path.relative_to(job).parts[0]
        if own in _OF_A_JOB and is_folder(job / layout.LOG):
            where = "is" if path == job / own else "lies in"
            raise ConfigError(
                f"{key}={redact_uri(place)} {where} {own} of the job {job}, which the job alone writes: name another "
                f"place, as {key}={job.name}-{path.name}"
            )
