"""The files that `videos=` or `prompts=` names: one file, a folder or a glob of shards."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.redact import redact_uri
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem, parent

_GLOB_CHARACTERS = "*?["
_KINDS = (".prompts", ".boxes", ".detections")
"""What may stand between the name of a video and the end of a file's name, where its prompts lie beside it."""
_ENDS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class TableFiles:
    """The files of a table, as absolute URIs, sorted, and for each the folder from which relative uris in it count.

    `stems` are the paths of the files of a folder or a glob, below it and without what stands behind their names: those
    of the videos beside which they lie, where each file is of one video.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    stems: tuple[str, ...] = ()


def table_files(key: str, uri: str, options: StorageOptions | None, left_out: Collection[str] = ()) -> TableFiles:
    """The files of a table. `uri` is a file, a folder (`*.parquet` below it) or a glob.

    Files and folders that begin with `_` or `.` are left out, and so are the absolute URIs in `left_out`. Raises
    `InputError`, with the config key `key`, if a folder or a glob holds no file; a single file that is missing raises
    what its store raises.
    """
    check_no_listing(key, uri)
    filesystem, path = open_filesystem(uri, options)
    no_videos = " and no video" if key == "videos" else ""
    is_web = scheme_of(uri).place is Place.WEB
    if not is_web and is_glob(filesystem, path):
        root = before_wildcards(path)
        matches = filesystem.glob(path, detail=True)
        shown = [name for name in matches if not str(name).rpartition("/")[2].startswith(("_", "."))]
        found = [name for name in shown if matches[name]["type"] != "directory"]
        what = f"the glob matches no file{no_videos}"
    elif not is_web and filesystem.isdir(path):
        root = str(path).rstrip("/")
        found = [name for name in filesystem.find(path) if is_table_file(str(name)[len(root) :])]
        what = f"the folder holds no *.parquet file{no_videos}"
    else:
        filesystem.info(path)
        file = _absolute(filesystem, path, uri)
        return TableFiles((file,), (parent(file),))
    absolute = str if is_local(uri) else filesystem.unstrip_protocol
    files = tuple(sorted({str(absolute(name)) for name in found}.difference(left_out)))
    if not files:
        raise InputError(f"{key}: {redact_uri(uri)}: {what}; check the path{_no_list(uri)}")
    folders = tuple(_without_partitions(parent(file), str(absolute(root))) for file in files)
    return TableFiles(files, folders, tuple(_stem(file[len(str(absolute(root))) :].strip("/")) for file in files))


def _no_list(uri: str) -> str:
    """What is said of brackets, which the command line takes for a part of the name."""
    if not re.search(r"(^|/)\[.*,.*\]$", uri):
        return ""
    return "; several places are given as a folder or a glob (corrections= also as a list in a job file)"


def _stem(path: str) -> str:
    stem = next((path.removesuffix(end) for end in _ENDS if path.endswith(end)), path)
    return next((stem.removesuffix(kind) for kind in _KINDS if stem.endswith(kind)), stem)


def check_no_listing(key: str, uri: str) -> None:
    """Raise `InputError` for a folder or a glob on a web server: a page with links says nothing of what is there."""
    if scheme_of(uri).place is not Place.WEB:
        return
    path = uri.partition("?")[0].partition("#")[0]
    if path.endswith("/") or "*" in path:
        raise InputError(
            f"{key}: {redact_uri(uri)} is a folder or a glob, and web servers do not list what they have; name one "
            "file, or write a table with a row for each address"
        )


def before_wildcards(path: str) -> str:
    """The folder of a glob that is above its first wildcard."""
    folders = path.split("/")
    first = next(number for number, name in enumerate(folders) if is_wild(name))
    return "/".join(folders[:first])


def _without_partitions(folder: str, root: str) -> str:
    """A folder below `root` without the last folders `key=value`, which whoever writes partitions adds to a table's."""
    while len(folder) > len(root.rstrip("/")) and "=" in folder.rpartition("/")[2]:
        folder = folder.rpartition("/")[0]
    return folder


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
    if is_local(uri):
        return str(filesystem._strip_protocol(local_path(path)))
    scheme = scheme_of(uri)
    # As a listing names it, because a store may have several names: az:// and abfs:// are one.
    is_bucket = scheme.place is Place.STORE and scheme.can_create
    return str(filesystem.unstrip_protocol(path)) if is_bucket else uri
