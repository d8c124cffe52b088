"""Names of things to read: local paths, fsspec URIs and members of tars.

A member of a tar shard is written `shards/a.tar::clip.mp4` (the archive, two colons, the member), or as fsspec
chains it, `tar://clip.mp4::s3://bucket/a.tar`; both mean the same. Tars are never searched without a member's name.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import fsspec
from fsspec.core import url_to_fs

from pipeline.errors import UnknownScheme
from pipeline.storage.on_disk import is_there
from pipeline.storage.option_names import problem_of_names
from pipeline.storage.schemes import (
    ARCHIVES,
    WEB_SCHEMES,
    Place,
    is_web,
    names_host,
    problem_of_password,
    scheme_name,
    scheme_of,
)
from pipeline.storage.walks import let_walks_fail
from pipeline.storage.web_sessions import new_session

StorageOptions = Mapping[str, Any]

_TAR_MEMBER = re.compile(r"^(?P<archive>.+?\.(?:tar|tar\.[a-z0-9]+|tgz))::(?P<member>.+)$", re.IGNORECASE | re.DOTALL)
_TWO_COLONS = "\x1f\x1f"  # stands for `::` of a name where fsspec would split it
_FILE_SCHEME = re.compile(r"^(file|local):(?://localhost(?=/)|//|(?=/))")
_CHAINED_TAR = re.compile(r"^tar://(?P<member>.+?)::(?P<archive>.+)$", re.DOTALL)


def is_local(uri: str) -> bool:
    """Whether a URI is a path of this machine's file system, with or without `file://`."""
    return scheme_of(uri).place is Place.DISK


def local_path(uri: str) -> str:
    """The path that a local URI stands for, as browsers, `Path.as_uri` and shells write it.

    `file:///a`, `file:/a`, `file://localhost/a` and `/a` are the same, `~` is the home of the user, and `%20` in a URI
    is a blank unless a file of that very name exists.
    """
    path = _FILE_SCHEME.sub("", uri)
    if path != uri and "%" in path and not is_there(Path(path).expanduser()):
        path = unquote(path)
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111  # Path drops a slash at the end


def open_filesystem(
    uri: str, storage_options: StorageOptions | None = None, web_client: Callable[..., Any] | None = None
) -> tuple[fsspec.AbstractFileSystem, str]:
    """File system and path of `uri`, set up so that listings are fresh and only our own back-off tries again.

    `storage_options` are for the job's store. Options for one scheme stand under its name (`{"https": {…}}`); local
    files, HTTP and memory get no others. `web_client` makes the session that speaks to web servers; left out, it is one
    that connects to any address.

    `url_to_fs` alone is not enough: s3fs serves listings from a cache, s3fs and botocore each retry by themselves, so
    that a server that hangs holds a request for many minutes, and a folder that is not listed counts as empty.

    Raises `UnknownScheme` where nothing is installed for a scheme, or an option is misspelled, and `ValueError` for one
    that would read other files than the URI names, or for a password before a bucket.
    """
    _check_direct(uri)
    scheme = scheme_of(uri)
    options = _options_of(uri, storage_options or {})
    given = tuple(options) if scheme.place is Place.STORE and scheme.can_create and not _is_chain(uri) else ()
    for name, default in deepcopy(dict(scheme.options)).items():  # because botocore writes into what it is given
        options[name] = {**default, **options.get(name, {})} if isinstance(default, Mapping) else default
    if scheme.place is Place.DISK:
        options["of"] = "maskmill"  # an instance of our own: fsspec would share it with other programs of this process
    else:
        options.setdefault("use_listings_cache", False)
    client = {"get_client": web_client or new_session}
    if scheme.place is Place.WEB:
        options |= client
    elif any(is_web(scheme_name(link)) for link in uri.split("::")):
        options |= {name: {**options.get(name, {}), **client} for name in WEB_SCHEMES}
    try:
        if scheme.place is Place.STORE:
            _check_schemes_of(storage_options or {})
        filesystem, path = _open(uri, options)
        if problem := problem_of_names(type(filesystem), given):
            raise ValueError(problem)
    except (ImportError, TypeError, ValueError) as error:  # TypeError: an option is missing
        remedy = "check the URI and storage_options"
        if isinstance(error, ImportError) or scheme_name(uri) not in fsspec.available_protocols():
            remedy = scheme.client.how_to_install() or remedy
        raise UnknownScheme(f"{scheme_name(uri)}:// cannot be opened ({error}): {remedy}") from error
    if hasattr(filesystem, "retries"):
        filesystem.retries = 1
    let_walks_fail(filesystem)
    return filesystem, str(path)


def forget_sessions(filesystem: fsspec.AbstractFileSystem) -> None:
    """Have the next `open_filesystem` of a store of this kind read the credentials anew, because these have expired."""
    type(filesystem).clear_instance_cache()


def _open(uri: str, options: dict[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    """As `url_to_fs`, which takes every `::` for a chain of file systems: it may as well stand in a name."""
    if scheme_of(uri).place is Place.DISK:
        uri = local_path(uri)
    if not _is_chain(uri):
        filesystem, path = _direct(uri.replace("::", _TWO_COLONS), options)
        return filesystem, str(path).replace(_TWO_COLONS, "::")
    filesystem, path = url_to_fs(uri, **options)
    return filesystem, str(path)


def _direct(uri: str, options: dict[str, Any]) -> tuple[fsspec.AbstractFileSystem, Any]:
    """As `url_to_fs`, with our own class of file systems where the scheme has one."""
    module, _, name = scheme_of(uri).client.file_system.partition(":")
    if not module:
        return cast(tuple[fsspec.AbstractFileSystem, Any], url_to_fs(uri, **options))
    kind = getattr(import_module(module), name)
    named = kind._get_kwargs_from_urls(uri)
    for key in named.keys() & options.keys():
        if named[key] != options[key]:
            raise ValueError(f"the URI says {key}={named[key]}, and storage_options say {key}={options[key]}")
    return kind(**{**named, **options}), kind._strip_protocol(uri)


def _is_chain(uri: str) -> bool:
    """Whether `::` stands between links: `zip://a.mp4::s3://bucket/a.zip`, and not `s3://bucket/a::b.mp4`."""
    return scheme_name(uri) in ARCHIVES or any("://" in link for link in uri.split("::")[1:])


def _check_direct(uri: str) -> None:
    """Raises `ValueError` if a link of a chained URI (`a://…::b://…`) leads to files that the URI does not name."""
    if "://" not in uri and "::" not in uri:
        return
    if problem := problem_of_password(uri):
        raise ValueError(problem)
    for link in uri.split("::"):
        # A link may be the name of a scheme alone, as in `simplecache::s3://bucket/a.mp4`.
        name = link.partition("://")[0]
        if scheme_of(f"{name}://").place is Place.INDIRECT:
            raise ValueError(f"{name}:// may lead to other files or keep copies; give the uri of the file itself")


def _check_schemes_of(storage_options: StorageOptions) -> None:
    """Raises `ValueError` for what is meant as the options of one scheme, and would be ignored."""
    schemes = set(fsspec.available_protocols())
    for name, value in storage_options.items():
        if name not in schemes and name.lower() in schemes and isinstance(value, Mapping):
            raise ValueError(f"storage_options.{name}: a scheme is written in small letters, as {name.lower()}")
        if name in schemes and not isinstance(value, Mapping):
            raise ValueError(f"storage_options.{name} are the options of {name}://, as storage_options.{name}.key=…")


def _options_of(uri: str, storage_options: StorageOptions) -> dict[str, Any]:
    schemes = set(fsspec.available_protocols())
    # A listing of az:// tells names of abfs://, and one of gcs:// names of gs://: the options of one are the other's.
    # Those for https:// are not shown to http://, which travels unencrypted.
    scheme = scheme_of(uri)
    for name in (scheme_name(uri), *(() if scheme.place is Place.WEB else scheme.names)):
        own = storage_options.get(name)
        if isinstance(own, Mapping):
            return dict(own)
    if scheme.place is not Place.STORE:
        return {}
    return {name: value for name, value in storage_options.items() if name not in schemes}


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
    if uri.startswith("~") or _FILE_SCHEME.match(uri):
        return local_path(uri)
    if is_local(folder):
        return os.path.normpath(f"{local_path(folder)}/{uri}")
    scheme, _, path = folder.partition("://")
    ends_in_slash = "/" if uri.endswith("/") else ""
    return f"{scheme}://{posixpath.normpath(posixpath.join(path, uri))}{ends_in_slash}"


def absolute_place(place: str) -> str:
    """A place that somebody gave: a local path as an absolute one, a URI as it is."""
    return str(Path(local_path(place)).expanduser().absolute()) if is_local(place) else place


@lru_cache(maxsize=1024)
def parent(uri: str) -> str:
    """The folder that holds a file, as an absolute URI.

    What follows a `?` is the query of an address on a host. In a bucket it is a part of the key.
    """
    if is_local(uri):
        return str(Path(local_path(uri)).absolute().parent)
    return (uri.partition("?")[0] if names_host(uri) else uri).rpartition("/")[0]
