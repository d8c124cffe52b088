"""Drawn clips for tests: shapes that the mini model can follow, their true masks, and the two input tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.demo.clips import Clip, Scene, Shape, draw
from pipeline.demo.inputs import clip_mp4, prompt_values, seed_prompts, write_inputs
from pipeline.demo.scenes import BLUE, GREEN, PINK, RED, TEAL, YELLOW

__all__ = [
    "Clip",
    "clip_mp4",
    "first_visible",
    "iou",
    "leaving_clip",
    "moving_clip",
    "occluding_clip",
    "prompt_values",
    "seed_prompts",
    "write_job_inputs",
]

LIGHT, DARK = ((206, 220, 214), (150, 178, 172)), ((60, 66, 92), (34, 38, 60))
SKINS = (RED, BLUE, YELLOW, GREEN, PINK, TEAL)


def moving_clip(
    name: str = "moving",
    *,
    num_frames: int = 8,
    num_objects: int = 2,
    size_hw: tuple[int, int] = (96, 128),
    seed: int = 0,
) -> Clip:
    """Up to six plain discs, each in a lane of its own, that drift sideways; other seeds begin at other places."""
    if not 1 <= num_objects <= len(SKINS):
        raise ValueError(f"num_objects={num_objects}: 1 to {len(SKINS)} are possible")
    generator = np.random.default_rng(seed)
    shapes = []
    for number in range(num_objects):
        y = (number + 0.5) / num_objects
        x = float(generator.uniform(0.25, 0.4))
        ends = ((x, y), (x + 0.25, y))
        shapes.append(Shape(ends if number % 2 == 0 else ends[::-1], min(0.26, 0.4 / num_objects), SKINS[number]))
    return draw(Scene(name, "drifting discs", tuple(shapes), LIGHT, size_hw, num_frames, seed))


def occluding_clip(name: str = "occluding", *, num_frames: int = 12, size_hw: tuple[int, int] = (96, 128)) -> Clip:
    """Object 1 passes behind object 2 and is wholly hidden in between."""
    shapes = (
        Shape(((0.14, 0.52), (0.86, 0.50)), 0.16, TEAL),
        Shape(((0.50, 0.50),), 0.34, YELLOW, aspect=0.55),
    )
    return draw(Scene(name, "one hides", shapes, LIGHT, size_hw, num_frames, seed=3))


def leaving_clip(name: str = "leaving", *, num_frames: int = 12, size_hw: tuple[int, int] = (96, 128)) -> Clip:
    """Object 1 leaves the picture and returns; object 2 stays."""
    shapes = (
        Shape(((0.40, 0.30), (1.25, 0.34), (1.25, 0.34), (0.42, 0.36)), 0.20, GREEN),
        Shape(((0.50, 0.74), (0.40, 0.72)), 0.19, PINK, aspect=1.6),
    )
    return draw(Scene(name, "one leaves", shapes, DARK, size_hw, num_frames, seed=4))


def write_job_inputs(
    folder: Path, clips: Sequence[Clip], prompts: Sequence[Mapping[str, Any]] | None = None
) -> tuple[Path, Path]:
    """MP4 files, `videos.parquet` and `prompts.parquet` in `folder`; a box per object unless prompts are given."""
    if prompts is None:
        prompts = [row for clip in clips for row in seed_prompts(clip, ["box"])]
    videos, seeds = write_inputs(str(folder), clips, prompts)
    return Path(videos), Path(seeds)


def first_visible(clip: Clip, object_id: int) -> int:
    """The first frame in which a pixel of the object shows."""
    visible_T = clip.masks_TBHW[:, object_id - 1].any(axis=(1, 2))
    assert visible_T.any()
    return int(visible_T.argmax())


def iou(first_HW: npt.NDArray[np.bool_], second_HW: npt.NDArray[np.bool_]) -> float:
    """Intersection over union; 1 if both masks are empty."""
    either = int((first_HW | second_HW).sum())
    return int((first_HW & second_HW).sum()) / either if either else 1.0
