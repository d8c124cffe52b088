"""The files that `videos=` or `prompts=` names: one file, a folder or a glob of shards."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pipeline.errors import InputError
from pipeline.redact import redact_uri
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem

_GLOB_CHARACTERS = "*?["


def table_files(key: str, uri: str, options: StorageOptions | None, left_out: Collection[str] = ()) -> list[str]:
    """Absolute URIs of the files of a table, sorted. `uri` is a file, a folder (`*.parquet` below it) or a glob.

    Files and folders that begin with `_` or `.` are left out, and so are the absolute URIs in `left_out`. Raises
    `InputError`, with the config key `key`, if a folder or a glob holds no file; a single file that is missing raises
    what its store raises.
    """
    filesystem, path = open_filesystem(uri, options)
    no_videos = " and no video" if key == "videos" else ""
    if is_glob(filesystem, path):
        shown = [name for name in filesystem.glob(path) if not str(name).rpartition("/")[2].startswith(("_", "."))]
        found = [name for name in shown if not filesystem.isdir(name)]
        what = f"the glob matches no file{no_videos}"
    elif filesystem.isdir(path):
        root = str(path).rstrip("/")
        found = [name for name in filesystem.find(path) if is_table_file(str(name)[len(root) :])]
        what = f"the folder holds no *.parquet file{no_videos}"
    else:
        filesystem.info(path)
        return [_absolute(filesystem, path, uri)]
    files = (str(name) if is_local(uri) else str(filesystem.unstrip_protocol(name)) for name in found)
    kept = sorted(set(files).difference(left_out))
    if not kept:
        raise InputError(f"{key}: {redact_uri(uri)}: {what}; check the path")
    return kept


def is_glob(filesystem: Any, path: str) -> bool:
    """Whether a path has wildcards and is not the name of something that exists."""
    return is_wild(path) and not filesystem.exists(path)


def is_wild(path: str) -> bool:
    """Whether a path, or a part of one, has wildcards."""
    return any(character in path for character in _GLOB_CHARACTERS)


def is_table_file(path_in_folder: str) -> bool:
    """Whether a file of a folder counts as a table, by its path below the folder."""
    names = path_in_folder.strip("/").split("/")
    return names[-1].endswith(".parquet") and not any(name.startswith(("_", ".")) for name in names)


def _absolute(filesystem: Any, path: str, uri: str) -> str:
    return str(filesystem._strip_protocol(local_path(path))) if is_local(uri) else uri
