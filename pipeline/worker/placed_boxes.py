"""Boxes of a detector, put onto the labeled frames of their video; and what became of those without a place there."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from pipeline.inputs.detections import Detection, VideoDetections
from pipeline.records import FramePosition
from pipeline.seeds.detected import Said, SaidBox
from pipeline.seeds.shots import GapsOf, no_gaps
from pipeline.text import counted

# A detector whose boxes are at most so far apart would have seen an object again that is there.
_DENSE_SECONDS = 1.0
_ROUNDING_SECONDS = 1e-6
_USUAL_FRAME_SECONDS = 1 / 24
_NOT_LABELED, _LOW, _WRONG = "on frames that are not labeled", "below discover.min_score", "that are no boxes there"


class PlacedBoxes:
    """The boxes of one video by labeled frame. Boxes with a score below `min_score` are left out.

    A box at a time is of the frame that is nearest to it. How long a frame lasts is told as in `Shots`.
    """

    def __init__(
        self,
        given: VideoDetections,
        min_score: float,
        size_hw: tuple[int, int],
        frame_seconds: float,
        gaps_of: GapsOf = no_gaps,
    ) -> None:
        self._size_hw, self._frame_seconds, self._gaps_of = size_hw, frame_seconds, gaps_of
        self._left_out = Counter({_WRONG: given.num_wrong})
        self._example = given.wrong
        self._by_frame: dict[int, list[Detection]] = defaultdict(list)
        by_time: list[tuple[float, Detection]] = []
        for one in given.boxes:
            frame, seconds = one.position.frame_index, one.position.pts_seconds
            if one.score is not None and one.score < min_score:
                self._left_out[_LOW] += 1
            elif frame is not None:
                self._by_frame[frame].append(one)
            elif seconds is not None:
                by_time.append((seconds, one))
        self._by_time = deque(sorted(by_time, key=lambda entry: entry[0]))
        self._here: tuple[int, Sequence[SaidBox]] = (-1, ())
        self.are_dense = self._are_dense(frame_seconds or _USUAL_FRAME_SECONDS)

    def _are_dense(self, frame_seconds: float) -> bool:
        """Whether there are boxes at least once a second, on three frames or more."""
        times = {seconds for seconds, _ in self._by_time} | {frame * frame_seconds for frame in self._by_frame}
        return len(times) >= 3 and (max(times) - min(times)) / (len(times) - 1) <= _DENSE_SECONDS

    def at(self, index: int, position: FramePosition) -> Sequence[SaidBox]:
        """The boxes of a labeled frame, the best first. Frames are asked for in ascending order, each several times."""
        if index == self._here[0]:
            return self._here[1]
        found = self._by_frame.pop(position.frame_index, []) if position.frame_index is not None else []
        if position.pts_seconds is not None:
            gaps = no_gaps(0) if position.frame_index is None else self._gaps_of(position.frame_index)
            found = found + self._near(position.pts_seconds, *(min(self._frame_seconds, gap) / 2 for gap in gaps))
        boxes: list[SaidBox] = []
        for one in sorted(found, key=lambda one: -(1.0 if one.score is None else one.score)):
            try:
                boxes.append((one.box.fit(self._size_hw), Said(one.category, one.score)))
            except ValueError as error:
                self._left_out[_WRONG] += 1
                self._example = self._example or f"{one.position}: {error}"
        self._here = (index, boxes)
        return boxes

    def _near(self, pts_seconds: float, before: float, after: float) -> list[Detection]:
        found = []
        while self._by_time and self._by_time[0][0] <= pts_seconds + after + _ROUNDING_SECONDS:
            seconds, one = self._by_time.popleft()
            if seconds < pts_seconds - before - _ROUNDING_SECONDS:
                self._left_out[_NOT_LABELED] += 1
            else:
                found.append(one)
        return found

    def remark(self) -> str:
        """Which boxes were left out, once the video has been walked through; empty if none was."""
        rest = sum(map(len, self._by_frame.values())) + len(self._by_time)
        left_out = self._left_out + Counter({_NOT_LABELED: rest})
        if not left_out:
            return ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        example = f" ({self._example})" if self._example else ""
        return f"{counted(left_out.total(), 'detection')} left out: {reasons}{example}"
