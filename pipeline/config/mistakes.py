"""A mistake in a config as one line for people: the key, its value and what is allowed, or which key was meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.columns_config import BOX_FORMAT_OF
from pipeline.config.fields import Group, Key, group_of, keys
from pipeline.errors import ConfigError
from pipeline.redact import redact

SomeGroup = TypeVar("SomeGroup", bound=Group)


def checked(group: type[SomeGroup], values: Any) -> SomeGroup:
    """A group made of plain values. Raises `ConfigError` for the first unknown key, or else the first mistake."""
    try:
        return group.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
    unknown = (mistake for mistake in found if mistake["type"] == "extra_forbidden")
    # Not chained to pydantic's error: that one quotes values, secrets too.
    raise ConfigError(_explain(group, next(unknown, found[0])))


def _explain(group: type[Group], mistake: ErrorDetails) -> str:
    names = [part for part in mistake["loc"] if isinstance(part, str)]  # a number is a place in a list
    path, value = ".".join(names), mistake["input"]
    match mistake["type"]:
        case "extra_forbidden":
            shown = redact({path: value})[path]  # it may be a secret, under a name that is mistyped
            return f"unknown key {path}={shown!r}{_suggestion(group, names)}"
        case "missing":
            return f"{path} is missing"
        case "value_error":
            told = str(mistake["ctx"]["error"])
            is_named = not names or f"{names[-1]}=" in told or told.startswith((path, names[-1]))
            return told if is_named else f"{path}: {told}"
        case "model_type" | "model_attributes_type":
            return f"{path}: expected a group of keys, got {value!r}"
        case "dict_type":
            return f"{path}={value}: expected keys with values, as in {path}.key=value"
        case "tuple_type":
            return f"{path}={value}: expected a list, as in {path}=[a,b]"
    key = next((key for key in keys(group) if key.path == path), None)
    return _refused(key, path, value) if key else f"{path}={value!r}: {mistake['msg']}"


def _refused(key: Key, path: str, value: Any) -> str:
    """Why a key does not take a value: it is none of the choices, of another type, or out of bounds."""
    if key.choices:
        meant = BOX_FORMAT_OF.get(str(value).lower().replace("-", "_")) if path == "box_format" else None
        hint = f"; boxes of {value} are {meant}" if meant else ""
        return f"{path}={value}: allowed are {', '.join(key.choices)}{hint}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if key.bounds and is_number and not (isinstance(value, float) and key.expects.startswith("a whole")):
        return f"{path}={value:.10g}: allowed is {key.bounds}"
    return f"{path}={'null' if value is None else repr(value)}: expected {key.expects}"


def _suggestion(group: type[Group], names: Sequence[str]) -> str:
    """Which key was meant: one of the same group, or one of that name in another group; else all of the group."""
    every = [key.path for key in keys(group)]
    for name in names[:-1]:
        inner = group_of(group.model_fields[name])
        assert inner is not None
        group = inner
    start = "".join(f"{name}." for name in names[:-1])
    siblings = {name: f"{start}{name}" for name in group.model_fields}
    anywhere = {path.rpartition(".")[2]: path for path in every}
    for known in (siblings, anywhere):
        if close := difflib.get_close_matches(names[-1], known, n=1):
            return f": did you mean {known[close[0]]}?"
    return f": known here are {', '.join(sorted(siblings.values()))}"
