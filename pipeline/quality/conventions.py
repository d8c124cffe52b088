"""Which objects and which frames count: the conventions that published numbers follow.

    davis   objects of the first annotated frame; all frames but the first and the last (davis2017-evaluation,
            semi-supervised)
    sa_v    objects that show in the truth; all frames but the first and the last, from the one on where the object
            first shows in the truth or in the prediction (sav_benchmark.py of sam2; vos-benchmark)
    all     as sa_v, with the first and the last frame (vos-benchmark with skip_first_and_last=False)

In all of them J and F are 1 on a frame where both masks are empty, a frame's disk for F is the same, an object's scores
are means over its frames, and the scores of a data set are means over its objects.

Legend: T annotated frames of one video.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.arrays import BoolArray

Convention = Literal["davis", "sa_v", "all"]

SENTENCES: dict[Convention, str] = {
    "davis": "objects of the first annotated frame, on all frames but the first and the last",
    "sa_v": "all objects, from the frame on where they first show, without the first and the last annotated frame",
    "all": "all objects, from the frame on where they first show",
}
"""Each convention in half a sentence."""


def counted_frames(convention: Convention, true_T: BoolArray, predicted_T: BoolArray) -> BoolArray | None:
    """Which frames of an object count, `[T]`; None if the object does not count.

    `true_T` and `predicted_T` say on which annotated frames the object shows.
    """
    counts = np.ones(len(true_T), np.bool_)
    if convention != "all":
        counts[:1] = counts[-1:] = False
    if convention == "davis":
        return counts if true_T[:1].any() else None
    if not (true_T & counts).any():
        return None
    counts[: int(((true_T | predicted_T) & counts).argmax())] = False
    return counts
