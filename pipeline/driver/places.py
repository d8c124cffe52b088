"""Places of a job that would be gone when it ends, or that others have taken."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.output.layout import LOG, OWNER
from pipeline.output.schema import TABLES
from pipeline.output.targets import check_beside_jobs
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import is_local, local_path

_OF_EXPORTS = frozenset({"manifest_videos.jsonl", "_parts"})
_DISPOSABLE = ("runtime_resources", "working_dir_files")


def check_place(key: str, place: str | None) -> None:
    """Raises `ConfigError` if what is written to the place of a key would be gone, or would spoil the tables of a job.

    Ray makes a copy of `working_dir` for a submitted job and starts the job in it, so relative paths lie in it. Ray
    deletes it some time after the job's end.
    """
    if place is None or not is_local(place):
        return
    check_beside_jobs(place, key)
    parts = Path(local_path(place)).expanduser().absolute().parts
    if any(parts[start : start + 2] == _DISPOSABLE for start in range(len(parts))):
        raise ConfigError(
            f"{key}={place} lies in the folder that Ray deletes after a submitted job: give an absolute path on a disk "
            "that stays, or a URI (s3://…)"
        )


def check_free(storage: JobStorage) -> None:
    """Raises `ConfigError` if a new job's tables would lie among the files of an export, or of another program.

    Other files beside them, as a folder with the videos, are left alone. It costs one listing.
    """
    names = set(storage.names_below())
    if {LOG, OWNER} & names:
        return
    if taken := sorted((_OF_EXPORTS | set(TABLES)) & names):
        what = "an export" if _OF_EXPORTS & names else f"a folder {taken[0]}, which is of no job"
        raise ConfigError(f"output={storage} holds {what}: name another folder")
