"""Which frames of a video get a file, and under which numbers frames and objects are written."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.formats.source import ExportVideo

FrameNumbers = Literal["index", "count"]
"""`index`: as in the tables, 0, 4, 8 with a stride of 4; `count`: 0, 1, 2."""

ObjectNumbers = Literal["dense", "id"]
"""`dense`: 1, 2, 3 in the order of the ids, without holes; `id`: the ids themselves."""


def frames_with_unlabeled(video: ExportVideo) -> list[int]:
    """The labeled frames and those of the video that lie at the same distance before and behind them.

    A frame is labeled from the first prompt of a video on. Evaluators want a file for each frame of their truth, which
    begins at 0. Only labeled frames, where their distances differ (`frames.fps`), because others are not known then.
    """
    labeled = video.frame_indexes
    steps = np.unique(np.diff(labeled))
    if len(steps) > 1 or not len(labeled):
        return [int(index) for index in labeled]
    step = int(steps[0]) if len(steps) else 1
    end = max(int(labeled[-1]) + 1, video.row["num_frames_decoded"])
    return list(range(int(labeled[0]) % step, end, step))


def numbered(frame_indexes: list[int], numbers: FrameNumbers) -> dict[int, int]:
    """The number of each of these frames."""
    return {index: index if numbers == "index" else count for count, index in enumerate(frame_indexes)}
