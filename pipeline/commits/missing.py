"""Objects that the commit log names and that are not there: replaced meanwhile, or lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import StorageError
from pipeline.storage.job_storage import JobStorage

T = TypeVar("T")
_READS = 5


def lost_object(storage: JobStorage, error: FileNotFoundError) -> StorageError:
    """The error for an object that the newest entry of the log still counts. No waiting brings it back."""
    name = error.filename or error
    return StorageError(
        f"{storage}: {name} is missing, and the commit log counts its rows: put it back, as from a backup or from an "
        "earlier version that the store keeps, or name another output",
        transient=False,
    )


def steadily(
    storage: JobStorage, read: Callable[[], T], refresh: Callable[[], None], next_entry: Callable[[], int], problem: str
) -> T:
    """`read()`, once more after each time that the segments to read are gone: `refresh` reads the log anew.

    Raises `StorageError` if they are gone each time: it tells the `problem`, or which object is lost if the log, whose
    length is `next_entry`, has not gone on.
    """
    before, gone = next_entry(), FileNotFoundError()
    for _ in range(_READS):
        try:
            return read()
        except FileNotFoundError as error:
            gone = error
            refresh()
    if next_entry() == before:
        raise lost_object(storage, gone) from gone
    raise StorageError(f"{problem}. Try again.")
