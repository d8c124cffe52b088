"""Which files of a folder are frames, in which order, and which of them look as if they were not meant to be frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from model.media.formats import IMAGE_SUFFIXES

# A minus is a sign at the start of a name and after `_` or `=`. Elsewhere it separates, as in `cam-1`.
_SIGN = r"(?:(?<=[_=])|^)-(?=\d)"
# Two numbers with a dot between them, unless they are of a longer series, as in `2024.01.31`.
_DOTTED = r"(?<!\d)(?<!\d\.)\d+\.\d+(?!\.?\d)"
_WHOLE = re.compile(rf"((?:{_SIGN})?\d+)")
_DECIMAL = re.compile(rf"((?:{_SIGN})?(?:{_DOTTED}|\d+))")

Key = list[tuple[int, Decimal, str]]


def image_names(names: Iterable[str]) -> list[str]:
    """Those files of a folder that are its frames, in order. A name that begins with a dot is none."""
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not _base(name).startswith(".")]
    return sorted(images, key=natural_order(images))


def natural_order(names: Sequence[str]) -> Callable[[str], tuple[Key, Key]]:
    """A sorting key for the files of one folder: `frame9` before `frame10`, `-2` before `-1`, `1.25` before `1.5`.

    Two numbers with a dot between them are read as one decimal, as in names that are times. They are two whole numbers
    if one of them says so: `1.10` follows `1.9`, because no program writes the time 1.1 in this way beside 1.9.
    """
    fractions = [text.partition(".")[2] for name in names for text in re.findall(_DOTTED, _stem(name))]
    same_width = len({len(fraction) for fraction in fractions}) <= 1
    counted = not same_width and any(len(fraction) > 1 and fraction.endswith("0") for fraction in fractions)
    pattern = _WHOLE if counted else _DECIMAL
    return lambda name: (_key(pattern, _stem(name)), _key(_WHOLE, _base(name)))


def stems_of_several(names: Sequence[str]) -> str:
    """A sentence on files that differ in their ending only, such as a mask beside each image; empty if there are none.

    Every one of them is a frame, because no name says which is meant.
    """
    count = Counter(_stem(name) for name in names)
    twice = [name for name in names if count[_stem(name)] > 1]
    if not twice:
        return ""
    return (
        f"{len(twice)} of {len(names)} images differ from another in the ending only, as {_base(twice[0])} and "
        f"{_base(twice[1])}: each is a frame; keep masks and copies in another folder"
    )


def _key(pattern: re.Pattern[str], text: str) -> Key:
    pieces = [piece for piece in pattern.split(text) if piece]
    return [
        (1, Decimal(piece), piece) if pattern.fullmatch(piece) and piece[-1].isdecimal() else (0, Decimal(0), piece)
        for piece in pieces
    ]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return _base(name).rpartition(".")[0]
