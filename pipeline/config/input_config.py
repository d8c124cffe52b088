"""The group `input`: which videos a folder or a glob names, and what the tables of a job may name."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.fields import AsTyped, Group, Unit
from pipeline.config.kinds import Seconds


class InputConfig(Group):
    """Which videos a folder or a glob names, and what tables may name.

    Whoever writes a table should not choose what workers fetch inside their network.
    """

    schemes: tuple[str, ...] | None = Field(
        default=None,
        description="The schemes of addresses that are read, as [s3,https]; file stands for local paths. null is all "
        "where the table with the addresses is local. A table in a store may name known stores, web servers and its "
        "own scheme, and no local paths.",
    )
    hosts: tuple[str, ...] | None = Field(
        default=None,
        description="The hosts that are connected to, as [videos.example.com,'*.example.org']. null is all that lead "
        "to no loopback or link-local address; a host that is written out here, or has the tables, may lead there.",
    )

    video_id_from: Annotated[str | None, AsTyped("a regular expression")] = Field(
        default=None,
        description="Where videos is a folder or a glob: a regular expression that is searched for in the path of each "
        "video below the folder, or below the part of the glob before its first wildcard. What its groups match, "
        "joined by /, is the video_id; without groups it is what the whole matches. null is the path without suffix.",
    )
    settle_seconds: Seconds = Field(
        default=0.0,
        ge=0,
        description="Where videos is a folder or a glob: a video whose file changed less than this long ago may still "
        "be written, and is left for the next run.",
    )

    listing: Literal["auto", "full", "from_last"] = Field(
        default="auto",
        description="Where videos is a folder or a glob in S3 or Google Cloud Storage: from_last begins at the names "
        "of the files that came last, and looks at videos before them only where they are not labeled. It finds new "
        "files whose names are not smaller, and nothing else that was replaced or deleted. full finds all. auto is "
        "full where there are few videos or their names do not come in order, else from_last, with a full listing "
        "from time to time.",
    )
    full_listing_below: Annotated[int, Unit("videos")] = Field(
        default=100_000,
        ge=0,
        description="With input.listing=auto: fewer videos than this are always listed in full. 100,000 are 100 "
        "requests.",
    )
    full_listing_seconds: Seconds = Field(
        default=7 * 24 * 3600.0,
        ge=0,
        description="With input.listing=auto: a run lists in full if the last full listing is this long ago.",
    )
    late_seconds: Seconds = Field(
        default=7 * 24 * 3600.0,
        ge=0,
        description="With input.listing=from_last and auto: the files that came last are those that changed at most "
        "this long before the newest one.",
    )

    @field_validator("video_id_from")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"input.video_id_from={value}: is no regular expression: {error}") from error
        return value

    @field_validator("schemes", "hosts", mode="before")
    @classmethod
    def _take_one_for_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @field_validator("schemes", "hosts")
    @classmethod
    def _check_plain(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        example = "s3 or https" if info.field_name == "schemes" else "videos.example.com or 10.0.0.7"
        for name in value or ():
            if not name or "/" in name or any(letter.isspace() for letter in name):
                raise ValueError(f"input.{info.field_name}: {name!r} is none; give it alone, as {example}")
        return value
