"""The key that says where shots of a film begin, because no object is followed across a hard cut."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# A field of `JobConfig` with all that is said about it, because it stands among its keys.

Shots = Annotated[
    Literal["table", "detect", "ignore"],
    Field(
        description="Where shots begin, at which no object is followed any further: at the times that the column "
        "cuts_seconds of the table of videos has (table), or where they are found in the pictures of videos without "
        "such times (detect, which needs maskmill[shots]). ignore follows objects across all cuts.",
    ),
]
