"""The schemes of URIs, a row each: what is to be known of a store stands here and nowhere else.

A scheme without a row is taken for an object store that takes the job's options and has no create-only writes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Place(Enum):
    """Where a scheme's bytes lie, which says how careful to be with them."""

    DISK = "a disk of this machine, or one that is mounted here"
    MEMORY = "the memory of this process"
    STORE = "a store that `storage_options` of the job are for"
    WEB = "other people's web servers: they get no credentials, are not asked in bulk, and may ignore byte ranges"
    INDIRECT = "files that the URI does not name, or copies that are kept on the disk: refused"


@dataclass(frozen=True)
class Client:
    """What speaks to a store.

    `install`: what to install where it cannot be opened; empty if nothing is missing.
    `libraries`: its packages, whose errors are the store's and not the program's.
    `file_system`: `module:class` of our own, where that of the package tries again by itself.
    """

    install: str = ""
    libraries: tuple[str, ...] = ()
    file_system: str = ""

    def how_to_install(self) -> str:
        """What to do where it is missing, in words; empty if nothing is."""
        if not self.install or " " in self.install:
            return self.install and f"install {self.install}"
        return f'pip install "{self.install}"'


@dataclass(frozen=True)
class Scheme:
    """One row.

    `names`: how it is written before `://`; the first is the usual one.
    `can_create`: its fsspec package has create-only writes that the server itself refuses (`If-None-Match`). fsspec's
    own `mode="create"` is no such thing: it looks and then writes, so that two writers can both succeed.
    `can_copy`: its server copies an object, and has the whole copy when it answers.
    `narrows_listings`: its `find` takes a prefix that the server applies. Others ignore the argument.
    `options`: given to every file system of the scheme. `job_options`: given in addition to the one of `output=`.
    """

    names: tuple[str, ...]
    place: Place = Place.STORE
    client: Client = Client()
    can_create: bool = False
    can_copy: bool = False
    narrows_listings: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    job_options: Mapping[str, Any] = field(default_factory=dict)


SCHEMES: tuple[Scheme, ...] = (
    Scheme(("file", "local"), Place.DISK, can_create=True),
    Scheme(("memory",), Place.MEMORY),
    Scheme(
        ("s3", "s3a"),
        client=Client("maskmill[s3]", ("aiobotocore", "botocore", "aiohttp")),
        can_create=True,
        can_copy=True,
        narrows_listings=True,
        # botocore would try again by itself, so that a server that hangs holds a request for many minutes.
        options={"config_kwargs": {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 0}}},
        # Parquet readers ask for the ranges that they need. s3fs would fetch 50 MiB more with each.
        job_options={"default_cache_type": "none"},
    ),
    Scheme(
        ("gs", "gcs"),
        client=Client(
            "maskmill[gcs]", ("gcsfs", "google", "aiohttp"), "pipeline.storage.google_cloud:GoogleCloudStorage"
        ),
        can_create=True,
        narrows_listings=True,
    ),
    Scheme(
        ("abfs", "abfss", "az"),
        client=Client("maskmill[azure]", ("adlfs", "azure", "aiohttp"), "pipeline.storage.azure:AzureBlobStorage"),
        can_create=True,
        narrows_listings=True,
        options={"connection_timeout": 10, "read_timeout": 30},
    ),
    Scheme(("hf",), client=Client("huggingface_hub")),
    Scheme(("ftp",)),
    Scheme(("sftp", "ssh"), client=Client("paramiko")),
    Scheme(("smb",), client=Client("smbprotocol")),
    Scheme(("webhdfs",), client=Client("requests")),
    Scheme(("http", "https"), Place.WEB, client=Client("aiohttp", ("aiohttp",))),
    # A `reference` file says which other files to read, whoever wrote it.
    Scheme(("reference", "generic", "dask", "dir", "asyncwrapper", "async_wrapper"), Place.INDIRECT),
    Scheme(("blockcache", "cached", "filecache", "simplecache"), Place.INDIRECT),
)

ARCHIVES = ("zip", "tar", "libarchive")
"""Schemes of files in an archive, whose own URI follows after `::`."""

_BY_NAME = {name: scheme for scheme in SCHEMES for name in scheme.names}

WEB_SCHEMES = tuple(name for scheme in SCHEMES if scheme.place is Place.WEB for name in scheme.names)

_HOST_SCHEMES = {*WEB_SCHEMES, "ftp", "sftp", "ssh", "smb", "webhdfs"}

CLIENT_LIBRARIES = frozenset(library for scheme in SCHEMES for library in scheme.client.libraries)
"""Packages whose errors are those of a store."""


def scheme_name(uri: str) -> str:
    """What stands before `://`; `file` for a path. Of a chained URI (`a://…::b://…`) it is the first link's."""
    name, separator, _ = uri.partition("://")
    return name if separator else "file"


def scheme_of(uri: str) -> Scheme:
    """The row of a path or URI."""
    name = scheme_name(uri)
    return _BY_NAME.get(name) or Scheme((name,), client=Client(f"the fsspec package that serves {name}://"))


def is_known(uri: str) -> bool:
    """Whether the scheme of a URI has a row."""
    return scheme_name(uri) in _BY_NAME


def names_host(uri: str) -> bool:
    """Whether a URI names a host that is connected to, and no bucket. Of an unknown scheme this is assumed."""
    return not is_known(uri) or scheme_name(uri) in _HOST_SCHEMES


def problem_of_password(uri: str) -> str:
    """Why a URI is refused that has a password before its bucket, in words without it; empty for other URIs.

    Clients of buckets take `user:password@bucket` for the name of the bucket, and quote it in their messages.
    """
    for link in re.split(r"::(?=[A-Za-z][A-Za-z0-9+.\-]*://)", uri):
        name, _, rest = link.partition("://")
        is_bucket = scheme_of(link).place is Place.STORE and not names_host(link)
        if is_bucket and not rest.startswith("arn:") and re.match(r"[^/:@?]*:[^?]*@", rest):
            return f"{name}:// takes no user name or password before its bucket: give them as storage_options"
    return ""


_UNSET = re.compile(r"(?:^|/)\$([A-Za-z_]\w*)(?=/|$)")
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):/(?!/)")


def problem_of_spelling(uri: str) -> str:
    """Why a URI is refused whose scheme is misspelled, in words without the rest of it; empty for others and for paths.

    `s3:/bucket/labels` would be a folder `s3:` of this disk, in which a whole job can be labeled unnoticed, and so
    would `$HOME/labels` of a job file, which no shell has read.
    """
    if match := _UNSET.search(uri):
        return f"no shell has replaced ${match[1]}: write ${{oc.env:{match[1]}}} in a job file, or the path itself"
    if (match := _ONE_SLASH.match(uri)) and _is_remote(match[1].lower()):
        return f"two slashes follow a scheme: write {match[1].lower()}://"
    name = scheme_name(uri)
    if name != name.lower() and name.lower() in _BY_NAME:
        return f"a scheme is written in small letters: {name.lower()}://"
    return ""


def _is_remote(name: str) -> bool:
    return name in _BY_NAME and _BY_NAME[name].place in (Place.STORE, Place.WEB, Place.MEMORY)


def is_of_this_machine(uri: str) -> bool:
    """Whether a path or URI means the disk or the memory of this machine, which no other one can reach."""
    return scheme_of(uri).place in (Place.DISK, Place.MEMORY)


def is_web(names: str | Collection[str]) -> bool:
    """Whether a file system with these names of schemes speaks to web servers."""
    names = (names,) if isinstance(names, str) else names
    return any(name in _BY_NAME and _BY_NAME[name].place is Place.WEB for name in names)


def is_s3(names: str | Collection[str]) -> bool:
    """Whether a file system with these names of schemes is that of S3."""
    return "s3" in ((names,) if isinstance(names, str) else names)


def safe_stores() -> str:
    """The stores that refuse a second driver by themselves, in words."""
    remote = [f"{scheme.names[0]}://" for scheme in SCHEMES if scheme.can_create and scheme.place is Place.STORE]
    return f"local disk, {', '.join(remote[:-1])} or {remote[-1]}"
