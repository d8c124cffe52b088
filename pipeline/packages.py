"""Where our own packages lie, and the folders that could hide them.

`python -m` and Ray's workers put the current folder in front of `sys.path`, as Python does without `-P`
(`PYTHONSAFEPATH`). A `model.py` or `conf/` in that folder would be imported in place of our package.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from pipeline.errors import ConfigError

PACKAGES = ("model", "pipeline", "conf", "jobs")
ROOT = Path(__file__).resolve().parent.parent


def foreign_folders() -> tuple[str, ...]:
    """The current folder, as `sys.path` may name it, unless our packages lie in it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted, so that nothing is imported from it
        return ("",)
    return () if here.resolve() == ROOT else ("", str(here), str(here.resolve()))


def leave_current_folder() -> None:
    """Take the current folder off the front of `sys.path`, where `python -m` has put it. Call this in a `__main__`."""
    if sys.path and sys.path[0] in foreign_folders():
        del sys.path[0]


def check_not_hidden() -> None:
    """Raises `ConfigError` if another file has the place of one of our packages, through `PYTHONPATH` for example."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec and spec.origin and ROOT not in Path(spec.origin).resolve().parents:
            raise ConfigError(
                f"{spec.origin} hides maskmill's own package '{package}': rename it, or take its folder off PYTHONPATH"
            )
