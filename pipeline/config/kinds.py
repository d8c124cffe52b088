"""The kinds of values that keys of all commands have: numbers with their units, places, local places."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from pipeline.config.fields import AsTyped, Unit
from pipeline.redact import redact_uri
from pipeline.storage.uris import is_local


def _check_local(place: str | None) -> str | None:
    if place is not None and not is_local(place):
        raise ValueError(
            f"{redact_uri(place)} is no path on local disk: give one without {place.partition('://')[0]}://"
        )
    return place


Seconds = Annotated[float, Unit("seconds")]
Frames = Annotated[int, Unit("frames")]
Pixels = Annotated[int, Unit("pixels")]
OptionalWorkers = Annotated[int | None, Unit("workers")]
Place = Annotated[str, AsTyped("a path or URI")]
OptionalPlace = Annotated[str | None, AsTyped("a path or URI")]
OptionalPlaces = Annotated[tuple[str, ...] | None, AsTyped("a path or URI, or in a job file a list of them")]
OptionalLocalPlace = Annotated[str | None, AsTyped("a path on local disk"), AfterValidator(_check_local)]
