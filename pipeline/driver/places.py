"""Places of a job that would be gone when it ends."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.storage.uris import is_local, local_path

_DISPOSABLE = ("runtime_resources", "working_dir_files")


def check_lasting(key: str, place: str | None) -> None:
    """Raises `ConfigError` if the place of a key lies in the copy of `working_dir` that Ray makes for a submitted job.

    Ray starts the job in that folder, so relative paths lie in it, and deletes it some time after the job's end.
    """
    if place is None or not is_local(place):
        return
    parts = Path(local_path(place)).expanduser().absolute().parts
    if any(parts[start : start + 2] == _DISPOSABLE for start in range(len(parts))):
        raise ConfigError(
            f"{key}={place} lies in the folder that Ray deletes after a submitted job: give an absolute path on a disk "
            "that stays, or a URI (s3://…)"
        )
