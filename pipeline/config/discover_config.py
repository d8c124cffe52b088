"""Keys of `conf=discover`: where objects are looked for, and which masks are objects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipeline.config.fields import Group, Unit
from pipeline.config.kinds import Pixels, Seconds

Share = Annotated[float, Field(ge=0, le=1)]

_SA_V_CROPS = (16, 4)


def _as_tuple(value: object) -> object:
    """A list, as it comes from the command line and from YAML."""
    return tuple(value) if isinstance(value, list) else value


class DiscoverConfig(Group):
    """Objects that nobody prompted: they are looked for with a grid of clicks on key frames."""

    then: Literal["label", "prompts"] = Field(
        default="label",
        description="label follows the found objects through their videos. prompts leaves that to a later job: an "
        "object has one mask, on the frame that found it, and pipeline.prompts makes a table of them.",
    )
    mode: Literal["all", "sa_v"] = Field(
        default="all",
        description="all looks at key frames of the whole video. sa_v does what the automatic masklets of SA-V were "
        "made by: it looks at the first frame alone, also with 16² clicks on each of 4 crops and 4² on each of 16.",
    )
    every_seconds: Seconds = Field(
        default=2.0, ge=0, description="The time from one key frame to the next; the first frame is one as well."
    )
    max_seconds: Annotated[float | None, Unit("seconds")] = Field(
        default=None,
        ge=0,
        description="Objects are looked for in so many seconds of a video from its first frame on, and followed to its "
        "end. null looks for them up to its end.",
    )
    points_per_side: Annotated[int, Unit("clicks")] = Field(
        default=32, ge=1, le=256, description="The grid of clicks on a key frame has so many in each row and column."
    )
    crop_grids: Annotated[tuple[Annotated[int, Field(ge=1, le=256)], ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        max_length=3,
        description="Further grids of clicks on crops of the key frame at its full size, for small objects: [16, 4] "
        "are 16 in each row and column of each of 4 crops, and 4 of each of 16.",
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
    min_score: float = Field(
        default=0.35, ge=0, le=1, description="Boxes of detections= with a lower score are left out."
    )
    sure_detection: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="A box of detections= with this score is an object at once. Where there are boxes at least once a "
        "second, others must be found again. Boxes without a score are certain.",
    )

    @property
    def grids(self) -> tuple[int, ...]:
        """Clicks in each row and column of the key frame, then of its crops, layer by layer."""
        return (self.points_per_side, *(self.crop_grids or (_SA_V_CROPS if self.mode == "sa_v" else ())))
