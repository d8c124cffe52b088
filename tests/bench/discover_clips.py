"""Random drawn clips of objects that are there, enter late, leave and return, or cross, and of clips with a cut.

Two sets: in `plain` ones mini follows most objects that it is told of, so that they measure the search for objects. In
`hard` ones objects look like the ground or like each other, are small, and have skins of two far colors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.demo.clips import PATTERNS, Bulges, Clip, Color, Scene, Shape, draw

SIZE_HW = (120, 160)
NUM_FRAMES = 24
KINDS = ("there", "enters", "returns", "crosses", "cut")
_SEEDS = {"plain": 18, "hard": 1800}

Path = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class DrawnClip:
    """A clip, what happens in it (one of `KINDS`), and the frames with which its shots begin, after the first one."""

    clip: Clip
    kind: str
    cuts: tuple[int, ...] = ()


def clips(seeds: range, difficulty: str = "plain") -> Iterator[DrawnClip]:
    """One clip a seed, the kinds in turn. The same seed gives the same pixels."""
    for seed in seeds:
        rng = np.random.default_rng([_SEEDS[difficulty], seed])
        kind = KINDS[seed % len(KINDS)]
        name = f"{difficulty}{seed:04d}"
        if kind == "cut":
            at = int(rng.integers(NUM_FRAMES // 3, NUM_FRAMES - NUM_FRAMES // 3))
            parts = [draw(_scene(name, "there", rng, difficulty, num_frames)) for num_frames in (at, NUM_FRAMES - at)]
            yield DrawnClip(_joined(name, parts), kind, (at,))
        else:
            yield DrawnClip(draw(_scene(name, kind, rng, difficulty, NUM_FRAMES)), kind)


def _scene(name: str, kind: str, rng: np.random.Generator, difficulty: str, num_frames: int) -> Scene:
    ground = _color(rng, 40, 215)
    colors: list[Color] = [ground]
    shapes = []
    for path in _paths(kind, rng):
        is_like = difficulty == "hard" and rng.random() < 0.4
        color = _near(rng, colors[int(rng.integers(len(colors)))], 45) if is_like else _far(rng, colors)
        colors.append(color)
        shapes.append(_shape(rng, difficulty, path, color))
    return Scene(name, "", tuple(shapes), (ground, _near(rng, ground, 25)), SIZE_HW, num_frames, int(rng.integers(1e6)))


def _shape(rng: np.random.Generator, difficulty: str, path: Path, color: Color) -> Shape:
    is_hard = difficulty == "hard"
    second = _near(rng, color, 110 if is_hard else 25)
    return Shape(
        path,
        float(rng.uniform(0.07, 0.16) if is_hard else rng.uniform(0.13, 0.21)),
        (color, second),
        PATTERNS[int(rng.integers(len(PATTERNS)))],
        Bulges(int(rng.integers(3, 7)), float(rng.uniform(0, 0.2)), float(rng.random())),
        float(rng.uniform(0.8, 1.3)),
        float(rng.uniform(-0.5, 0.5)),
    )


def _paths(kind: str, rng: np.random.Generator) -> Iterator[Path]:
    """Ways of the objects, farthest first: those that stay have cells of their own, others come through the middle."""
    cells = [(x, y) for x in (0.2, 0.5, 0.8) for y in (0.25, 0.75)]
    for index in rng.permutation(len(cells))[: int(rng.integers(1, 4)) + (kind == "there")]:
        yield tuple(_around(rng, cells[index], 0.06) for _ in range(3))
    if kind == "enters":
        late, inside = int(rng.integers(2, 5)), _around(rng, (0.5, 0.5), 0.2)
        outside = _outside(rng, inside)
        # Of eight equal stretches of time the first ones are spent outside.
        yield (outside,) * late + (inside,) + tuple(_around(rng, inside, 0.08) for _ in range(8 - late))
    if kind == "returns":
        inside, back = _around(rng, (0.5, 0.5), 0.2), _around(rng, (0.5, 0.5), 0.2)
        outside = _outside(rng, inside)
        yield (inside, _around(rng, inside, 0.05), outside, outside, outside, back, _around(rng, back, 0.05))
    if kind == "crosses":
        height, turn = float(rng.uniform(0.4, 0.6)), 1 if rng.random() < 0.5 else -1
        yield ((0.15, height), (0.85, height + 0.1))[::turn]
        yield ((0.85, height + 0.05), (0.15, height))[::turn]


def _joined(name: str, parts: list[Clip]) -> Clip:
    """Clips one after the other with a cut between them; every object shows in its own part alone."""
    masks = np.zeros((NUM_FRAMES, sum(part.masks_TBHW.shape[1] for part in parts), *SIZE_HW), np.bool_)
    frame = first = 0
    for part in parts:
        num_frames, num_objects = part.masks_TBHW.shape[:2]
        masks[frame : frame + num_frames, first : first + num_objects] = part.masks_TBHW
        frame, first = frame + num_frames, first + num_objects
    return Clip(name, np.concatenate([part.frames_THW3 for part in parts]), masks)


def _around(rng: np.random.Generator, place: tuple[float, float], reach: float) -> tuple[float, float]:
    x, y = np.array(place) + rng.uniform(-reach, reach, 2)
    return float(x), float(y)


def _outside(rng: np.random.Generator, inside: tuple[float, float]) -> tuple[float, float]:
    x, y = inside
    return [(-0.3, y), (1.3, y), (x, -0.4), (x, 1.4)][int(rng.integers(4))]


def _color(rng: np.random.Generator, low: int, high: int) -> Color:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _far(rng: np.random.Generator, others: list[Color], distance: float = 90) -> Color:
    """A color that is told from all the others."""
    while True:
        color = _color(rng, 20, 240)
        if all(float(np.linalg.norm(np.subtract(color, other))) >= distance for other in others):
            return color


def _near(rng: np.random.Generator, color: Color, distance: float) -> Color:
    moved = np.clip(np.array(color) + rng.uniform(-distance, distance, 3), 0, 255)
    red, green, blue = (int(value) for value in moved)
    return red, green, blue
