"""The keys of workers: their deadlines, when they publish finished videos, and when they save a long one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pipeline.config.fields import Group, Unit
from pipeline.config.kinds import Frames, OptionalLocalPlace, Seconds


class WorkerConfig(Group):
    """How the driver runs its workers: reports, deadlines, and how often something may fail before it is given up."""

    videos_in_flight: Annotated[int | None, Unit("videos")] = Field(
        default=None,
        ge=1,
        description="Videos that one worker labels at the same time, in shared batches. null, or auto, is 4 on a GPU, "
        "which several videos feed better than one, and 1 on a CPU.",
    )
    # At most 15 s, because a driver that is stopped waits 20 s for its workers to publish what they have finished.
    beat_seconds: Seconds = Field(
        default=10.0, ge=0.01, le=15, description="A worker reports to the driver at least this often."
    )
    hang_seconds: Seconds = Field(
        default=600.0,
        ge=1,
        description="The driver kills a worker that has not reported for this long; its videos get a strike each.",
    )
    setup_seconds: Seconds = Field(
        default=1800.0, ge=1, description="The driver kills a worker that loads the model for longer than this."
    )
    warm_up_seconds: Seconds = Field(
        default=1800.0,
        ge=0,
        description="With model.compile, a worker compiles before its first video for at most this long, beside "
        "worker.setup_seconds. What it has no time for runs uncompiled.",
    )
    max_strikes: Annotated[int, Unit("deaths")] = Field(
        default=3,
        ge=1,
        description="A video that was in flight at this many deaths of its worker is quarantined; at 3 times as many "
        "where workers die through no video's fault as well.",
    )
    max_setup_failures: Annotated[int, Unit("failures")] = Field(
        default=3,
        ge=1,
        description="The job stops when the model did not load this many times in a row and no worker runs.",
    )
    storage_patience_seconds: Seconds = Field(
        default=900.0, ge=0, description="The job stops when the storage has not answered for this long."
    )
    spool_dir: OptionalLocalPlace = Field(
        default=None, description="A local folder for rows that are not published yet; null is the system's own."
    )

    def in_flight(self, on_gpu: bool) -> int:
        """How many videos a worker labels at the same time."""
        return self.videos_in_flight or (4 if on_gpu else 1)

    @field_validator("videos_in_flight", mode="before")
    @classmethod
    def _take_auto(cls, value: Any) -> Any:
        return None if value == "auto" else value

    @model_validator(mode="after")
    def _check_deadline(self) -> WorkerConfig:
        """A healthy worker reports every `beat_seconds` at best: a deadline near that would kill it."""
        least = 2 * self.beat_seconds
        if self.hang_seconds < least:
            hang, beat = f"worker.hang_seconds={self.hang_seconds:g}", f"worker.beat_seconds={self.beat_seconds:g}"
            raise ValueError(
                f"{hang} is less than twice {beat}, within which a healthy worker reports: "
                f"give {least:g} or more, or a shorter beat"
            )
        return self


class FlushConfig(Group):
    """When a worker publishes finished videos: the first one at once, later ones at whichever of these comes first."""

    megabytes: Annotated[float, Unit("megabytes")] = Field(
        default=64.0, ge=0, description="Publish when the finished videos have this many megabytes of rows."
    )
    seconds: Seconds = Field(default=300.0, ge=0, description="Publish when a finished video has waited this long.")
    elapsed_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Publish when a finished video has waited for this share of the time since the worker started, "
        "times the number of workers: a crash costs one of them this much at most.",
    )


class CheckpointConfig(Group):
    """When a worker saves a long video in its middle, so that it can go on there: whichever of these comes first."""

    every_frames: Frames = Field(default=2000, ge=1, description="Save after this many labeled frames.")
    every_seconds: Seconds = Field(default=120.0, ge=0, description="Save this long after the last time.")
