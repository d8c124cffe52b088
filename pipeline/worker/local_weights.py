"""Weights at a URI, fetched once for all workers of a machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.storage.retry import Backoff
from pipeline.storage.uris import open_filesystem


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


@contextlib.contextmanager
def _wait_for_lock(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_CHECKPOINT_FILES = ("config.json", "model.safetensors")
