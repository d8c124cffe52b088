"""Two tracks of the same object, frame by frame: for those who look at what the tables name.

Legend: T frames that both sides have labeled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.arrays import Int64Array
from pipeline.quality.alignment import FrameMatch, align_frames
from pipeline.quality.masks import SizeHW, VideoMasks, track_counts
from pipeline.quality.pairs import PairScores, score_pairs


@dataclass(frozen=True)
class TrackSeries:
    """The masks of both sides as COCO's counts, and their scores. Frames are those of the first side, and so are those
    with prompts of either.
    """

    size_hw: SizeHW
    frames_T: Int64Array
    first_T: pa.Array
    second_T: pa.Array
    scores: PairScores
    prompts: tuple[int, ...]
    prompts_of_second: tuple[int, ...]

    def worst(self, num_frames: int, first: int) -> list[int]:
        """Places of frames with the lowest J, the frame `first` before them, and none beside another one of them."""
        chosen: list[int] = np.flatnonzero(self.frames_T == first).tolist()
        apart = max(1, len(self.frames_T) // (2 * num_frames))
        for place in np.argsort(self.scores.j, kind="stable").tolist():
            if len(chosen) == num_frames:
                break
            if all(abs(place - other) > apart for other in chosen):
                chosen.append(place)
        return chosen


def track_series(
    first: VideoMasks, second: VideoMasks, ids: tuple[str | None, str | None], match: FrameMatch, side: str
) -> TrackSeries:
    """The object `ids[0]` of the first side beside `ids[1]` of the second; None stands for empty masks."""
    frames = align_frames(first, second, match, side)
    one, other = (
        None if name is None else video.tracks[name] for video, name in zip((first, second), ids, strict=True)
    )
    first_T, second_T = track_counts(one, frames.predicted_T), track_counts(other, frames.true_T)
    size_hw = first.size_hw or second.size_hw or (1, 1)
    scores = score_pairs(size_hw, first_T, second_T)
    prompts, of_second = (
        () if track is None else tuple(frames.predicted_T[track.is_prompted_on(frames_T)].tolist())
        for track, frames_T in ((one, frames.predicted_T), (other, frames.true_T))
    )
    return TrackSeries(size_hw, frames.predicted_T, first_T, second_T, scores, prompts, of_second)
