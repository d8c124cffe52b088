"""Files on local disk that are whole or do not exist: written aside, synced, then given their name."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.errors import StorageError

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
"""What disks say that make no hard links. Of permissions none is missing: the file was written there just before."""


class NoHardLinks(OSError):
    """A disk that makes no hard links, as many mounted buckets and memory cards: no file can be created only once."""


def create_file(final: Path, data: bytes, aside: Path) -> None:
    """Write `final`, which must not exist; `aside` is a folder on the same disk.

    Raises:
        FileExistsError: it exists. Of two writers at the same time exactly one succeeds.
        NoHardLinks: the disk has none, which this needs.
    """
    _publish(final, aside, lambda temporary: _write(temporary, data), lambda temporary: _link(temporary, final))


def replace_file(final: Path, data: bytes, aside: Path) -> None:
    """Write `final` whether or not it exists; a reader sees the old file or the new one."""
    _publish(final, aside, lambda temporary: _write(temporary, data), lambda temporary: temporary.replace(final))


def copy_file(source: Path, final: Path, aside: Path) -> None:
    """Copy `source` to `final`, which appears only when it is whole."""
    _publish(final, aside, lambda temporary: _copy(source, temporary), lambda temporary: temporary.replace(final))


@contextlib.contextmanager
def spool_errors(folder: Path, is_meant: Callable[[OSError], bool] = lambda error: True) -> Iterator[None]:
    """Turn errors of this machine's disk into a `StorageError` that names `folder`, where temporary files are.

    Where the same code reads the store as well, `is_meant` says which errors are those of the disk.
    """
    try:
        yield
    except OSError as error:
        if not is_meant(error):
            raise
        raise StorageError(
            f"the spool {folder} on this machine's disk failed: {error}. Free some space, or name a folder on "
            "another disk (worker.spool_dir of a job, spool_dir of a command).",
            transient=False,
        ) from error


@contextlib.contextmanager
def deleted_on_error(paths: Iterable[Path]) -> Iterator[None]:
    """Delete `paths`, those that exist, if what is done inside fails: a full disk gets its room back."""
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def _publish(final: Path, aside: Path, write: Callable[[Path], None], name: Callable[[Path], object]) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir(parents=True, exist_ok=True)
    temporary = aside / uuid.uuid4().hex
    try:
        try:
            write(temporary)
        except FileNotFoundError:  # another process that is done here has deleted the empty folder just now
            aside.mkdir(parents=True, exist_ok=True)
            write(temporary)
        name(temporary)
        _sync_folder(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise NoHardLinks(error.errno, f"this disk makes no hard links ({error.strerror})", str(final)) from error
        raise


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Path, path: Path) -> None:
    with source.open("rb") as reader, path.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name durable; some mounted file systems cannot sync folders, which is no reason to stop."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
