"""Where the file of a labeled video may lie now, and whether there is one. No torch is needed, as for its frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem, split_tar_member

_PARALLEL_LOOKS = 16
_A_THREADS_PART = 64


def places_of(uri: str, root: str | None) -> list[str]:
    """Where to look, the likeliest first: below `root` the end of the path, the longest end first."""
    if root is None:
        return [uri]
    names = [part for part in PurePosixPath(_path_of(uri)).parts if part != "/"]
    root = os.fspath(root).rstrip("/")
    return [f"{root}/{'/'.join(names[start:])}" for start in range(len(names))]


def are_there(uris: Iterable[str | None], root: str | None, storage_options: StorageOptions | None) -> Iterator[bool]:
    """Whether each of these videos has a file; None is one whose bytes lay in a table.

    Web servers are not asked, because they belong to others; what cannot be asked counts as there, and reading tells.
    """
    look = partial(is_there, root=root, storage_options=storage_options)
    remaining = iter(uris)
    with ThreadPoolExecutor(_PARALLEL_LOOKS, thread_name_prefix="places") as pool:
        while chunk := list(islice(remaining, _A_THREADS_PART * _PARALLEL_LOOKS)):
            parts = [chunk[start : start + _A_THREADS_PART] for start in range(0, len(chunk), _A_THREADS_PART)]
            for found in pool.map(lambda part: [look(uri) for uri in part], parts):
                yield from found


def is_there(uri: str | None, root: str | None, storage_options: StorageOptions | None) -> bool:
    """The same of one video."""
    return uri is not None and any(_exists(place, storage_options) for place in places_of(uri, root))


def _exists(uri: str, storage_options: StorageOptions | None) -> bool:
    member = split_tar_member(uri) if "::" in uri else None
    uri = member[0] if member else uri
    if is_local(uri):
        return Path(local_path(uri)).exists()
    if scheme_of(uri).place is Place.WEB:
        return True
    try:
        filesystem, path = open_filesystem(uri, storage_options)
        return bool(filesystem.exists(path))
    except Exception:  # noqa: BLE001  # a store that denies access: the reader says why
        return True


def _path_of(uri: str) -> str:
    """The path in a URI. `%20` and `?` mean something in addresses of the web, and stand for themselves elsewhere."""
    if is_local(uri):
        return local_path(uri)
    if scheme_of(uri).place is Place.WEB:
        return unquote(urlsplit(uri).path)
    return uri.partition("://")[2].partition("/")[2]
