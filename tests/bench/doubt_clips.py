"""Random drawn clips of every difficulty, for the bench of doubt: few of them are easy, and many go wrong somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.demo.clips import PATTERNS, Bulges, Clip, Color, Scene, Shape, draw
from pipeline.demo.inputs import prompt_frame, prompt_values

SIZE_HW = (120, 160)
_KINDS = ("box", "box", "click", "box and click", "mask")


def clips(
    seeds: Iterable[int], num_frames: int = 16, hardest: float = 1.0
) -> Iterator[tuple[Clip, list[dict[str, Any]]]]:
    """Each clip with its rows of prompts. The same seed gives the same pixels. `hardest` bounds the difficulty."""
    for seed in seeds:
        rng = np.random.default_rng([17, seed])
        clip = draw(_scene(f"doubt{seed:04d}", rng, num_frames, hardest))
        yield clip, list(_prompts(clip, rng))


def _scene(name: str, rng: np.random.Generator, num_frames: int, hardest: float) -> Scene:
    difficulty = hardest * float(rng.random() ** 1.5)
    ground = _color(rng, 40, 215)
    palette = [_color(rng, 30, 230) for _ in range(int(rng.integers(1, 3)))]
    shapes = []
    for _ in range(int(rng.integers(2, 5))):
        look = rng.random()
        if look < 0.35 * difficulty:  # hardly told from the ground
            color = _near(rng, ground, 12 + 30 * (1 - difficulty))
        elif look < 0.75 * difficulty:  # like the others
            color = _near(rng, palette[int(rng.integers(len(palette)))], 6)
        else:
            color = _color(rng, 20, 240)
        shapes.append(_shape(rng, difficulty, color))
    return Scene(name, "", tuple(shapes), (ground, _near(rng, ground, 30)), SIZE_HW, num_frames, int(rng.integers(1e6)))


def _shape(rng: np.random.Generator, difficulty: float, color: Color) -> Shape:
    count = int(rng.integers(2, 5))
    spread = 0.15 + 0.75 * difficulty * rng.random()
    center = rng.uniform(0.2, 0.8, 2)
    points = center + spread * rng.uniform(-1, 1, (count, 2))
    points[0] = rng.uniform(0.2, 0.8, 2)
    second = _near(rng, color, 25 + 60 * difficulty * rng.random())
    bulges = Bulges(int(rng.integers(3, 8)), float(0.25 * rng.random()), float(rng.random() * difficulty))
    return Shape(
        tuple((float(x), float(y)) for x, y in points),
        float(rng.uniform(0.07, 0.24) * (1 - 0.4 * difficulty * rng.random())),
        (color, second),
        PATTERNS[int(rng.integers(len(PATTERNS)))],
        bulges,
        float(rng.uniform(0.6, 1.7)),
        float(rng.uniform(-0.6, 0.6) * difficulty),
    )


def _prompts(clip: Clip, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for object_id in clip.object_ids:
        if clip.masks_TBHW[:, object_id - 1].sum(axis=(1, 2)).max() < 30:
            continue
        frame_index = prompt_frame(clip, object_id)
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        values = prompt_values(kind, clip.mask(object_id, frame_index))
        if kind == "box" and rng.random() < 0.2:  # as a careless hand draws it
            x0, y0, x1, y1 = values["box_xyxy"]
            shift = rng.uniform(-0.35, 0.35, 4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
            values["box_xyxy"] = _inside(np.array([x0, y0, x1, y1]) + shift)
        yield {"video_id": clip.name, "object_id": object_id, "frame_index": frame_index, **values}


def _inside(box: np.ndarray) -> list[float]:
    height, width = SIZE_HW
    x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height])
    return [float(min(x0, x1 - 3)), float(min(y0, y1 - 3)), float(x1), float(y1)]


def _color(rng: np.random.Generator, low: int, high: int) -> Color:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _near(rng: np.random.Generator, color: Color, distance: float) -> Color:
    moved = np.clip(np.array(color) + rng.uniform(-distance, distance, 3), 0, 255)
    red, green, blue = (int(value) for value in moved)
    return red, green, blue
