"""A worker's files on local disk: its temporary folder, and checkpoints fetched once per machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import IO

_PREFIX = "maskmill-worker-"


class WorkerFolder:
    """A folder for everything that a worker puts aside. It is gone after `close`; what killed workers left goes first.

    A lock tells living owners from dead ones, also among containers that share a disk.
    """

    def __init__(self, parent: str | None) -> None:
        root = Path(parent).expanduser() if parent else Path(tempfile.gettempdir())
        root.mkdir(parents=True, exist_ok=True)
        for folder in root.glob(f"{_PREFIX}*"):
            _remove_if_dead(folder)
        name = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        unlocked = root / f".{name}"
        unlocked.mkdir()
        self._lock = _locked(unlocked / "lock")
        self.path = unlocked.rename(root / name)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _remove_if_dead(folder: Path) -> None:
    with contextlib.suppress(OSError):
        lock = _locked(folder / "lock")
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _locked(path: Path) -> IO[bytes] | None:
    """The file, locked until it is closed or this process ends; `None` if another process has it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
