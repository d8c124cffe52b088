"""Keys of `conf=discover`: where objects are looked for, and which masks are objects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.fields import Group, Unit
from pipeline.config.kinds import Pixels, Seconds

Share = Annotated[float, Field(ge=0, le=1)]


class DiscoverConfig(Group):
    """Objects that nobody prompted: they are looked for with a grid of clicks on key frames."""

    then: Literal["label", "prompts"] = Field(
        default="label",
        description="label follows the found objects through their videos. prompts leaves that to a later job: an "
        "object has one mask, on the frame that found it, and pipeline.prompts makes a table of them.",
    )
    every_seconds: Seconds = Field(
        default=2.0, ge=0, description="The time from one key frame to the next; the first frame is one as well."
    )
    points_per_side: Annotated[int, Unit("clicks")] = Field(
        default=32, ge=1, le=256, description="The grid of clicks on a key frame has so many in each row and column."
    )
    min_predicted_iou: float = Field(
        default=0.8, ge=0, le=1, description="Masks that the network believes in less are left out. mini needs 0.5."
    )
    min_stability: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="The IoU of a mask with itself when its threshold moves by a logit of 1 is at least this. mini "
        "needs 0.6.",
    )
    min_area: Pixels = Field(default=200, ge=1, description="Smaller masks, parts and holes are left out.")
    sure_score: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="An object that was found with this predicted IoU times stability counts at once. Others must be "
        "found again on a later key frame.",
    )
    max_objects: Annotated[int, Unit("objects")] = Field(
        default=64, ge=1, description="At most so many objects of a video are followed, those that were found first."
    )
