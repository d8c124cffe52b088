"""Which version of a file it was: its size, and the ETag that its store gives it or the time of its last change.

Another file in its place has another version. The same bytes may get a new one, where a file is copied or stored again.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.storage.addresses import DEFAULT_RULES, AddressRules
from pipeline.storage.checked import open_checked
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, local_path, split_tar_member

# As the file systems of fsspec call them, the surest first.
_TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created")
_PARALLEL_LOOKS = 16
_A_THREADS_PART = 64  # a local file takes less time than to hand it to a thread
_CHUNK = _A_THREADS_PART * _PARALLEL_LOOKS


@dataclass(frozen=True)
class FileVersion:
    """`version` is an ETag without its quotes, or a time in UTC."""

    num_bytes: int
    version: str

    def digest(self) -> str:
        """16 hexadecimal digits that stand for this version in the commit log."""
        return blake2b(f"{self.num_bytes} {self.version}".encode(), digest_size=8).hexdigest()


def version_of(info: Mapping[str, Any]) -> FileVersion | None:
    """The version of a file by what fsspec says of it; `None` for a folder, or where its store does not tell."""
    num_bytes = info.get("size")
    if num_bytes is None or info.get("type", "file") != "file":
        return None
    tag = str(info.get("ETag") or info.get("etag") or "").removeprefix("W/").strip('"')
    told = tag or next((_in_utc(info[name]) for name in _TIMES if info.get(name)), "")
    return FileVersion(int(num_bytes), told) if told else None


def changed_at(info: Mapping[str, Any]) -> float | None:
    """When a file changed, by what fsspec says of it, in seconds since 1970; `None` where its store does not tell."""
    told = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(told, str):
        try:
            told = datetime.fromisoformat(told)
        except ValueError:
            return None
    if isinstance(told, datetime):
        return told.timestamp()
    return float(told) if isinstance(told, (int, float)) else None


def changed_on_disk(path: str | Path) -> float | None:
    """When a local file changed, in seconds since 1970; `None` if there is none."""
    try:
        return Path(path).stat().st_mtime
    except (OSError, ValueError):
        return None


def version_on_disk(path: str | Path) -> FileVersion | None:
    """The version of a local file; `None` if there is none. Times count to the millisecond, as all disks keep them."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return FileVersion(found.st_size, _in_utc(found.st_mtime)) if stat.S_ISREG(found.st_mode) else None


def current_versions(
    uris: Iterable[tuple[str, str]],
    storage_options: StorageOptions | None = None,
    *,
    ask_stores: bool,
    rules: AddressRules = DEFAULT_RULES,
) -> Iterator[tuple[str, FileVersion]]:
    """The versions of these videos as they are now, `(id, version)` for each `(id, uri)` whose version can be told.

    Of a member of a tar it is the archive's. Object stores are asked only with `ask_stores`, one request a file. Web
    servers are never asked, because they belong to others. Nothing is told of an address that `rules` refuse.
    """
    remaining = iter(uris)
    look = _Look(storage_options, ask_stores, rules)
    with ThreadPoolExecutor(_PARALLEL_LOOKS, thread_name_prefix="versions") as pool:
        while chunk := list(islice(remaining, _CHUNK)):
            parts = [chunk[start : start + _A_THREADS_PART] for start in range(0, len(chunk), _A_THREADS_PART)]
            for found in pool.map(look.at_all, parts):
                yield from found


class _Look:
    """Looks versions up. Of an archive it is asked once, for all members."""

    def __init__(self, storage_options: StorageOptions | None, ask_stores: bool, rules: AddressRules) -> None:
        self._rules = rules
        self._storage_options = storage_options
        self._ask_stores = ask_stores
        self._archives: dict[str, FileVersion | None] = {}

    def at_all(self, uris: Sequence[tuple[str, str]]) -> list[tuple[str, FileVersion]]:
        """Those whose version can be told."""
        found = ((name, self._look(uri)) for name, uri in uris)
        return [(name, version) for name, version in found if version is not None]

    def _look(self, uri: str) -> FileVersion | None:
        parts = split_tar_member(uri) if "::" in uri else None
        if parts is None:
            return self._version(uri)
        archive = parts[0]
        if archive not in self._archives:
            self._archives[archive] = self._version(archive)
        return self._archives[archive]

    def _version(self, uri: str) -> FileVersion | None:
        if not self._rules.allows(uri):
            return None
        if is_local(uri):
            return version_on_disk(local_path(uri))
        if not self._ask_stores or scheme_of(uri).place is Place.WEB:
            return None
        try:
            filesystem, path = open_checked(uri, self._storage_options, self._rules)
            return version_of(filesystem.info(path))
        except Exception:  # noqa: BLE001  # what cannot be looked up is not known to have changed
            return None


def _in_utc(told: Any) -> str:
    """A time that a store told as text, as a number of seconds or as a date."""
    if isinstance(told, (int, float)):
        told = datetime.fromtimestamp(told, UTC)
    if not isinstance(told, datetime):
        return str(told)
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
