"""The group `input`: what the tables of a job may name."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.fields import Group


class InputConfig(Group):
    """What the tables may name. Whoever writes a table should not choose what workers fetch inside their network."""

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
