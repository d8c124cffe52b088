"""Keys of `conf=verify`: which tracks of a job are walked back to their prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.fields import Group, Unit


class VerifyConfig(Group):
    """Tracks of a finished job are walked back from their last sure mask, to see whether they get to their prompt."""

    tracks: Literal["doubtful", "all"] = Field(
        default="doubtful", description="Which tracks are checked: those with doubt, or all of them."
    )
    min_doubt: float = Field(
        default=0.1, ge=0, le=1, description="With verify.tracks=doubtful, tracks with less doubt are left alone."
    )
    share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="So many of the other tracks are drawn by lot and checked as well: the same ones in each run.",
    )
    max_tracks: Annotated[int, Unit("tracks")] = Field(
        default=10_000, ge=1, description="At most so many tracks are checked by one run, the most doubtful first."
    )
    min_predicted_iou: float = Field(
        default=0.7, ge=0, le=1, description="A mask is sure where the network believes in it this much."
    )
