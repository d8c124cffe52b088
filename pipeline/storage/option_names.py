"""Names of `storage_options`: a misspelled one is refused, because the clients of stores ignore what they do not know.

With `endpont_url=` a job would ask Amazon instead of the store that was meant, with whatever credentials it finds.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

_ALIKE = 0.8
_OF_SEVERAL = {"blocksize", "block_size"}
"""Names that one store has and another one almost has: the same options are given to all stores of a job."""


def problem_of_names(kind: type, names: Iterable[str]) -> str:
    """Which option looks like one of a kind of file systems and is none, in words; empty if there is none.

    Names that look like nothing pass: they may be those of another store, or of a newer client.
    """
    return _problem(kind, tuple(names))


@lru_cache(maxsize=256)  # a store is opened for each file of it, and comparing takes five times as long
def _problem(kind: type, names: tuple[str, ...]) -> str:
    known = _known(kind)
    for name in names:
        if name in known or name in _OF_SEVERAL:
            continue
        if near := get_close_matches(name, known, 1, _ALIKE):
            return (
                f"there is no option {name}: did you mean storage_options.{near[0]}? Options of another store stand "
                "under its name, as storage_options.hf.endpoint"
            )
    return ""


@lru_cache(maxsize=64)
def _known(kind: type) -> tuple[str, ...]:
    """What a kind of file systems and those that it is made of are given when they are opened."""
    names: set[str] = set()
    for one in kind.__mro__:
        if "__init__" in vars(one) and one is not object:
            names |= inspect.signature(vars(one)["__init__"]).parameters.keys()
    return tuple(sorted(names - {"self"}))
