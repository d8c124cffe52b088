"""Why a track is doubtful: the codes, what each says in a sentence, and a track's doubt with its grounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LOW_IOU_BOUND = 0.7


class Reason(StrEnum):
    """Why a track is doubtful. Codes stay; new ones may come."""

    LOW_IOU = "low_iou"
    IOU_DIPS = "iou_dips"
    UNSURE_STRETCH = "unsure_stretch"
    UNSTABLE = "unstable"
    WEAK_SCORE = "weak_score"
    UNLIKE_PROMPT = "unlike_prompt"
    LOST = "lost"
    FLICKERS = "flickers"
    AREA_JUMP = "area_jump"
    SHAPE_JUMP = "shape_jump"
    LEAP = "leap"
    FRAGMENTS = "fragments"
    WHOLE_FRAME = "whole_frame"
    BORDER = "border"
    OVERLAPS = "overlaps"
    INSIDE = "inside"
    CYCLE = "cycle"


SENTENCES: Mapping[Reason, str] = {
    Reason.LOW_IOU: "The model itself expects a mean IoU of only {value:.2f}; the lowest is on frame {frame}.",
    Reason.IOU_DIPS: "On a tenth of its frames the predicted IoU is {value:.2f} or less, the least on frame {frame}.",
    Reason.UNSURE_STRETCH: (
        f"A predicted IoU below {LOW_IOU_BOUND} on {{value:.0f}} frames in a row, the lowest on frame {{frame}}."
    ),
    Reason.UNSTABLE: "Its outline depends on the threshold: a stability of {value:.2f} or less, as on frame {frame}.",
    Reason.WEAK_SCORE: "The model hardly sees it: an object score of {value:.1f} or less, as on frame {frame}.",
    Reason.UNLIKE_PROMPT: (
        "To the network it no longer looks as at its prompt: a similarity of {value:.2f} or less, as on frame {frame}."
    ),
    Reason.LOST: "It vanishes inside the picture on frame {frame} and does not return, for {value:.0%} of its frames.",
    Reason.FLICKERS: "It vanishes and comes back {value:.0f} times, first on frame {frame}.",
    Reason.AREA_JUMP: "From one labeled frame to the next its area changes {value:.1f}-fold, on frame {frame}.",
    Reason.SHAPE_JUMP: (
        "From one labeled frame to the next its shape changes: an IoU of {value:.2f}, once moved, on frame {frame}."
    ),
    Reason.LEAP: "From one labeled frame to the next it moves by {value:.1f} times its own size, on frame {frame}.",
    Reason.FRAGMENTS: "It falls into up to {value:.0f} parts, as on frame {frame}.",
    Reason.WHOLE_FRAME: "Its mask covers {value:.0%} of the picture, on frame {frame}.",
    Reason.BORDER: "It touches the border of the picture on {value:.0%} of its frames, as on frame {frame}.",
    Reason.OVERLAPS: "Another track has the same pixels: a mean IoU of {value:.2f}, most on frame {frame}.",
    Reason.INSIDE: "It shares {value:.0%} of the smaller mask with another track, most on frame {frame}.",
    Reason.CYCLE: "Walked back from frame {frame}, it does not get to its prompt: an IoU of {value:.2f}.",
}
"""What a code means, with the value and the frame of a track."""


@dataclass(frozen=True)
class Ground:
    """One reason of one track: how heavy it is (0 … 1), what was measured, and on which frame."""

    reason: Reason
    weight: float
    value: float
    frame_index: int

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return SENTENCES[self.reason].format(value=self.value, frame=self.frame_index)


@dataclass(frozen=True)
class Doubt:
    """A track, how doubtful it is (0 … 1), and why: the heaviest ground first. No ground: nothing speaks against it."""

    video_id: str
    object_id: int
    doubt: float
    grounds: tuple[Ground, ...]

    @property
    def frame_index(self) -> int | None:
        """The frame to look at."""
        return self.grounds[0].frame_index if self.grounds else None
