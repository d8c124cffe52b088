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

from model import weight_names
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
    file = folder / source.rstrip("/").rpartition("/")[2]
    return str(file if file.is_file() else folder)


def _files(filesystem: Any, path: str) -> tuple[str, list[str]]:
    """The folder, and the names of the files in it that the model is loaded from. `path` may be one file of weights."""
    is_file = filesystem.isfile(path)
    folder, _, name = path.rpartition("/") if is_file else (path, "", "")
    names = [str(entry).rpartition("/")[2] for entry in filesystem.ls(folder, detail=False)]
    return folder, [*(["config.json"] if "config.json" in names else []), name] if is_file else weight_names(names)


def _fetch(source: str, storage_options: Mapping[str, Any], folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    aside.mkdir()
    try:
        filesystem, path = open_filesystem(source, storage_options)
        place, names = Backoff().run("listing the weights", lambda: _files(filesystem, path.rstrip("/")))
        for name in names:
            fetch = partial(filesystem.get_file, f"{place}/{name}", str(aside / name))
            Backoff().run(f"reading {name} of the weights", fetch)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
