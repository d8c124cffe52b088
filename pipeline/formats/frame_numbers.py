"""Which frames of a video get a file, and under which numbers or names frames and objects are written."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from pipeline.errors import ConfigError
from pipeline.formats.source import ExportVideo

FrameNumbers = Literal["index", "count"]
"""`index`: as in the tables, 0, 4, 8 with a stride of 4; `count`: 0, 1, 2."""

ObjectNumbers = Literal["dense", "id"]
"""`dense`: 1, 2, 3 in the order of the ids, without holes; `id`: the ids themselves."""


def frames_with_unlabeled(video: ExportVideo) -> list[int]:
    """The labeled frames, and those before and behind them that the stride of the labels would have labeled.

    A frame is labeled from the first prompt of a video on. Evaluators want a file for each frame of their truth, which
    begins at 0. Frames with prompts are labeled between others. Where there is no stride (`frames.fps`), only labeled
    frames are known.
    """
    labeled = video.frame_indexes
    found = {int(index) for index in labeled}
    steps = np.unique(np.diff(labeled)) if len(labeled) > 1 else np.ones(1, np.int64)
    strides = [int(step) for step in steps if 2 * np.count_nonzero(labeled % step == 0) > len(labeled)]
    if strides:
        stride = max(strides)
        end = max(int(labeled[-1]) + 1, video.row["num_frames_decoded"])
        found.update(range(0, int(labeled[0]), stride))
        found.update(range(int(labeled[-1]) // stride * stride, end, stride))
    return sorted(found)


def numbered(frame_indexes: list[int], numbers: FrameNumbers) -> dict[int, int]:
    """The number of each of these frames."""
    return {index: index if numbers == "index" else count for count, index in enumerate(frame_indexes)}


def image_stems(video: ExportVideo, frame_indexes: list[int]) -> dict[int, str]:
    """The name of the image that each of these frames is in the folder of the video, without its ending.

    Raises `ConfigError` where frames are no images with names of their own, or are not all that the folder holds.
    """
    names = [PurePosixPath(name).stem for name in video.image_names()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    num_frames = video.row["num_frames_decoded"]
    if not names or twice or len(names) != num_frames:
        why = (
            "is no folder of images"
            if not names
            else f"has more than one image {twice[0]}"
            if twice
            else f"has {len(names)} images, and {num_frames} were read when it was labeled"
        )
        raise ConfigError(f"video {video.video_id!r} {why}, so that its frames have no names: give frame_numbers=index")
    return {index: names[index] for index in frame_indexes}
