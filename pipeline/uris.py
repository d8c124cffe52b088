"""Names of things to read: local paths, fsspec URIs and members of tars.

A member of a tar shard is written `shards/a.tar::clip.mp4` (the archive, two colons, the member), or as fsspec
chains it, `tar://clip.mp4::s3://bucket/a.tar`; both mean the same. Tars are never searched without a member's name.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec

StorageOptions = Mapping[str, Any]

_TAR_MEMBER = re.compile(r"^(?P<archive>.+?\.(?:tar|tar\.[a-z0-9]+|tgz))::(?P<member>.+)$", re.IGNORECASE | re.DOTALL)
_CHAINED_TAR = re.compile(r"^tar://(?P<member>.+?)::(?P<archive>.+)$", re.DOTALL)


def is_local(uri: str) -> bool:
    """True for a path of this machine's file system, with or without `file://`."""
    return "://" not in uri or uri.startswith(("file://", "local://"))


def local_path(uri: str) -> str:
    """The path that a local URI stands for."""
    return re.sub(r"^(file|local)://", "", uri)


def open_filesystem(uri: str, storage_options: StorageOptions | None = None) -> tuple[Any, str]:
    """The fsspec file system of a URI and the path in it. Storage options do not apply to local paths."""
    if is_local(uri) and "::" not in uri:
        return fsspec.filesystem("file"), local_path(uri)
    filesystem, path = fsspec.core.url_to_fs(uri, **dict(storage_options or {}))
    return filesystem, str(path)


def split_tar_member(uri: str) -> tuple[str, str] | None:
    """`(archive, member)` of a URI that names a member of a tar, else `None`."""
    match = _CHAINED_TAR.match(uri) or _TAR_MEMBER.match(uri)
    return (match["archive"], match["member"]) if match else None


def absolute_uri(uri: str, folder: str) -> str:
    """`uri` as seen from `folder`: unchanged if it is absolute, else joined to it with `..` resolved.

    In a tar member's URI the archive is what counts from the folder.
    """
    parts = split_tar_member(uri)
    if parts is not None:
        archive, member = parts
        return f"{absolute_uri(archive, folder)}::{member}"
    if "://" in uri or uri.startswith("/"):
        return uri
    if is_local(folder):
        return os.path.normpath(f"{local_path(folder)}/{uri}")
    scheme, _, path = folder.partition("://")
    ends_in_slash = "/" if uri.endswith("/") else ""
    return f"{scheme}://{posixpath.normpath(posixpath.join(path, uri))}{ends_in_slash}"


@lru_cache(maxsize=1024)
def parent(uri: str) -> str:
    """The folder that holds a file, as an absolute URI."""
    if is_local(uri):
        return str(Path(local_path(uri)).absolute().parent)
    return uri.rpartition("/")[0]
