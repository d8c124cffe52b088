"""The keys of a run that is started every night: how much it may spend, what follows it, and who is told."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from pipeline.config.fields import AsTyped, Group, Unit
from pipeline.config.kinds import OptionalPlace, Seconds

_SECONDS_OF = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([dhms]))+", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.IGNORECASE)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The hosts that are this machine."""


def _parse_duration(value: Any) -> float | None:
    """Seconds of `4h`, `1h30m`, `90s` or of a plain number. Raises `ValueError` for anything else."""
    if value is None:
        return None
    text = str(value).strip()
    seconds = math.nan
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS_OF[unit.lower()] for number, unit in _PART.findall(text))
    elif not isinstance(value, bool):
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{value!r} is no duration: give one as 4h, 1h30m, 90s, or a number of seconds above 0")
    return seconds


def is_web_address(notify: str) -> bool:
    """Whether `notify=` names a web address, and no command."""
    return re.match(r"https?://", notify, re.IGNORECASE) is not None


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _none_of_blank(value: Any) -> Any:
    """`notify=` with nothing behind it switches off what a job file asks for: an empty command would succeed."""
    return None if _is_blank(value) else value


def _check_notify(notify: str | None) -> str | None:
    """Refuse an address to which the document would travel readable for all. The message does not quote it."""
    if notify is None or not is_web_address(notify):
        return notify
    if re.search(r"[^!-~]", notify):
        raise ValueError("notify= has a blank, or a letter beyond ASCII, in its address: write it as %20")
    try:
        address = urlsplit(notify)
        is_complete = bool(address.hostname) and address.port != 0
    except ValueError:
        is_complete = False
    if not is_complete:
        raise ValueError(
            "notify= names no host, or no port from 1 to 65535: give an address as https://alerts.example.com/maskmill"
        )
    if "@" in address.netloc:
        raise ValueError(
            "notify= has a user name or a password before its host, which is not sent: give an address without it, or "
            "a command, as curl --netrc --data-binary @- https://alerts.example.com/maskmill"
        )
    if notify.lower().startswith("http:") and address.hostname not in LOOPBACK:
        raise ValueError(
            f"notify=http://{address.hostname}/…: the document would travel unencrypted; give an https:// address. "
            f"http:// is taken for this machine only ({', '.join(LOOPBACK)})"
        )
    return notify


# Fields of `JobConfig` with all that is said about them, because they stand among its keys and belong to this subject.

StopAfter = Annotated[
    float | None,
    BeforeValidator(_parse_duration),
    AsTyped("a duration, as 4h, 30m or 90s, or a number of seconds"),
    Field(
        description="The run ends so long after its start: work in flight is finished or saved, and what is left waits "
        "for the next run, where videos that have waited longest come first. The exit code is 0.",
    ),
]
MaxCost = Annotated[
    float | None,
    Unit("dollars, or of any currency"),
    Field(
        ge=0,
        allow_inf_nan=False,
        description="The run ends in the same way when its workers have cost this much; it needs price_per_hour.",
    ),
]
PricePerHour = Annotated[
    float | None,
    Unit("dollars, or of any currency"),
    Field(
        ge=0,
        allow_inf_nan=False,
        description="What an hour of one worker costs: its GPU and its machine. It counts from the moment in which the "
        "worker has loaded its model.",
    ),
]
Notify = Annotated[
    str | None,
    AsTyped("a command, or an https:// address"),
    BeforeValidator(_none_of_blank),
    AfterValidator(_check_notify),
    Field(
        description="Who is told how a run ended: a command, which gets the end document (last_run.json) on its "
        "standard input, or an https:// address, to which it is posted.",
    ),
]
NotifyOn = Annotated[
    Literal["always", "failure", "worse"],
    Field(
        description="When notify= is told: at each end; when a person is needed (exit codes 1, 2, 4 and 5); or also "
        "when more failed, or more is doubtful, than in the week before.",
    ),
]


class AfterConfig(Group):
    """What follows a run that has labeled something, in this order. Each step is a command of maskmill, or yours, in a
    process of its own.
    """

    compact_above: Annotated[int | None, Unit("segments")] = Field(
        default=None, ge=1, description="Merge small segments when there are more of them than this; null never does."
    )
    report: Annotated[OptionalPlace, BeforeValidator(_none_of_blank)] = Field(
        default=None, description="The file or URI for a report of the job."
    )
    export: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="Exports: for each the keys of pipeline.export, as in {format: coco, to: s3://bucket/coco}. "
        "They are made anew, because the labels have changed.",
    )
    hooks: Annotated[tuple[str, ...], AsTyped("a command for the shell, or in a job file a list of them")] = Field(
        default=(),
        description="Your own steps. They get the end document on their standard input, and run in their order, when "
        "all steps before them have succeeded.",
    )
    step_seconds: Seconds = Field(
        default=14400.0, ge=1, description="A step that takes longer than this is ended, and has failed."
    )
    always: bool = Field(default=False, description="Take all steps after each run, also where nothing is new.")
    doubt_videos: Annotated[int, Unit("videos")] = Field(
        default=0,
        ge=0,
        description="In how many of the videos that the run has labeled doubtful tracks are counted, for the end "
        "document and for the comparison with the week before.",
    )

    @field_validator("export", "hooks", mode="before")
    @classmethod
    def _take_one_for_a_list(cls, value: Any) -> Any:
        """`hooks=command` means `hooks=[command]`, and `hooks=` none."""
        several = (value,) if isinstance(value, str | dict) else value
        return tuple(one for one in several if not _is_blank(one)) if isinstance(several, list | tuple) else several

    @field_validator("export")
    @classmethod
    def _check_exports(cls, exports: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for one in exports:
            if missing := [key for key in ("format", "to") if not one.get(key)]:
                raise ValueError(
                    f"after.export: an export without {' and '.join(missing)}; give each as "
                    "{format: coco, to: s3://bucket/coco}"
                )
            if taken := [key for key in ("output", "storage_options") if key in one]:
                raise ValueError(f"after.export: {taken[0]} is that of the job, leave it out")
        return exports
