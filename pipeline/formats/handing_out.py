"""Masks that go out to be reviewed in another program: which tracks, what speaks against each, and what was told.

All that is needed to take a review back travels in the documents, as attributes of the objects. What was told of each
object on each frame is kept below the output, because a deleted shape says nothing of itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from pipeline.arrays import BoolArray, Int64Array
from pipeline.config.fields import Group
from pipeline.config.kinds import OptionalPlace
from pipeline.formats.plan import PlannedTrack, PlannedVideo
from pipeline.formats.rows import MaskRow

UNSEEN = "unseen"
VERDICTS = (UNSEEN, "accept", "reject", "fix", "skip")
"""What a reviewer may say of a track in another program; the first one says nothing."""

HANDOUT, OBJECT_ID, VERDICT, COMMENT = "handout", "object_id", "verdict", "comment"
TOLD = (OBJECT_ID, "video_id", "labeled_at", HANDOUT, "doubt", "reasons", "look_at", VERDICT, COMMENT)
"""The attributes of an object that goes out, in the order in which a person reads them."""

Key = tuple[str, int]


class ReviewKeys(Group):
    """Keys of an export that shall be looked at in another program and come back."""

    review: bool = Field(
        default=False,
        description="true writes what people need to look at tracks in CVAT or Label Studio, and what to_review= of "
        "pipeline.prompts needs to take in what they changed: see docs/review_elsewhere.md.",
    )
    queue: OptionalPlace = Field(
        default=None,
        description="A queue that python -m pipeline.queue has written: its tracks go out to be reviewed.",
    )
    queue_storage_options: dict[str, Any] | None = Field(
        default=None, description="Credentials and endpoints for queue=; null: those of storage_options."
    )
    top: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="In the place of queue=: at most so many tracks go out, those that python -m pipeline.queue puts "
        "first of what where= and categories= keep and has no verdict.",
    )
    others: bool = Field(
        default=True,
        description="With queue= or top=: whether the other tracks of the videos go along, so that nobody adds them.",
    )
    around: int | None = Field(
        default=None,
        ge=0,
        description="With cvat_images, or label_studio and variant=images: only the frame to look at of each track, "
        "and so many labeled frames before and after it; null is all frames.",
    )


class Look(NamedTuple):
    """Why a track should be looked at, and on which frame. `is_audit`: a queue has drawn it by lot."""

    doubt: float | None
    reasons: tuple[str, ...]
    frame_index: int | None
    is_audit: bool | None = None


@dataclass(frozen=True)
class ForReview:
    """What goes out. `chosen` are tracks of a queue; None are all that are selected."""

    chosen: Mapping[Key, Look] | None = None
    others: bool = True
    around: int | None = None

    def keys(self) -> dict[str, Any]:
        """What makes it what it is."""
        chosen = None if self.chosen is None else hashlib.sha256(repr(sorted(self.chosen.items())).encode()).hexdigest()
        return {"review": True, "queue": chosen, "others": self.others, "around": self.around}

    def video_ids(self) -> list[str] | None:
        """The videos of the chosen tracks; None where all are."""
        return None if self.chosen is None else sorted({video_id for video_id, _ in self.chosen})

    def takes(self, video_id: str, object_id: int) -> bool:
        """Whether a track goes out."""
        return self.chosen is None or self.others or (video_id, object_id) in self.chosen

    def look(self, video_id: str, track: PlannedTrack) -> Look | None:
        """Why somebody should look at a track; None for one that only goes along."""
        if self.chosen is not None:
            return self.chosen.get((video_id, track.object_id))
        row = track.row
        return Look(row.get("doubt"), tuple(row.get("doubt_reasons") or ()), row.get("doubt_frame"))

    def shown(self, video: PlannedVideo, frame_indexes: Int64Array) -> BoolArray:
        """Which of the labeled frames `[T]` go out: all, or those around the frames to look at."""
        if self.around is None:
            return np.ones(len(frame_indexes), bool)
        is_shown = np.zeros(len(frame_indexes), bool)
        for track in video.tracks:
            look = self.look(video.video_id, track)
            if look is None:
                continue
            frame = track.row["first_visible_frame"] if look.frame_index is None else look.frame_index
            place = min(int(np.searchsorted(frame_indexes, frame or 0)), len(frame_indexes) - 1)
            is_shown[max(0, place - self.around) : place + self.around + 1] = True
        return is_shown


@dataclass
class VideoReview:
    """One video that goes out. `rows` are those of the handout, which the writer tells while it writes."""

    handout: str
    review: ForReview
    video: PlannedVideo
    size_hw: tuple[int, int]
    rows: list[dict[str, Any]] = field(default_factory=list)
    tool_frames: dict[int, int] = field(default_factory=dict)

    def attributes(self, track: PlannedTrack) -> list[tuple[str, str]]:
        """What is said of an object, by name: `TOLD`. Frames are those of the other program, once they are noted."""
        look = self.review.look(self.video.video_id, track)
        frame = None if look is None else look.frame_index
        values = {
            OBJECT_ID: str(track.object_id),
            "video_id": self.video.video_id,
            "labeled_at": self.labeled_at,
            HANDOUT: self.handout,
            "doubt": "" if look is None or look.doubt is None else f"{look.doubt:.2f}",
            "reasons": "" if look is None else ", ".join(look.reasons),
            "look_at": "" if frame is None else str(self._tool_frame(frame)),
            VERDICT: UNSEEN,
            COMMENT: "",
        }
        return [(name, values[name]) for name in TOLD]

    @property
    def labeled_at(self) -> str:
        """When the video was labeled, as text."""
        finished_at = self.video.row["finished_at"]
        return "" if finished_at is None else finished_at.isoformat(timespec="milliseconds")

    def _tool_frame(self, frame: int) -> int:
        """What the other program calls a frame, or the last one before it that went out."""
        if frame in self.tool_frames:
            return self.tool_frames[frame]
        return self.tool_frames.get(max((one for one in self.tool_frames if one < frame), default=frame), frame)

    def note_frames(self, frame_indexes: Iterable[int], tool_frames: Sequence[int]) -> None:
        """Note the frames that go out, and how the other program counts them."""
        self.tool_frames = dict(zip(frame_indexes, tool_frames, strict=True))
        self.rows.extend(self._row(*frames) for frames in self.tool_frames.items())

    def note(self, track: PlannedTrack, row: MaskRow, tool_frame: int, shape: str) -> None:
        """Note an object that is shown on a frame, as the format says it."""
        look = self.review.look(self.video.video_id, track)
        self.rows.append(
            self._row(row.frame_index, tool_frame)
            | {
                "object_id": track.object_id,
                "shape": shape,
                "counts": row.rle["counts"],
                "category": track.category,
                "is_chosen": look is not None,
                "is_audit": None if look is None else look.is_audit,
            }
        )

    def _row(self, frame_index: int, tool_frame: int) -> dict[str, Any]:
        height, width = self.size_hw
        return {
            "video_id": self.video.video_id,
            "frame_index": int(frame_index),
            "tool_frame": int(tool_frame),
            "name": self.video.name,
            "uri": self.video.row["uri"],
            "height": height,
            "width": width,
            "labeled_at": self.labeled_at or None,
        }
