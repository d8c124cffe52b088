"""What a format cannot say: counted by kind, with the worst masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.text import counted, one_line

_NAMED = 20


class LostMask(NamedTuple):
    """A mask that the format says in part, and the IoU of that with the mask; None where it says nothing of it."""

    video_id: str
    object_id: int
    frame_index: int
    iou: float | None


@dataclass
class _Kind:
    num: int = 0
    num_compared: int = 0
    sum_iou: float = 0.0
    worst: list[LostMask] = field(default_factory=list)

    def add(self, masks: Iterable[LostMask]) -> None:
        self.worst = sorted([*self.worst, *masks], key=_badness)[:_NAMED]


class Losses:
    """Counts by kind. Sums of parts are the same in any order, but for rounding."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def add(self, kind: str, mask: LostMask) -> None:
        """Count one mask."""
        found = self._kinds.setdefault(kind, _Kind())
        found.num += 1
        if mask.iou is not None:
            found.num_compared += 1
            found.sum_iou += mask.iou
        if len(found.worst) < _NAMED or _badness(mask) < _badness(found.worst[-1]):
            found.add([mask])

    def merge(self, document: Mapping[str, Any]) -> None:
        """Add what `as_document` gave of another one."""
        for kind, counts in document.items():
            found = self._kinds.setdefault(kind, _Kind())
            found.num += counts["masks"]
            found.num_compared += counts["compared"]
            found.sum_iou += (counts["iou_mean"] or 0.0) * counts["compared"]
            found.add(LostMask(**mask) for mask in counts["worst"])

    def lines(self) -> list[str]:
        """A line for each kind, for people."""
        lines = []
        for kind, found in sorted(self._kinds.items()):
            mean = f", IoU {found.sum_iou / found.num_compared:.3f} on average" if found.num_compared else ""
            worst = found.worst[0]
            where = f"object {worst.object_id} on frame {worst.frame_index} of video {one_line(worst.video_id)}"
            at_worst = "" if worst.iou is None else f" and {worst.iou:.3f} at worst, {where}"
            lines.append(f"{kind}: {counted(found.num, 'mask')} in part{mean}{at_worst}")
        return lines

    def as_document(self) -> dict[str, Any]:
        """By kind: how many masks, mean and lowest IoU of those that could be compared, and the worst of them."""
        return {
            kind: {
                "masks": found.num,
                "compared": found.num_compared,
                "iou_mean": found.sum_iou / found.num_compared if found.num_compared else None,
                "iou_min": found.worst[0].iou,
                "worst": [mask._asdict() for mask in found.worst],
            }
            for kind, found in sorted(self._kinds.items())
        }


class NotHashed:
    """Videos whose first and last frame have no hash in the manifest, and why."""

    def __init__(self) -> None:
        self._num = 0
        self._first: dict[str, str] = {}

    def add(self, video_id: str, why: str, num: int = 1) -> None:
        """Count one video, or `num` of which this is one."""
        self._num += num
        if len(self._first) < _NAMED:
            self._first[video_id] = why

    def merge(self, document: Mapping[str, Any]) -> None:
        """Add what `as_document` gave of another one."""
        for video_id, why in document["first"].items():
            self.add(video_id, why, 0)
        self._num += document["count"]

    def as_document(self) -> dict[str, Any]:
        """How many, and of the first ones why."""
        return {"count": self._num, "first": self._first}

    def line(self) -> str:
        """A line for people; empty if there is none."""
        for video_id, why in self._first.items():
            return f"{counted(self._num, 'video')}, as {one_line(video_id)}: {one_line(why, 200)}"
        return ""


def _badness(mask: LostMask) -> tuple[Any, ...]:
    return (1.0 if mask.iou is None else mask.iou, mask.video_id, mask.frame_index, mask.object_id)
