"""What lies at a path of this machine. Below a folder that this user may not enter that is nothing, as for `os.path`.

`Path.is_file` and its kin raise there. Whoever opens the path is told why it may not be read or written.
"""

from __future__ import annotations

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


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
