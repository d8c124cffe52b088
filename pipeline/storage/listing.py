"""Files below a folder or of a glob, as their store lists them: page after page, and from a key on where it can.

S3 and Google list a thousand keys a request, in the order of their bytes, and begin after any key. Other stores, and
disks, are listed whole by fsspec.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from fsspec.utils import glob_translate

from pipeline.storage.faults import is_transient
from pipeline.storage.file_versions import FileVersion, changed_at, version_of

T = TypeVar("T")
Asked = Callable[[Callable[[], Any]], Any]
"""Calls a function that asks a store, again while the store does not answer."""

_GLOB_CHARACTERS = "*?["
_PARALLEL_LOOKS = 16


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file. `name` is as its file system writes it.

    `is_named`: a glob matches the file itself; else a folder matches in which it lies. `changed_at` is in seconds since
    1970 by the store's clock. Neither it nor `version` is known of local files, which would cost a look at each.
    """

    name: str
    is_named: bool = False
    version: FileVersion | None = None
    changed_at: float | None = None


def is_file(filesystem: Any, path: str) -> bool:
    """Whether a file of this name is there. Raises what says that the store does not answer.

    fsspec's own `isfile` says no then, so that a file is listed as a folder without files while a store throttles.
    """
    try:
        return bool(filesystem.info(path)["type"] == "file")
    except Exception as error:
        if is_transient(error):
            raise
        return False


def can_list_after(filesystem: Any) -> bool:
    """Whether a listing can begin after a key, so that what comes before costs nothing."""
    return hasattr(filesystem, "call_s3") or hasattr(filesystem, "list_page")


def look_at(filesystem: Any, names: Sequence[str], ask: Asked) -> list[ListedFile]:
    """Those of these files that are there, one request each, several at a time."""

    def info(name: str) -> ListedFile | None:
        try:
            return _listed(name, filesystem.info(name))
        except FileNotFoundError:
            return None

    def look(name: str) -> ListedFile | None:
        found: ListedFile | None = ask(lambda: info(name))
        return found

    with ThreadPoolExecutor(_PARALLEL_LOOKS, thread_name_prefix="listing") as pool:
        return [one for one in pool.map(look, names) if one is not None]


def list_folder(filesystem: Any, path: str, ask: Asked, after: str | None = None) -> Iterator[ListedFile]:
    """All files below a folder. With `after`, on a store that `can_list_after`, those whose name is greater."""
    if can_list_after(filesystem):
        yield from _pages(filesystem, f"{path.rstrip('/')}/", ask, after)
    else:
        found = ask(lambda: _found(filesystem, filesystem.find, path))
        yield from (_listed(name, info) for name, info in found.items())


def list_glob(
    filesystem: Any, path: str, ask: Asked, owner: Callable[[str], str | None], after: str | None = None
) -> Iterator[ListedFile]:
    """The files that a glob matches, and those in folders that it matches; `after` as in `list_folder`.

    Of a file that belongs to another one `owner` says the name of that: it is listed where the glob matches its owner.

    A glob with `**`, or one that begins after a key, is one listing of all that its names begin with. Others are left
    to fsspec, which asks for each folder on their way and for no other.
    """
    if can_list_after(filesystem) and ("**" in path or after is not None):
        yield from _matching(_pages(filesystem, _before_wildcards(path), ask, after), path, owner)
        return
    if "file" in _names(filesystem):
        yield from (_listed(name, {}) for name in ask(lambda: filesystem.glob(f"{path}.*")) if owner(name))
    matches = ask(lambda: _found(filesystem, filesystem.glob, path))
    folders = [name for name, info in matches.items() if _is_folder(filesystem, name, info)]
    named = matches.keys() - set(folders)
    yield from (_listed(name, matches[name], is_named=True) for name in matches if name in named)
    seen = set(named)
    for folder in folders:
        for one in list_folder(filesystem, folder, ask):
            if one.name not in seen:
                seen.add(one.name)
                yield one


def _pages(filesystem: Any, prefix: str, ask: Asked, after: str | None) -> Iterator[ListedFile]:
    bucket, _, key_prefix = prefix.partition("/")
    page_of = _page_of_google if hasattr(filesystem, "list_page") else _page_of_s3
    request = _Page(bucket, key_prefix, "" if after is None else after.partition("/")[2])
    while True:
        files, following = ask(lambda: page_of(filesystem, request))  # noqa: B023  # called at once
        yield from (one for one in files if not one.name.endswith("/"))  # what stands for a folder
        if not following:
            return
        request = replace(request, token=following)


@dataclass(frozen=True)
class _Page:
    """A request for the keys behind `after`, or for the page that `token` stands for."""

    bucket: str
    prefix: str
    after: str
    token: str = ""


def _page_of_s3(filesystem: Any, request: _Page) -> tuple[list[ListedFile], str]:
    begin = {"StartAfter": request.after} if request.after else {}
    if request.token:
        begin = {"ContinuationToken": request.token}
    page = filesystem.call_s3(
        "list_objects_v2", Bucket=request.bucket, Prefix=request.prefix, **begin, **filesystem.req_kw
    )
    _read_times_quickly(filesystem)  # from the second page on, because the first one makes the session
    files = []
    for one in page.get("Contents", ()):
        told = version_of({"size": one["Size"], "ETag": one.get("ETag")})
        files.append(ListedFile(f"{request.bucket}/{one['Key']}", False, told, one["LastModified"].timestamp()))
    return files, page["NextContinuationToken"] if page.get("IsTruncated") else ""


def _read_times_quickly(filesystem: Any) -> None:
    """Have the client of S3 read the times of pages by the standard library, which makes a page six times as quick.

    botocore asks dateutil, which guesses the format of each of the thousand times anew.
    """
    factory = filesystem.session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=time_of_s3)


def time_of_s3(told: Any) -> datetime:
    """A time in an answer of S3: `2026-11-28T02:00:00.000Z` in pages, as in mails in headers, or seconds since 1970."""
    with contextlib.suppress(ValueError):
        return datetime.fromtimestamp(float(told), UTC)
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(str(told))
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return parsedate_to_datetime(str(told))


def _page_of_google(filesystem: Any, request: _Page) -> tuple[list[ListedFile], str]:
    infos, following = filesystem.list_page(request.bucket, request.prefix, request.after, request.token)
    first = f"{request.bucket}/{request.after}"  # Google begins at a key, and not behind it
    return [_listed(info["name"], info) for info in infos if info["name"] != first], following


def _matching(files: Iterator[ListedFile], pattern: str, owner: Callable[[str], str | None]) -> Iterator[ListedFile]:
    """The files whose name, or a folder or owner of whose name, a glob matches."""
    fits = re.compile(glob_translate(pattern)).match
    folders: dict[str, bool] = {}
    for one in files:
        if fits(one.name):
            yield ListedFile(one.name, True, one.version, one.changed_at)
        elif _is_in_match(one.name, fits, folders) or ((owned := owner(one.name)) and fits(owned)):
            yield one


def _is_in_match(name: str, fits: Callable[[str], Any], known: dict[str, bool]) -> bool:
    folder = name.rpartition("/")[0]
    if not folder:
        return False
    if folder not in known:
        known[folder] = bool(fits(folder)) or _is_in_match(folder, fits, known)
    return known[folder]


def _before_wildcards(path: str) -> str:
    """What all names begin with that a glob matches."""
    return path[: min(path.find(character) for character in _GLOB_CHARACTERS if character in path)]


def _found(filesystem: Any, listing: Callable[..., Any], path: str) -> dict[str, Mapping[str, Any]]:
    """What fsspec finds, with what it tells of each file; nothing of local ones."""
    if "file" in _names(filesystem):
        return {str(name): {} for name in listing(path)}
    return {str(name): info for name, info in listing(path, detail=True).items()}


def _names(filesystem: Any) -> tuple[str, ...]:
    told = filesystem.protocol
    return (told,) if isinstance(told, str) else tuple(told)


def _listed(name: str, info: Mapping[str, Any], *, is_named: bool = False) -> ListedFile:
    return ListedFile(name, is_named, version_of(info), changed_at(info))


def _is_folder(filesystem: Any, name: str, info: Mapping[str, Any]) -> bool:
    """Whether a match of a glob is a folder. A store has told it; asking once more costs a request for each."""
    return bool(info["type"] == "directory" if "type" in info else filesystem.isdir(name))
