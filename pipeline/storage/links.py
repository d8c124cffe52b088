"""Symbolic links of this machine whose target is gone: a missing file has this cause, and its name does not show it."""

from __future__ import annotations

from pathlib import Path

from pipeline.text import one_line


def dangling_link(error: FileNotFoundError) -> str:
    """Why a file of this machine was not found, where a link is the cause; empty for other causes and other places.

    What a store calls an object is no absolute path.
    """
    path = error.filename
    return of_dangling_link(Path(path)) if isinstance(path, str) and Path(path).is_absolute() else ""


def of_dangling_link(place: Path) -> str:
    """What is wrong with a path that is, or lies below, a link to something that is not there; empty if it does not."""
    for one in (place, *place.parents):
        try:
            if one.is_symlink() and not one.exists():
                what = "is" if one == place else f"{one_line(str(one))} is"
                target = one_line(str(one.readlink()))
                return f"{what} a symbolic link, and its target {target} is gone; put that back, or remove the link"
        except OSError:
            return ""
    return ""
