"""What a key of the config says about itself, read from its field: type, unit, bounds, choices, default, a sentence.

The keys of a job are fields of pydantic models, the groups in `job_config`. Messages, `--help` and the defaults that
Hydra composes are made from these fields, so that a new key is described in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


def _choices_of(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, which may be null too; none of another type."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind))


class Group(BaseModel):
    """Keys that belong together. Strict: the text "1" is no number, `true` is no 1, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    MEANT: ClassVar[Mapping[str, str]] = {}
    """What is said of keys that people try and that no spelling leads to, by their full names."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number_for_true(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse 1 where true is a choice among texts: Python holds them for equal, and so does a `Literal`."""
        choices = _choices_of(cls.model_fields[info.field_name or ""].annotation)
        if value in choices and type(value) not in map(type, choices):
            raise PydanticCustomError("literal_error", "a choice of another type")
        return value


@dataclass(frozen=True)
class Unit:
    """What a number counts or measures, in the plural: `Annotated[float, Unit("seconds")]`."""

    name: str


@dataclass(frozen=True)
class AsTyped:
    """Marks a text such as a path, which the command line takes letter by letter: `,`, `{` and blanks mean nothing."""

    expects: str


@dataclass(frozen=True)
class Key:
    """One key of the config as people read about it. `path` is its full name, `default` what they would type."""

    path: str
    sentence: str
    expects: str
    bounds: str
    choices: tuple[str, ...]
    default: str
    is_as_typed: bool

    @property
    def allowed(self) -> str:
        """What may be given: `forward, backward or both`, `a whole number of seconds, at least 1`."""
        if self.choices:
            every = " or ".join(filter(None, (", ".join(self.choices[:-1]), self.choices[-1])))
            return f"{self.expects} of {every}" if self.expects else every
        return f"{self.expects}, {self.bounds}" if self.bounds else self.expects


def keys(group: type[Group], path: str = "") -> Iterator[Key]:
    """All keys of a group and of the groups in it, in the order of the fields. `path` is where the group stands."""
    for name, field in group.model_fields.items():
        inner = group_of(field)
        if inner is None:
            yield _key(_join(path, field.alias or name), field)
        else:
            yield from keys(inner, _join(path, name))


def group_of(field: FieldInfo) -> type[Group] | None:
    """The group that a field holds, `None` for a key."""
    kind = _without_none(field.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, Group) else None


def defaults(group: type[Group]) -> dict[str, Any]:
    """Plain values, by group, of all keys that have a default. A group that may be null is null."""
    values: dict[str, Any] = {}
    for name, field in group.model_fields.items():
        inner = group_of(field)
        if inner is not None and field.default is not None:
            values[name] = defaults(inner)
        elif not field.is_required():
            default = field.get_default(call_default_factory=True)
            values[name] = list(default) if isinstance(default, tuple) else default
    return values


def _key(path: str, field: FieldInfo) -> Key:
    kind = _without_none(field.annotation)
    unit = next((f" of {item.name}" for item in field.metadata if isinstance(item, Unit)), "")
    entry = get_args(kind)[0] if get_origin(kind) is tuple else kind
    choices = tuple(map(as_typed, get_args(entry))) if get_origin(entry) is Literal else ()
    as_is = next((item.expects for item in field.metadata if isinstance(item, AsTyped)), None)
    return Key(
        path,
        field.description or "",
        as_is or f"{_EXPECTS.get(get_origin(kind) or kind, '')}{unit}",
        _bounds(field),
        choices,
        "" if field.is_required() else as_typed(field.get_default(call_default_factory=True)),
        as_is is not None,
    )


_EXPECTS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list",
    dict: "keys with values",
}


def as_typed(value: Any) -> str:
    """A default as people type it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return "[]" if value == () else str(value)


def _bounds(field: FieldInfo) -> str:
    """The lowest and highest allowed value, in words; empty where every value is allowed."""
    above, lowest, highest = (
        next((getattr(item, name) for item in field.metadata if hasattr(item, name)), None)
        for name in ("gt", "ge", "le")
    )
    if above is not None:
        return f"above {above:.10g}" if highest is None else f"above {above:.10g}, at most {highest:.10g}"
    if lowest is None:
        return "" if highest is None else f"at most {highest:.10g}"
    return f"at least {lowest:.10g}" if highest is None else f"from {lowest:.10g} to {highest:.10g}"


def _without_none(annotation: Any) -> Any:
    """The type that a key has when it isn't null."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    (kind,) = (option for option in get_args(annotation) if option is not type(None))
    return kind


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
