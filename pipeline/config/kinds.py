"""The kinds of values that keys of all commands have: numbers with their units, places, local places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from pipeline.config.fields import AsTyped, Unit
from pipeline.redact import redact_uri
from pipeline.storage.on_disk import is_folder
from pipeline.storage.schemes import problem_of_password, problem_of_spelling
from pipeline.storage.uris import is_local, local_path


def _check_local(place: str | None) -> str | None:
    if place is not None and not is_local(place):
        raise ValueError(
            f"{redact_uri(place)} is no path on local disk: give one without {place.partition('://')[0]}://"
        )
    return place


def _check_places(value: Any) -> Any:
    """Refuse a URI whose store would print its password, and one that would be taken for a path on this disk."""
    for place in value if isinstance(value, tuple) else (value,):
        if place is not None and (problem := problem_of_password(place) or problem_of_spelling(place)):
            raise ValueError(f"{redact_uri(place)}: {problem}")
    return value


def _check_root(place: str | None) -> str | None:
    """Refuse a folder on disk that is not there: each video would be told to be gone, or shown without pictures."""
    if place is not None and is_local(place) and "::" not in place:
        folder = Path(local_path(place)).absolute()
        if not is_folder(folder):
            raise ValueError(f"{redact_uri(place)}: there is no folder {folder}; check the path")
    return place


def _one_or_several(value: Any) -> Any:
    """`videos=clip-1` means a list of one."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return (value,) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _names(value: Any) -> Any:
    """A name of digits alone is a number on the command line."""
    names = _one_or_several(value)
    return tuple(map(str, names)) if isinstance(names, tuple) else names


def _not_none_of(value: Any, info: ValidationInfo) -> Any:
    if value == ():
        raise ValueError(f"{info.field_name}=[] names nothing: give some, or leave it out for all")
    return value


Seconds = Annotated[float, Unit("seconds")]
Frames = Annotated[int, Unit("frames")]
Pixels = Annotated[int, Unit("pixels")]
OptionalWorkers = Annotated[int | None, Unit("workers")]
Place = Annotated[str, AsTyped("a path or URI"), AfterValidator(_check_places)]
OptionalPlace = Annotated[str | None, AsTyped("a path or URI"), AfterValidator(_check_places)]
OptionalRoot = Annotated[
    str | None, AsTyped("a folder or URI"), AfterValidator(_check_places), AfterValidator(_check_root)
]
OptionalPlaces = Annotated[
    tuple[str, ...] | None,
    AsTyped("a path or URI, or in a job file a list of them"),
    AfterValidator(_check_places),
]
OptionalLocalPlace = Annotated[str | None, AsTyped("a path on local disk"), AfterValidator(_check_local)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
OptionalNames = Annotated[tuple[str, ...] | None, BeforeValidator(_names), AfterValidator(_not_none_of)]
OptionalNumbers = Annotated[tuple[int, ...] | None, BeforeValidator(_one_or_several), AfterValidator(_not_none_of)]
"""Several names or numbers, or one alone; null is all that there are."""
