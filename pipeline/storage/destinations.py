"""Checks of places that a command will write to, made before it works for hours."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.redact import redact, redact_uri
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem


def check_file(to: str, example: str, storage_options: StorageOptions | None = None) -> None:
    """Raises `ConfigError` if `to=` is no name of a file, or nothing serves its scheme."""
    if to.endswith("/") or (is_local(to) and Path(local_path(to)).is_dir()):
        raise ConfigError(f"to={redact_uri(to)} is a folder: name the file in it, as in to={example}")
    _check_scheme(to, storage_options)


def check_folder(to: str, storage_options: StorageOptions | None = None) -> None:
    """Raises `ConfigError` if `to=` is a file or lies in one, or nothing serves its scheme."""
    if is_local(to):
        path = Path(local_path(to)).absolute()
        for place in (path, *path.parents):
            if place.is_file():
                raise ConfigError(f"to={redact_uri(to)}: {place} is a file, and to= names a folder")
    _check_scheme(to, storage_options)


def _check_scheme(to: str, storage_options: StorageOptions | None) -> None:
    try:
        open_filesystem(to, storage_options)
    except ValueError as error:
        raise ConfigError(f"to={redact_uri(to)}: {redact(str(error))}") from error
