"""Weights at a URI or on the Hub, fetched once for all workers of a machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from model import HubAccess, bundled_folder, cached_weights, is_hub_id, weight_names, weights_snapshot
from pipeline.errors import ConfigError
from pipeline.records import Weights
from pipeline.storage.listing import is_file
from pipeline.storage.retry import Backoff
from pipeline.storage.schemes import is_web
from pipeline.storage.uris import is_local, local_path, open_filesystem
from pipeline.worker.weights_identity import check_unchanged, content_hash, listing_identity

_ASIDE = re.compile(r"(?P<weights>[a-z0-9]+-[0-9a-f]{32})\.[0-9a-f]{8}")
_OLD_SECONDS = 3600.0


def local_weights(weights: Weights, storage_options: Mapping[str, Any], backoff: Backoff | None = None) -> str:
    """Where `load_model` finds the weights: the source itself, or a copy on this machine of a URI or of the Hub.

    The copy is made once for each identity; workers that start at the same time wait for the one that makes it. A store
    or a Hub that is busy is asked again, as long as `backoff` says.

    Raises `StorageError` if it does not answer in time, an `OSError` of the store or Hub if it refuses, and
    `ConfigError` if the files have been replaced since the job looked at them, or if this machine cannot keep them.
    """
    source = weights.source
    if "://" in source and not is_local(source):
        return _copy_of_store(source, weights.identity, storage_options)
    path = local_path(source)
    if bundled_folder(source) is not None:
        return path
    if (files := Path(path)).exists():
        if weights.identity.startswith("sha256:"):
            check_unchanged(source, weights.identity, content_hash(files))
        return path
    if not is_hub_id(source):
        return path
    return str(_copy_of_hub(source, weights.revision, backoff or Backoff()))


def _copy_of_store(source: str, identity: str, storage_options: Mapping[str, Any]) -> str:
    cache = _cache_folder()
    folder = cache / identity.replace(":", "-")
    if not folder.is_dir():
        _remove_left(cache)
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _fetch(source, storage_options, folder, identity)
    file = folder / source.rstrip("/").rpartition("/")[2]
    return str(file if file.is_file() else folder)


def _remove_left(cache: Path) -> None:
    """Delete what killed workers have left of weights that they were fetching.

    Whoever fetches holds the lock of its weights. Some shared disks keep locks to one machine each, so that a folder in
    which anything was written within the last hour is left alone, too.
    """
    for aside in cache.iterdir():
        is_aside = _ASIDE.fullmatch(aside.name)
        if is_aside is None or time.time() - _written_at(aside) < _OLD_SECONDS:
            continue
        with contextlib.suppress(OSError, Timeout), FileLock(cache / f"{is_aside['weights']}.lock", timeout=0):
            shutil.rmtree(aside, ignore_errors=True)


def _written_at(folder: Path) -> float:
    """When anything was written in a folder last, in seconds since 1970; now if it goes away meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return time.time()


def _copy_of_hub(repository: str, revision: str | None, backoff: Backoff) -> Path:
    """The repository at a commit in the Hub's own cache. Whatever is there is used without asking the Hub.

    A thousand workers that asked the Hub at once would be told to come back later.
    """
    access = HubAccess(revision)
    found = cached_weights(repository, access)
    if found is not None:
        return found
    with FileLock(_cache_folder() / f"{repository.replace('/', '--')}-{revision or 'main'}.lock"):
        found = cached_weights(repository, access)
        if found is not None:
            return found
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            return weights_snapshot(repository, access)
        what = f"fetching model.checkpoint={repository} from the Hub"
        return backoff.run(what, partial(weights_snapshot, repository, access))


def _cache_folder() -> Path:
    # An empty variable counts as none. The home is asked for only then: the user of a container may have none.
    given = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(given) if given else Path.home() / ".cache") / "maskmill" / "checkpoints"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the weights cannot be kept in {cache} ({error.strerror}); set XDG_CACHE_HOME to a folder in which "
            "workers may write"
        ) from error
    return cache


def _files(filesystem: Any, path: str) -> tuple[str, list[str]]:
    """The folder, and the names of the files in it that the model is loaded from. `path` may be one file of weights."""
    if not _is_one_file(filesystem, path):
        names = [str(entry).rpartition("/")[2] for entry in filesystem.ls(path, detail=False)]
        return path, weight_names(names)
    folder, _, name = path.rpartition("/")
    # Asked for by its name: many web servers give files and list no folders.
    has_config = is_file(filesystem, f"{folder}/config.json")
    return folder, [*(["config.json"] if has_config else []), name]


def _is_one_file(filesystem: Any, path: str) -> bool:
    """Whether a path is one file. A web server answers for a folder as for a file, but with a page."""
    if not is_file(filesystem, path):
        return False
    return not is_web(filesystem.protocol) or filesystem.info(path).get("mimetype") != "text/html"


def _fetch(source: str, storage_options: Mapping[str, Any], folder: Path, identity: str) -> None:
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    aside.mkdir()
    try:
        filesystem, path = open_filesystem(source, storage_options)
        place, names = Backoff().run("listing the weights", lambda: _files(filesystem, path.rstrip("/")))
        for name in names:
            fetch = partial(filesystem.get_file, f"{place}/{name}", str(aside / name))
            Backoff().run(f"reading {name} of the weights", fetch)
        check_unchanged(source, identity, listing_identity(source, storage_options, Backoff()))
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
