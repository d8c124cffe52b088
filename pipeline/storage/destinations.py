"""Places that a command writes to: checked before it works for hours, and files written there whole, and read again."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from pipeline.errors import ConfigError, StorageError
from pipeline.redact import redact, redact_uri
from pipeline.storage.atomic_files import replace_file
from pipeline.storage.faults import is_from_storage, said
from pipeline.storage.on_disk import dead_link, is_file, is_folder, is_there, why_dead
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem

_WRITTEN = {
    ".parquet": ("Parquet", (".parquet", ".pq")),
    ".html": ("HTML", (".html", ".htm")),
    ".json": ("JSON", (".json",)),
}
"""What a command writes, by the end of its example: the name of the format, and the ends that say it."""

_TABLES = frozenset((".arrow", ".csv", ".feather", ".jsonl", ".ndjson", ".parquet", ".pq", ".tsv", ".xls", ".xlsx"))
_TEXTS = frozenset((".htm", ".html", ".json", ".md", ".pdf", ".txt", ".xml", ".yaml", ".yml"))
_PICTURES = frozenset((".jpeg", ".jpg", ".mkv", ".mov", ".mp4", ".png", ".webm"))
_ENDS_OF_FILES = _TABLES | _TEXTS | _PICTURES | {".tar", ".zip"}
"""Ends of names that say what is in a file. Others are parts of a name, as the last one of `2026.11.30`."""


def check_file(to: str, example: str, storage_options: StorageOptions | None = None, key: str = "to") -> None:
    """Raises `ConfigError` if a file of the kind of `example` cannot be written there: a folder, an end, a scheme.

    A name that says another format, as `queue.csv` of a Parquet table, would send its reader to the wrong program.
    """
    _check_is_no_folder(to, example, key)
    written, ends = _WRITTEN[_end(example)]
    if _end(to) in _ENDS_OF_FILES.difference(ends):
        raise ConfigError(f"{key}={redact_uri(to)}: it is written as {written}; name a file as {example}")
    _check_scheme(to, storage_options, key)
    _check_path(_end_of_links(to), to, key)


def check_folder(to: str, storage_options: StorageOptions | None = None) -> None:
    """Raises `ConfigError` if `to=` is a file, is named as one or lies in one, or nothing serves its scheme."""
    if is_local(to):
        path = Path(local_path(to)).absolute()
        for place in (path, *path.parents):
            if is_file(place):
                raise ConfigError(f"to={redact_uri(to)}: {place} is a file, and to= names a folder")
    if not to.endswith("/") and (end := _end(to)) in _ENDS_OF_FILES and not _is_folder(to):
        shown = redact_uri(to)
        raise ConfigError(
            f"to={shown}: to= names a folder for several files, and {end} is the end of a file: give a folder, as "
            f"to={shown.removesuffix(end)}, or to={shown}/ if that shall be its name"
        )
    _check_scheme(to, storage_options, "to")
    check_writable(to, "to")


def check_writable(place: str, key: str) -> None:
    """Raises `ConfigError` if this user may not write to a place on disk, which need not be there yet.

    Nor can anybody write below a link that leads nowhere.

    What only a try tells, as a disk that is full or mounted to be read, is told when the place is written.
    """
    _check_path(Path(local_path(place)).absolute(), place, key)


def _end_of_links(place: str) -> Path:
    """The path of a file that is written by the name `place`. A link may name one that is not there yet."""
    path = Path(local_path(place)).absolute()
    end = Path(os.path.realpath(path))
    return end if not is_there(path) and is_folder(end.parent) else path


def _check_path(path: Path, place: str, key: str) -> None:
    """As `check_writable`, of the path that a place on disk leads to."""
    if not is_local(place):
        return
    if (link := dead_link(path)) is not None:
        raise ConfigError(f"{key}={redact_uri(place)}: {why_dead(link)}")
    if _is_written_itself(path) and os.access(path, os.W_OK):
        return
    nearest = next((folder for folder in (path, *path.parents) if is_folder(folder)), path)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={redact_uri(place)}: this user may not write to {nearest}; name another place")


def _is_written_itself(path: Path) -> bool:
    """Whether a pipe or a device is there, as `/dev/stdout`, in the place of which no file is put."""
    return is_there(path) and not is_file(path) and not is_folder(path)


def _end(place: str) -> str:
    """The end of a name that may say what is in the file, in small letters; empty if there is none."""
    return PurePosixPath(place.partition("?")[0]).suffix.lower()


def _is_folder(to: str) -> bool:
    return is_local(to) and is_folder(Path(local_path(to)))


def _check_is_no_folder(to: str, example: str, key: str = "to") -> None:
    if to.endswith("/") or _is_folder(to):
        raise ConfigError(f"{key}={redact_uri(to)} is a folder: name the file in it, as in {key}={example}")


def _check_scheme(to: str, storage_options: StorageOptions | None, key: str) -> None:
    try:
        open_filesystem(to, storage_options)
    except ValueError as error:
        raise ConfigError(f"{key}={redact_uri(to)}: {redact(str(error))}") from error


def save_file(to: str, data: bytes, storage_options: StorageOptions | None = None) -> int:
    """Write a file, with the folders above it, and return its size in bytes. It is whole, or stays what it was.

    Raises:
        ConfigError: `to` is a folder, or nothing serves its scheme.
        StorageError: the store or the disk refuses, or does not answer.
    """
    _check_is_no_folder(to, "report.html")
    _check_scheme(to, storage_options, "to")
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

    Raises `FileNotFoundError` if there is none, `StorageError` if the store does not answer or refuses it, and
    `ValueError` if nothing serves its scheme.
    """

    def read() -> bytes:
        filesystem, path = open_filesystem(place, storage_options)
        data: bytes = filesystem.cat_file(path)
        return data

    try:
        return Backoff().run(f"reading {redact_uri(place)}", read)
    except (FileNotFoundError, StorageError):
        raise
    except OSError as error:
        raise StorageError(
            f"reading {redact_uri(place)} was refused: {said(error)}. Check that it is a file that may be read.",
            transient=False,
        ) from error


def _write(to: str, data: bytes, storage_options: StorageOptions | None) -> None:
    if is_local(to):
        path = Path(local_path(to)).absolute()
        if _is_written_itself(path):
            path.write_bytes(data)
        else:
            file = path.resolve()  # a link stays one
            replace_file(file, data, file.parent)
        return
    filesystem, path_there = open_filesystem(to, storage_options)
    filesystem.pipe_file(path_there, data)
