"""What an export says of itself, and what the masks of a drawn job are when each pixel has one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.drawn_job import HEIGHT, WIDTH, Truth


def videos_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of the manifest about videos, by id."""
    lines = (folder / "manifest_videos.jsonl").read_text().splitlines()
    return {line["video_id"]: line for line in map(json.loads, lines)}


def lost_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What the manifest says that the format could not say, by kind."""
    lost: dict[str, dict[str, Any]] = json.loads((folder / "manifest.json").read_text())["lost"]
    return lost


def lower_ids_on_top(truth: Truth, video_id: str, frame_index: int, skip: tuple[int, ...] = ()) -> np.ndarray:
    """Ids by pixel, -1 where no object is; of those that overlap the lower one."""
    ids = np.full((HEIGHT, WIDTH), -1)
    for (video, object_id, frame), mask in sorted(truth.items(), reverse=True):
        if (video, frame) == (video_id, frame_index) and object_id not in skip:
            ids[mask] = object_id
    return ids


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two bool masks that are not both empty."""
    return float((one & other).sum() / (one | other).sum())
