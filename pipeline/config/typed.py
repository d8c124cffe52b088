"""A dataclass from a mapping, with errors that name the key, the value and what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pipeline.errors import ConfigError
from pipeline.redact import redact


def build(section: type[Section], values: Any, path: str) -> Section:
    """An instance of the dataclass `section` from a mapping; `path` is where it stands in the config, for messages."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected a group of keys, got {values!r}")
    known = {item.name: item for item in fields(section)}  # type: ignore[arg-type]  # `Section` is always a dataclass
    for key in values:
        if key not in known:
            shown = redact({_join(path, key): values[key]})[_join(path, key)]  # it may be a secret's, mistyped
            raise ConfigError(f"unknown key {_join(path, key)}={shown!r}{_suggestion(str(key), list(known))}")
    hints = get_type_hints(section)
    arguments = {}
    for name, item in known.items():
        if name in values:
            arguments[name] = _convert(values[name], hints[name], _join(path, name))
            _check_range(arguments[name], item.metadata, _join(path, name))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{_join(path, name)} is missing")
    return section(**arguments)


def _convert(value: Any, wanted: Any, path: str) -> Any:
    """`value` as the annotated type `wanted`. Raises `ConfigError` naming both."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (wanted,) = (option for option in get_args(wanted) if option is not type(None))
        return _convert(value, wanted, path)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return build(wanted, value, path)
    if origin is Literal:
        if value not in get_args(wanted):
            raise ConfigError(f"{path}={value}: allowed are {', '.join(map(str, get_args(wanted)))}")
        return value
    if origin is tuple:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple):
            raise ConfigError(f"{path}={value}: expected a list, as in {path}=[a,b]")
        return tuple(_convert(entry, get_args(wanted)[0], path) for entry in values)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value}: expected keys with values, as in {path}.key=value")
        return dict(value)
    return _convert_scalar(value, wanted, path)


_SCALARS: dict[type, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str,)),
}


def _convert_scalar(value: Any, wanted: type, path: str) -> Any:
    description, accepted = _SCALARS[wanted]
    if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool) or value != value:
        shown = "null" if value is None else repr(value)
        raise ConfigError(f"{path}={shown}: expected {description}")
    return wanted(value)


def _check_range(value: Any, metadata: Mapping[str, Any], path: str) -> None:
    lowest, highest = metadata.get("at_least"), metadata.get("at_most")
    if value is None or lowest is None:
        return
    if value < lowest or (highest is not None and value > highest):
        allowed = f"at least {lowest:g}" if highest is None else f"from {lowest:g} to {highest:g}"
        raise ConfigError(f"{path}={value:g}: allowed is {allowed}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {close[0]}?" if close else f": known here are {', '.join(sorted(known))}"


Section = TypeVar("Section")
