"""Objects that the commit log names and that are not there, replaced meanwhile or lost, or that are damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.output.segments import PUT_BACK, damaged_object, find_damaged, is_of_damage
from pipeline.storage.job_storage import JobStorage

T = TypeVar("T")
_READS = 5
_SEARCHED_BYTES = 2 << 30


def lost_object(storage: JobStorage, error: FileNotFoundError) -> StorageError:
    """The error for an object that the newest entry of the log still counts. No waiting brings it back."""
    name = error.filename or error
    return StorageError(
        f"{storage}: {name} is missing, and the commit log counts its rows: {PUT_BACK}",
        transient=False,
    )


def steadily(
    storage: JobStorage, read: Callable[[], T], refresh: Callable[[], None], next_entry: Callable[[], int], problem: str
) -> T:
    """`read()`, once more after each time that the segments to read are gone: `refresh` reads the log anew.

    Raises `StorageError` for an object that is damaged. If segments are gone each time, it tells the `problem`, or
    which object is lost if the log, whose length is `next_entry`, has not gone on.
    """
    before, gone = next_entry(), FileNotFoundError()
    for _ in range(_READS):
        try:
            return read()
        except FileNotFoundError as error:
            gone = error
            refresh()
        except (pa.ArrowInvalid, OSError) as error:
            _tell_damage(storage, error)
            raise
    if next_entry() == before:
        raise lost_object(storage, gone) from gone
    raise StorageError(f"{problem}. Try again.")


def _tell_damage(storage: JobStorage, error: Exception) -> None:
    """Raises `StorageError`, which names the object if it is found soon, where an error is one of a damaged object."""
    if not is_of_damage(error):
        return
    found = find_damaged(storage, _SEARCHED_BYTES)
    if found is not None:
        raise damaged_object(storage, *found) from error
    raise damaged_object(storage, "…", error) from error
