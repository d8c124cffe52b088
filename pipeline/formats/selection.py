"""What of a job goes into an export, as keys, and the split of a video."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.fields import AsTyped, Group
from pipeline.config.kinds import OptionalNames, OptionalRoot, Pixels

_OF_THE_EXPORT = ("manifest",)
"""Names that no split can have, because some formats name files after splits."""

OptionalCondition = Annotated[str | None, AsTyped("a condition")]


class Selection(Group):
    """Which videos, tracks and masks are exported, and into which split."""

    videos: OptionalNames = Field(default=None, description="Ids of the videos; null is all finished ones.")
    where: OptionalCondition = Field(
        default=None,
        description="Which tracks: a condition on columns of the table tracks, those that keep_columns kept too, as in "
        "'where=predicted_iou_mean > 0.8 and visible_share > 0.1'. Rejected tracks are left out, unless it names "
        "verdict, as in 'where=verdict = \"accept\"'.",
    )
    round: int | None = Field(
        default=None,
        ge=1,
        description="The labels as they were at the end of this round of reviews, with rejected tracks and without "
        "verdicts; null is as they are now. See docs/rounds.md.",
    )
    whole_videos: bool = Field(
        default=False,
        description="true leaves out videos with a track that failed, was rejected or that where= leaves out: in the "
        "images that a detector learns from, no object is without its label.",
    )
    categories: OptionalNames = Field(default=None, description="Only tracks of these categories; null: all.")
    keep_never_visible: bool = Field(
        default=False, description="true keeps tracks that are visible on no frame, where the format can say that."
    )
    min_area: Pixels = Field(default=0, ge=0, description="A mask of fewer pixels counts as hidden.")
    splits: dict[str, float] = Field(
        default_factory=dict,
        description="Shares of the videos, as in splits.train=0.9 splits.val=0.1. The id of a video decides where it "
        "goes, so that it stays there when others are added. Left out, all are in train.",
    )

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: dict[str, float]) -> dict[str, float]:
        for name, share in splits.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"splits.{name}: a name begins with a letter or digit, and has these, _ and - only")
            if name in _OF_THE_EXPORT:
                raise ValueError(f"splits.{name}: {name}.json is the export's own; give the split another name")
            if not 0 < share <= 1:
                raise ValueError(f"splits.{name}={share:g}: allowed is more than 0 and at most 1")
        if splits and abs(sum(splits.values()) - 1) > 1e-6:
            raise ValueError(f"splits: the shares sum up to {sum(splits.values()):g}, and must to 1")
        return splits


class Content(Group):
    """What is written of the selected masks."""

    frames: Literal["none", "jpg", "png"] = Field(
        default="none", description="Whether the labeled frames are written as images, and in which format."
    )
    videos_root: OptionalRoot = Field(
        default=None, description="A folder or URI below which the files of the videos lie now; null: where they were."
    )
    hash_frames: bool = Field(
        default=False,
        description="The manifest has a hash of the first and last frame of each video. true opens the files of videos "
        "without one in the job, as frames=jpg and frames=png do; videos that cannot be read are told.",
    )
    missing: Literal["fail", "skip"] = Field(
        default="fail",
        description="What becomes of videos whose file is gone, with frames=jpg or frames=png: fail lists them and "
        "writes nothing, skip leaves them out.",
    )
    overlap: Literal["score", "id", "refuse"] = Field(
        default="score",
        description="Which mask gets a pixel that several have, in formats with one object a pixel: score is that of "
        "the higher object_score on this frame, id that of the lower object_id; refuse ends the export.",
    )


def split_of(video_id: str, splits: Mapping[str, float]) -> str:
    """The split of a video: its id's place between 0 and 1, held against the shares in their order."""
    if not splits:
        return "train"
    place = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") / 2**64
    end = 0.0
    for name, share in splits.items():
        end += share
        if place < end:
            return name
    return name
