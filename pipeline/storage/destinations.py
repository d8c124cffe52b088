"""Places that a command writes to: checked before it works for hours, and files written there whole, and read again."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError, StorageError
from pipeline.redact import redact, redact_uri
from pipeline.storage.atomic_files import replace_file
from pipeline.storage.faults import is_from_storage, said
from pipeline.storage.retry import Backoff
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


def save_file(to: str, data: bytes, storage_options: StorageOptions | None = None) -> int:
    """Write a file, with the folders above it, and return its size in bytes. It is whole, or stays what it was.

    Raises:
        ConfigError: `to` is a folder, or nothing serves its scheme.
        StorageError: the store or the disk refuses, or does not answer.
    """
    check_file(to, "report.html", storage_options)
    try:
        Backoff().run(f"writing to={redact_uri(to)}", lambda: _write(to, data, storage_options))
    except StorageError:
        raise
    except ValueError as error:
        raise ConfigError(f"to={redact_uri(to)}: {redact(str(error))}") from error
    except Exception as error:
        if not (is_from_storage(error) or isinstance(error, NotImplementedError)):
            raise
        raise StorageError(
            f"writing to={redact_uri(to)} was refused: {said(error)}. Check that the place exists, that it may be "
            "written, and that it has space left.",
            transient=False,
        ) from error
    return len(data)


def load_file(place: str, storage_options: StorageOptions | None = None) -> bytes:
    """The content of a file that a command has written.

    Raises `FileNotFoundError` if there is none, `StorageError` if the store does not answer, and `ValueError` if
    nothing serves its scheme.
    """

    def read() -> bytes:
        filesystem, path = open_filesystem(place, storage_options)
        data: bytes = filesystem.cat_file(path)
        return data

    return Backoff().run(f"reading {redact_uri(place)}", read)


def _write(to: str, data: bytes, storage_options: StorageOptions | None) -> None:
    if is_local(to):
        path = Path(local_path(to)).absolute()
        replace_file(path, data, path.parent)
        return
    filesystem, path_there = open_filesystem(to, storage_options)
    filesystem.pipe_file(path_there, data)
