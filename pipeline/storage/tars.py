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

_indexes: OrderedDict[tuple[str, int, str], Index] = OrderedDict()
_lock = threading.Lock()


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
    with _lock:
        key = (archive, num_bytes, version)
        index = _indexes.get(key)
        if index is None:
            try:
                with open_archive() as file:
                    index = _read_index(file)
            except (ValueError, OverflowError, MemoryError) as error:
                raise tarfile.ReadError(f"a header is damaged: {error!r}") from error
            _indexes[key] = index
            if len(_indexes) > _MAX_INDEXES:
                _indexes.popitem(last=False)
        _indexes.move_to_end(key)
        return index


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
