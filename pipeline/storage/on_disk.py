"""What lies at a path of this machine. Below a folder that this user may not enter that is nothing, as for `os.path`.

`Path.is_file` and its kin raise there. Whoever opens the path is told why it may not be read or written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether anything is there that this user may look at."""
    return _mode(path) != 0


def is_file(path: Path) -> bool:
    """Whether a plain file is there."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    return stat.S_ISDIR(_mode(path))


def dead_link(path: Path) -> Path | None:
    """The link on the way to a path that leads nowhere, as one to a disk that is not mounted; `None` without one."""
    return next((place for place in (path, *path.parents) if _is_link(place) and not is_there(place)), None)


def why_dead(link: Path) -> str:
    """What is said of a link that leads nowhere, and what to do."""
    end = os.path.realpath(link)
    return f"{link} is a link to {end}, and this user finds nothing there: mount its disk, or make that folder"


def sizes_in(folder: str, stem: str) -> list[tuple[str, int]]:
    """Names and sizes of the files in a folder. Of others than `stem...` nothing is asked, because a log has many."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(stem) and not entry.is_dir(follow_symlinks=False):
                try:
                    found.append((entry.name, entry.stat().st_size))
                except OSError as error:  # it was deleted meanwhile, or is a link to nothing or to itself
                    if error.errno not in (errno.ENOENT, errno.ELOOP):
                        raise
    return found


def _is_link(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.is_symlink()
    return False


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
