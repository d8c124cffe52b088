"""Drawn clips: patterned shapes that drift, turn, deform, hide one another, leave and return, with their true masks.

The demo labels them and many tests use them, because their true masks are known to the pixel. Positions are fractions
of the frame (0, 0 = upper left corner), so a scene fits any size.

Legend: T frames, B objects, H, W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import BoolArray, FloatArray, UInt8Array

Color = tuple[int, int, int]

PATTERNS = ("plain", "stripes", "spots", "rings", "checks")


@dataclass(frozen=True)
class Bulges:
    """`count` bulges around an outline. `height` is relative to the radius, and swells and shrinks by `pulse` of it."""

    count: int = 0
    height: float = 0.0
    pulse: float = 0.0


NO_BULGES = Bulges()


@dataclass(frozen=True)
class Shape:
    """One object of a scene: an outline around a moving center, filled with a pattern of two colors.

    `radius` is a fraction of the frame's shorter side. The outline is a disc with `bulges`, stretched by `aspect`
    (width over height). The center passes `waypoints_xy` at equal distances in time, the first in the first frame and
    the last in the last one. `turns` are full turns over the clip.
    """

    waypoints_xy: tuple[tuple[float, float], ...]
    radius: float
    colors: tuple[Color, Color]
    pattern: str = "plain"
    bulges: Bulges = NO_BULGES
    aspect: float = 1.0
    turns: float = 0.0

    def __post_init__(self) -> None:
        if not self.waypoints_xy:
            raise ValueError("waypoints_xy: a shape needs at least one, got none")
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern: {self.pattern!r} is none of {', '.join(PATTERNS)}")
        if self.radius <= 0 or self.aspect <= 0:
            raise ValueError(f"radius and aspect must be above 0, got {self.radius} and {self.aspect}")

    def center_at(self, time: float) -> tuple[float, float]:
        """Where the center is at `time` (0 = first frame, 1 = last); it moves straight between waypoints."""
        place = min(max(time, 0.0), 1.0) * (len(self.waypoints_xy) - 1)
        left = min(int(place), max(len(self.waypoints_xy) - 2, 0))
        right = min(left + 1, len(self.waypoints_xy) - 1)
        share = place - left
        (x0, y0), (x1, y1) = self.waypoints_xy[left], self.waypoints_xy[right]
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


@dataclass(frozen=True)
class Scene:
    """What a clip shows. Shapes come from the farthest to the nearest, and the n-th of them is object n, from 1."""

    name: str
    caption: str
    shapes: tuple[Shape, ...]
    background: tuple[Color, Color]
    size_hw: tuple[int, int] = (240, 320)
    num_frames: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Clip:
    """A drawn clip: uint8 RGB frames `[T, H, W, 3]` and the visible part of every object, bool `[T, B, H, W]`."""

    name: str
    frames_THW3: UInt8Array
    masks_TBHW: BoolArray

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The ids of the objects, in the order of the masks."""
        return tuple(range(1, self.masks_TBHW.shape[1] + 1))

    def mask(self, object_id: int, frame_index: int) -> BoolArray:
        """The true mask of one object in one frame, bool `[H, W]`; empty where it is hidden or outside."""
        mask_HW: BoolArray = self.masks_TBHW[frame_index, object_id - 1]
        return mask_HW


def draw(scene: Scene) -> Clip:
    """All frames and masks of a scene. The same scene gives the same pixels."""
    height, width = scene.size_hw
    backdrop_HW3 = _backdrop(scene)
    frames = np.empty((scene.num_frames, height, width, 3), np.uint8)
    masks = np.zeros((scene.num_frames, len(scene.shapes), height, width), np.bool_)
    for frame_index in range(scene.num_frames):
        canvas_HW3 = backdrop_HW3.copy()
        time = frame_index / max(scene.num_frames - 1, 1)
        for number, shape in enumerate(scene.shapes):
            cover_HW, skin_HW3 = _render(shape, time, scene.size_hw)
            canvas_HW3 += cover_HW[..., None] * (skin_HW3 - canvas_HW3)
            solid_HW = cover_HW >= 0.5
            masks[frame_index, :number] &= ~solid_HW
            masks[frame_index, number] = solid_HW
        frames[frame_index] = canvas_HW3.round().clip(0, 255)
    return Clip(scene.name, frames, masks)


def _render(shape: Shape, time: float, size_hw: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """How much of each pixel the shape covers, 0–1 `[H, W]`, and its color there, `[H, W, 3]`."""
    height, width = size_hw
    radius_px = shape.radius * min(size_hw)
    center_x, center_y = shape.center_at(time)
    rows_H1, columns_1W = np.ogrid[0:height, 0:width]
    x = ((columns_1W + 0.5 - center_x * width) / radius_px).astype(np.float32)
    y = ((rows_H1 + 0.5 - center_y * height) / radius_px).astype(np.float32)
    angle = 2 * math.pi * shape.turns * time
    u = (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(shape.aspect)
    v = (math.cos(angle) * y - math.sin(angle) * x) * math.sqrt(shape.aspect)
    distance = np.sqrt(u * u + v * v)
    bulges = shape.bulges
    swell = bulges.height * (1 + bulges.pulse * math.sin(4 * math.pi * time))
    outline = 1 + swell * np.cos(bulges.count * np.arctan2(v, u)) if bulges.count else np.float32(1.0)
    cover_HW = ((outline - distance) * radius_px + 0.5).clip(0, 1).astype(np.float32)
    share_HW1 = _pattern(shape.pattern, u, v)[..., None]
    first, second = np.array(shape.colors, np.float32)
    # Light from the upper left gives the skin some body, as on a ball.
    light_HW1 = (1 - 0.12 * (x + y)).clip(0.7, 1.15)[..., None]
    skin_HW3 = (first + share_HW1 * (second - first)) * light_HW1
    return cover_HW, skin_HW3.astype(np.float32)


def _pattern(name: str, u: FloatArray, v: FloatArray) -> FloatArray:
    """The share of the second color, 0–1, at coordinates that move and turn with the shape (1 = its radius)."""
    if name == "stripes":
        wave = np.sin(7 * u) + 0 * v
    elif name == "spots":
        wave = 2 * np.cos(6 * u) * np.cos(6 * v) - 0.8
    elif name == "rings":
        wave = np.sin(9 * np.sqrt(u * u + v * v))
    elif name == "checks":
        wave = 2 * np.sin(5 * u) * np.sin(5 * v)
    else:
        wave = np.full(np.broadcast_shapes(u.shape, v.shape), -1.0)
    return (0.5 + 3 * wave).clip(0, 1).astype(np.float32)


def _backdrop(scene: Scene) -> FloatArray:
    """A slanted gradient between two colors with soft clouds, `[H, W, 3]`."""
    height, width = scene.size_hw
    rows_H1, columns_1W = np.ogrid[0:height, 0:width]
    share_HW = 0.75 * rows_H1 / height + 0.25 * columns_1W / width
    generator = np.random.default_rng(scene.seed)
    for _ in range(4):
        across, down, phase = generator.uniform(1, 5), generator.uniform(1, 5), generator.uniform(0, 2 * math.pi)
        share_HW += 0.08 * np.sin(across * columns_1W / width * 3 + down * rows_H1 / height * 3 + phase)
    first, second = np.array(scene.background, np.float32)
    return np.asarray(first + share_HW[..., None] * (second - first), np.float32)
