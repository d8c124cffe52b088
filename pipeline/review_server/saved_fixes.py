"""Fixes and splits by the ids that pages gave them: what is sent again is known, whichever server has written it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pipeline.reviews.corrections import read_correction_files
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class SavedFix:
    """The path of its file below `output=`, and of a split the object that begins there."""

    path: str
    split_into: int | None


class SavedFixes:
    """See the module. Each file is read once. Methods may be called in any thread."""

    def __init__(self, storage: JobStorage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._by_id: dict[str, SavedFix] = {}

    def find(self, said_id: str) -> SavedFix | None:
        """What was saved with this id; None if nothing was, and without an id.

        Raises `InputError` for a file that is no table of corrections, and `StorageError` if the store does not answer.
        """
        if not said_id:
            return None
        with self._lock:
            for path, rows in read_correction_files(self._storage, self._paths):
                self._paths.add(path)
                splits = {row["said_id"]: row["object_id"] for row in rows if row["split_from"] is not None}
                for sent in {row["said_id"] for row in rows} - {None}:
                    self._by_id[sent] = SavedFix(path, splits.get(sent))
            return self._by_id.get(said_id)
