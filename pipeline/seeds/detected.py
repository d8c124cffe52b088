"""Masks of the boxes of a detector on a frame, as a search takes them in place of those of a grid of clicks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model import BoxPrompt, FoundMask, Frame, VideoSession, boxed_on


@dataclass(frozen=True)
class Said:
    """What a detector says of a box. `score` is None where it gave none."""

    category: str | None
    score: float | None


@dataclass(frozen=True, eq=False)
class DetectedMask(FoundMask):
    """The mask of a box. The detector's score speaks for it; a box without one is certain."""

    said: Said

    @property
    def score(self) -> float:
        """The detector's score, 1 where it gave none."""
        return 1.0 if self.said.score is None else self.said.score


SaidBox = tuple[BoxPrompt, Said]


class Boxes:
    """The boxes of a video: `at` gives those of a labeled frame, the best first. A frame with boxes is a key frame."""

    def __init__(self, at: Callable[[int], Sequence[SaidBox]]) -> None:
        self._at = at

    def is_key(self, index: int) -> bool:
        """Whether a frame has boxes."""
        return len(self._at(index)) > 0

    def find(self, session: VideoSession, frame: Frame) -> list[FoundMask]:
        """The masks of the boxes on a frame; a box in which the network sees nothing has none."""
        given = self._at(frame.index)
        masks = boxed_on(session, frame, [box for box, _ in given])
        return [
            DetectedMask(
                mask.inner_hw,
                mask.box_xyxy,
                mask.size_hw,
                mask.predicted_iou,
                mask.stability,
                mask.point_xy,
                mask.crop_xyxy,
                said,
            )
            for mask, (_, said) in zip(masks, given, strict=True)
            if mask is not None
        ]
