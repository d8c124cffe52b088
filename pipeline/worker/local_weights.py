"""Weights at a URI, fetched once for all workers of a machine."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from model import WEIGHT_FILES
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import is_local, local_path, open_filesystem


def local_weights(source: str, identity: str, storage_options: Mapping[str, Any]) -> str:
    """Where `load_model` finds the weights: `source` itself, or for a URI a copy on this machine.

    The copy is made once for each `identity`; workers that start at the same time wait for the one that makes it.
    Raises `StorageError` or an `OSError` of the store if the weights cannot be fetched.
    """
    if is_local(source):
        return local_path(source)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "maskmill" / "checkpoints"
    folder = cache / identity.replace(":", "-")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch(source, storage_options, folder)
    return str(folder)


def _fetch(source: str, storage_options: Mapping[str, Any], folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    aside.mkdir()
    try:
        filesystem, path = open_filesystem(source, storage_options)
        for name in WEIGHT_FILES:
            fetch = partial(filesystem.get_file, f"{path.rstrip('/')}/{name}", str(aside / name))
            Backoff().run(f"reading {name} of the weights", fetch)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
