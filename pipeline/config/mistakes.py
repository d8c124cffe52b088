"""A mistake in a config as one line for people: the key, its value and what is allowed, or which key was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.columns_config import BOX_FORMAT_OF
from pipeline.config.fields import Group, Key, group_of, keys
from pipeline.errors import ConfigError
from pipeline.redact import redact

SomeGroup = TypeVar("SomeGroup", bound=Group)

_FEW = 25  # keys that a message still names all
_PLACES = ("_path", "_file", "_dir", "_folder", "_uri", "_url")  # people say so of keys that are places
_SIMILAR, _BESIDE = (
    0.75,
    0.15,
)  # how alike names are that are taken for each other, and what keys of the same group gain


def checked(group: type[SomeGroup], values: Any) -> SomeGroup:
    """A group made of plain values. Raises `ConfigError` for the first unknown key, or else the first mistake."""
    try:
        return group.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
    unknown = (mistake for mistake in found if mistake["type"] == "extra_forbidden")
    # Not chained to pydantic's error: that one quotes values, secrets too.
    raise ConfigError(_explain(group, next(unknown, found[0])))


def no_pair(words: Sequence[str], place: int, example: str) -> str:
    """What is said of the word at `place`, which is no `key=value`: most often a shell has cut it off the word before.

    That word may be a secret, so that its key alone is named.
    """
    word = words[place]
    told = f"{word!r} is not key=value (as in {example})"
    key, equals, _ = words[place - 1].partition("=") if place else ("", "", "")
    after = words[place + 1] if place + 1 < len(words) else ""
    if after.startswith("="):
        return f"{told}: leave out the blanks around ="
    if equals and key and not key.startswith("-") and not word.startswith("-"):
        return f"{told}; if it belongs to the value of {key}=, put quotes around all of that; --help shows the keys"
    return f"{told}; --help shows the keys"


def _explain(group: type[Group], mistake: ErrorDetails) -> str:
    names = [part for part in mistake["loc"] if isinstance(part, str)]  # a number is a place in a list
    path, value = ".".join(names), mistake["input"]
    match mistake["type"]:
        case "extra_forbidden":
            shown, typed = redact({path: value})[path], names  # it may be a secret, under a name that is mistyped
            while isinstance(shown, dict) and len(shown) == 1:
                ((name, shown),) = shown.items()
                typed = [*typed, str(name)]
            return f"unknown key {'.'.join(typed)}={shown!r}{_suggestion(group, names, typed)}"
        case "missing":
            return f"{path} is missing"
        case "value_error":
            told = str(mistake["ctx"]["error"])
            is_named = not names or f"{names[-1]}=" in told or told.startswith((path, names[-1]))
            return told if is_named else f"{path}: {told}"
        case "model_type" | "model_attributes_type":
            return f"{path}={_shown(redact({path: value})[path])}: {_no_key(group, names)}"
        case "dict_type" if len(names) < len(mistake["loc"]):
            return f"{path}=[…]: {_shown(value)} in the list: expected keys with values, as in {path}=[{{key: value}}]"
        case "dict_type":
            return f"{path}={'null' if value is None else value}: expected keys with values, as in {path}.key=value"
        case "tuple_type":
            return f"{path}={_shown(value)}: expected a list, as in {path}=[a,b]"
    key = next((key for key in keys(group) if key.path == path), None)
    if key and not key.choices and mistake["type"] == "string_type" and len(names) < len(mistake["loc"]):
        return f"{path}=[…]: {_shown(value)} in the list is no text; put it in quotes, as in '{path}=[\"{value}\"]'"
    return _refused(key, path, value) if key else f"{path}={value!r}: {mistake['msg']}"


def _no_key(group: type[Group], names: Sequence[str]) -> str:
    """What is said of a group that was given a value as if it were a key."""
    path = ".".join(names)
    told = group.MEANT.get(path, "give one of them")
    first = next(key.path for key in keys(group) if key.path.startswith(f"{path}."))
    return f"{path} is a group of keys, as {first}; {told}"


def _refused(key: Key, path: str, value: Any) -> str:
    """Why a key does not take a value: it is none of the choices, of another type, or out of bounds."""
    if key.choices:
        meant = BOX_FORMAT_OF.get(str(value).lower().replace("-", "_")) if path == "box_format" else None
        hint = f"; boxes of {value} are {meant}" if meant else ""
        return f"{path}={value}: allowed are {', '.join(key.choices)}{hint}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if key.bounds and is_number and not (isinstance(value, float) and key.expects.startswith("a whole")):
        return f"{path}={value:.10g}: allowed is {key.bounds}"
    example = f", as in {path}=[a,b]" if key.expects == "a list" else ""
    return f"{path}={_shown(value)}: expected {key.expects}{example}"


def _shown(value: Any) -> str:
    """A value as it may have been typed."""
    return "null" if value is None else repr(value)


def _suggestion(group: type[Group], names: Sequence[str], typed: Sequence[str]) -> str:
    """Which key was meant, or what stands in its place; else the keys of its group, if they are few.

    `names` lead to what is unknown. If that is a whole group, `typed` leads to the key in it.
    """
    name = ".".join(typed)
    if told := group.MEANT.get(name) or group.MEANT.get(_without_place(name)):
        return f": {told}"
    siblings = list(_siblings(group, names))
    if found := _meant(group, siblings if typed == names else [], typed):
        return f": did you mean {found}?"
    few = f"known here are {', '.join(sorted(siblings))}" if len(siblings) <= _FEW else "--help shows all keys"
    return f": {few}"


def _siblings(group: type[Group], names: Sequence[str]) -> Iterator[str]:
    """Full names of the keys and groups beside the one that `names` leads to."""
    for name in names[:-1]:
        inner = group_of(group.model_fields[name])
        assert inner is not None
        group = inner
    for name, field in group.model_fields.items():
        yield ".".join([*names[:-1], field.alias or name])


def _meant(group: type[Group], siblings: Sequence[str], typed: Sequence[str]) -> str:
    """The key that is spelled most like what was typed, where siblings come first; empty if none is like it."""
    wanted, whole = _without_place(typed[-1]), "_".join(typed)
    found = [(0.0, "")]
    for path in siblings:
        name = path.rpartition(".")[2]
        ratio = _SIMILAR if name.startswith(f"{wanted}_") else _ratio(wanted, name)
        # Among many names some are always a little alike.
        if ratio >= _SIMILAR - (_BESIDE if len(siblings) <= _FEW else 0.0):
            found.append((ratio + _BESIDE, path))
    for key in keys(group):
        name = key.path.rpartition(".")[2]
        ratio = max(_ratio(wanted, name), _ratio(whole, key.path.replace(".", "_")))
        if ratio >= _SIMILAR:
            found.append((ratio, key.path))
    return max(found)[1]


def _without_place(name: str) -> str:
    for place in _PLACES:
        name = name.removesuffix(place)
    return name


def _ratio(one: str, other: str) -> float:
    """How alike two names are; the same name counts more than any that is only similar."""
    return 2.0 if one == other else difflib.SequenceMatcher(None, one, other).ratio()
