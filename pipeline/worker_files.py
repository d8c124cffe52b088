"""A worker's files on local disk: its temporary folder, and checkpoints fetched once per machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from pipeline.faults import Backoff
from pipeline.uris import open_filesystem

_PREFIX = "maskmill-worker-"
_CHECKPOINT_FILES = ("config.json", "model.safetensors")


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


def local_checkpoint(source: str, identity: str, storage_options: Mapping[str, Any]) -> str:
    """Where `load_model` finds a checkpoint: `source` itself, or for a URI a copy on this machine, made once."""
    if "://" not in source or source.startswith(("file://", "local://")):
        return source.removeprefix("file://").removeprefix("local://")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "maskmill" / "checkpoints"
    folder = cache / identity.replace(":", "-")
    cache.mkdir(parents=True, exist_ok=True)
    with _wait_for_lock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch(source, storage_options, folder)
    return str(folder)


def _fetch(source: str, storage_options: Mapping[str, Any], folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    aside.mkdir()
    try:
        filesystem, path = open_filesystem(source, storage_options)
        for name in _CHECKPOINT_FILES:
            fetch = partial(filesystem.get_file, f"{path.rstrip('/')}/{name}", str(aside / name))
            Backoff().run(f"reading {name} of the checkpoint", fetch)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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


@contextlib.contextmanager
def _wait_for_lock(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
