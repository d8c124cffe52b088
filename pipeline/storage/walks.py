"""Walks through folders that raise what goes wrong. fsspec leaves a folder out that its store does not list.

Its `walk`, and `find` and `glob` that are made of it, take any error for a folder without files. A store that throttles
would have no labels, no reviews and no videos for a moment.
"""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import Any

from pipeline.text import one_line

_log = logging.getLogger(__name__)
_WALKS = ("walk", "_walk")
_SHOWN_LETTERS = 4096  # as long as a path may be


def let_walks_fail(filesystem: Any) -> None:
    """Have the walks of a file system raise, also those below its first folder, which get no `on_error` of fsspec."""
    for name in _WALKS:
        walk = getattr(filesystem, name, None)
        if walk is not None and name not in vars(filesystem) and _takes_on_error(walk):
            setattr(filesystem, name, partial(walk, on_error=_unless_gone))


def _takes_on_error(walk: Any) -> bool:
    """Whether it is a walk of fsspec: adlfs calls something else so."""
    taken = inspect.signature(walk).parameters.values()
    return any(one.name == "on_error" or one.kind is one.VAR_KEYWORD for one in taken)


def _unless_gone(error: OSError) -> None:
    """Raise an error, unless the folder was deleted meanwhile.

    A folder of this machine that this user may not read is left out, and told: each disk has a `lost+found`.
    """
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return
    if isinstance(error, PermissionError) and error.filename is not None:
        _log.warning(
            "the folder %s may not be read, so that its files are left out",
            one_line(str(error.filename), _SHOWN_LETTERS),
        )
        return
    raise error
