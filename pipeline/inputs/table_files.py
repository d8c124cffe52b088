"""The files that `videos=` or `prompts=` names: one file, a folder or a glob of shards."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError
from pipeline.redact import redact_uri
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem

_GLOB_CHARACTERS = "*?["


def table_files(key: str, uri: str, options: StorageOptions | None) -> list[str]:
    """Absolute URIs of the files of a table, sorted. `uri` is a file, a folder (`*.parquet` below it) or a glob.

    Files and folders that begin with `_` or `.` are left out. Raises `InputError`, with the config key `key`, if a
    folder or a glob holds no file; a single file that is missing raises what its store raises.
    """
    filesystem, path = open_filesystem(uri, options)
    if any(character in path for character in _GLOB_CHARACTERS) and not filesystem.exists(path):
        shown = [name for name in filesystem.glob(path) if not str(name).rpartition("/")[2].startswith(("_", "."))]
        found = [name for name in shown if not filesystem.isdir(name)]
        what = "the glob matches no file"
    elif filesystem.isdir(path):
        root = str(path).rstrip("/")
        found = [name for name in filesystem.find(path) if _is_table_file(str(name)[len(root) :])]
        what = "the folder holds no *.parquet file"
    else:
        filesystem.info(path)
        return [_absolute(filesystem, path, uri)]
    if not found:
        raise InputError(f"{key}: {redact_uri(uri)}: {what}; check the path")
    return sorted(str(filesystem.unstrip_protocol(name)) if not is_local(uri) else str(name) for name in found)


def _is_table_file(path_in_folder: str) -> bool:
    names = path_in_folder.strip("/").split("/")
    return names[-1].endswith(".parquet") and not any(name.startswith(("_", ".")) for name in names)


def _absolute(filesystem: Any, path: str, uri: str) -> str:
    return str(filesystem._strip_protocol(local_path(path))) if is_local(uri) else uri
