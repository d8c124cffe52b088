"""Scratch: the folder on local disk for temporary files of one worker, driver or compaction."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path

from filelock import FileLock

_PREFIX = "maskmill-worker-"


class WorkerFolder:
    """A folder for the temporary files of one process, a worker, a driver or a compaction. `close` deletes it.

    A new folder first deletes those that killed processes left in the same place. A lock in each folder tells living
    owners from dead ones, also among containers that share a disk, because the kernel frees it when its owner ends.
    """

    def __init__(self, parent: str | None) -> None:
        root = Path(parent).expanduser() if parent else Path(tempfile.gettempdir())
        root.mkdir(parents=True, exist_ok=True)
        for folder in root.glob(f"{_PREFIX}*"):
            _remove_if_dead(folder)
        name = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        # Others do not look at this name, so that nobody takes the folder for a dead one before it is locked.
        unlocked = root / f".{name}"
        unlocked.mkdir()
        self._lock = _locked(unlocked / "lock")
        self.path = unlocked.rename(root / name)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _remove_if_dead(folder: Path) -> None:
    lock = _locked(folder / "lock")
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _locked(path: Path) -> FileLock | None:
    """A lock that is held from now on; `None` if another process holds it, or this disk has no locks."""
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except OSError:
        return None
    return lock
