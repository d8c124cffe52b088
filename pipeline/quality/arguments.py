"""The keys that the commands share which hold masks against other masks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipeline.config.fields import Group, Unit
from pipeline.config.kinds import OptionalLocalPlace, OptionalNames, OptionalPlace, OptionalRoot
from pipeline.quality.alignment import FrameMatch, ObjectMatch
from pipeline.quality.conventions import Convention
from pipeline.quality.evaluation import Prompted, Rules


class ScoringArguments(Group):
    """How masks are held against each other, how the truth is read, and what the page shows."""

    videos: OptionalNames = Field(
        default=None, description="These videos alone, as in videos=[clip-1,clip-2]; null is all."
    )
    convention: Convention = Field(default="all", description="Which objects and frames of the truth count; see below.")
    prompted: Prompted = Field(
        default="exclude", description="Whether frames count on which the object was prompted: there the job was told."
    )
    match: ObjectMatch = Field(
        default="id", description="Which objects are the same: those with the same id, or those that overlap most."
    )
    frames: FrameMatch = Field(
        default="index", description="Which frames of the truth are the same: those with the same number, or time."
    )
    format: str = Field(
        default="auto", description="The format of the truth, as pipeline.prompts knows it; auto looks at the files."
    )
    truth_storage_options: dict[str, Any] | None = Field(
        default=None, description="Credentials and endpoints for truth=; null: those of storage_options."
    )
    images: OptionalPlace = Field(
        default=None, description="The file with the images that a truth of COCO or YouTube-VIS results names."
    )
    first_frame: Annotated[int | None, Unit("frames")] = Field(
        default=None,
        ge=0,
        description="The number that a truth of another format gives the first frame; null is the format's own rule.",
    )
    top: Annotated[int, Field(ge=0, le=200)] = Field(default=12, description="How many tracks the page shows.")
    pictures: bool = Field(default=True, description="false leaves pictures out of the page, and opens no video.")
    videos_root: OptionalRoot = Field(
        default=None, description="A folder or URI below which the files of the videos lie now; null: where they were."
    )
    spool_dir: OptionalLocalPlace = Field(
        default=None, description="A local folder for the truth of another format as a table; null is the system's own."
    )

    def rules(self) -> Rules:
        """How two sides are held against each other."""
        return Rules(self.convention, self.prompted, self.match, self.frames)
