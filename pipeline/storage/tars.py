"""Members of tar shards by byte range. A tar is read once per process for its index, then never scanned again.

Links are not followed (they could name anything), sparse and compressed members cannot be read by range.
"""

from __future__ import annotations

import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

_MAX_INDEXES = 64


@dataclass(frozen=True)
class Member:
    """Where a member's bytes lie in the archive, or why they cannot be read."""

    offset: int
    num_bytes: int
    problem: str = ""


Index = dict[str, Member]

Key = tuple[str, int, str]

_indexes: OrderedDict[Key, Index] = OrderedDict()
_reading: dict[Key, threading.Lock] = {}
_lock = threading.Lock()  # for these two


def member_name(name: str) -> str:
    """A member's name as it is looked up: without `./` in front."""
    return name.removeprefix("./")


def files_in_folder(index: Index, folder: str) -> Index:
    """The members right in a folder of an archive, by their names in it."""
    start = f"{member_name(folder).rstrip('/')}/"
    inside = {name.removeprefix(start): member for name, member in index.items() if name.startswith(start)}
    return {name: member for name, member in inside.items() if name and "/" not in name}


def tar_index(archive: str, num_bytes: int, open_archive: Callable[[], IO[bytes]], version: str = "") -> Index:
    """All members of an archive by name, from this process's memory when its size and version are unchanged.

    Raises `tarfile.TarError` if it is not an uncompressed tar or is cut off; storage errors pass.
    """
    key = (archive, num_bytes, version)
    with _lock:
        reading = _reading.setdefault(key, threading.Lock())
    with reading:  # who wants another archive does not wait for this one
        try:
            index = _known(key)
            if index is None:
                index = _read(open_archive)
            with _lock:
                _indexes[key] = index
                _indexes.move_to_end(key)
                while len(_indexes) > _MAX_INDEXES:
                    _indexes.popitem(last=False)
            return index
        finally:
            with _lock:
                _reading.pop(key, None)


def _known(key: Key) -> Index | None:
    with _lock:
        return _indexes.get(key)


def _read(open_archive: Callable[[], IO[bytes]]) -> Index:
    try:
        with open_archive() as file:
            return _read_index(file)
    except (ValueError, OverflowError, MemoryError) as error:
        raise tarfile.ReadError(f"a header is damaged: {error!r}") from error


def _read_index(file: IO[bytes]) -> Index:
    index: Index = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        last_offset = -1
        for member in archive:
            if member.size < 0 or member.offset <= last_offset:  # tarfile would read the same headers for ever
                raise tarfile.ReadError(f"member {member.name!r} leads back to an earlier place")
            last_offset = member.offset
            problem = ""
            if member.issym() or member.islnk():
                problem = "is a link, which is not followed"
            elif member.issparse():
                problem = "is stored as a sparse file"
            elif not member.isfile():
                problem = "is not a file"
            index[member_name(member.name)] = Member(member.offset_data, member.size, problem)
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
    return index
