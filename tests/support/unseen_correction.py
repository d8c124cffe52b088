"""A correction of a clip that nobody films: what is said of it needs no network, as long as nobody clicks."""

from __future__ import annotations

from threading import RLock
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from pipeline.mending.correction import Correction
from pipeline.mending.known_masks import End, KnownObject

SQUARE = np.pad(np.ones((4, 4), bool), 2)


def unseen_correction(
    object_id: int = 1,
    frame: int = 5,
    prompted: tuple[int, ...] = (0,),
    mask: Any = SQUARE,
    key: tuple[str, int] = ("clip", 1),
) -> Correction:
    """Of a clip of ten frames with one track, `key`, which was prompted on these frames."""
    track = SimpleNamespace(row={"prompt_frames": list(prompted)})
    clip = SimpleNamespace(video_id=key[0], object_ids=key[1:], track=lambda object_id: track)
    frames = SimpleNamespace(clip=clip, indexes=list(range(10)), size_hw=(8, 8), nothing=lambda: np.zeros((8, 8), bool))
    known = KnownObject(object_id, frame, 1, {}, {}, frame, mask)
    return Correction(cast("Any", None), cast("Any", frames), known, (mask, None), End(), RLock())
