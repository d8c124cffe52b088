"""What a user may say about one object on one frame: points, a box with or without points, or a mask.

Coordinates are pixels of the video as displayed, x to the right and y down. A prompt is checked twice: by itself when
it is made, and against the size of the video when it is given to a session (`fit`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

_where: ContextVar[str] = ContextVar("where", default="")

Point = tuple[float, float]
BoolArray = npt.NDArray[np.bool_]

# A box that sticks out of the frame by up to this share of its width and height is clamped, because detectors round
# and extrapolate. A box that sticks out farther is refused.
BOX_OVERHANG = 0.25


@dataclass(frozen=True)
class PointPrompt:
    """Clicks: `points_xy` in pixels, `labels` 1 (on the object) or 0 (not on it), one for each point."""

    points_xy: tuple[Point, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.points_xy:
            raise ValueError("points: a point prompt needs at least one point, got none")
        _check_points(self.points_xy, self.labels)

    def fit(self, size_hw: tuple[int, int]) -> PointPrompt:
        """This prompt, checked against a video of that size. Raises `ValueError` for a point outside of the frame."""
        _check_inside(self.points_xy, size_hw)
        return self


@dataclass(frozen=True)
class BoxPrompt:
    """A box `(x0, y0, x1, y1)` in pixels, with further clicks if there are any."""

    box_xyxy: tuple[float, float, float, float]
    points_xy: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not _is_finite(self.box_xyxy, 4):
            raise ValueError(f"box: expected four finite numbers x0, y0, x1, y1, got {self.box_xyxy}")
        x0, y0, x1, y1 = self.box_xyxy
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"box: expected x0 < x1 and y0 < y1, got {self.box_xyxy}")
        _check_points(self.points_xy, self.labels)

    def fit(self, size_hw: tuple[int, int]) -> BoxPrompt:
        """This prompt for a video of that size; a box a little outside of the frame is clamped with a warning.

        Raises as `clamped`.
        """
        found = self.clamped(size_hw)
        if found is not self:
            height, width = size_hw
            log.warning(
                "%sbox %s sticks out of the frame (%d wide, %d high) and is clamped",
                _where.get(),
                self.box_xyxy,
                width,
                height,
            )
        return found

    def clamped(self, size_hw: tuple[int, int]) -> BoxPrompt:
        """The same without a warning, for whoever gives one of his own.

        Raises `ValueError` for a box that sticks out by more than a quarter of its width or height, and for a point
        outside of the frame.
        """
        _check_inside(self.points_xy, size_hw)
        height, width = size_hw
        x0, y0, x1, y1 = self.box_xyxy
        clamped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if clamped == self.box_xyxy:
            return self
        overhang_x = 1 - (clamped[2] - clamped[0]) / (x1 - x0)
        overhang_y = 1 - (clamped[3] - clamped[1]) / (y1 - y0)
        if max(overhang_x, overhang_y) >= 1:
            raise ValueError(f"box: {self.box_xyxy} lies outside of the frame ({width} wide, {height} high)")
        share, side = max((overhang_x, "width"), (overhang_y, "height"))
        if share > BOX_OVERHANG:
            raise ValueError(
                f"box: {self.box_xyxy} sticks out of the frame ({width} wide, {height} high) by {share:.0%} of its "
                f"{side}; up to {BOX_OVERHANG:.0%} is cut off"
            )
        return replace(self, box_xyxy=clamped)


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """A mask, bool `[H, W]` at the size of the video. It is taken as the truth of its frame."""

    mask_HW: BoolArray

    def __post_init__(self) -> None:
        if self.mask_HW.ndim != 2 or self.mask_HW.dtype != np.bool_:
            raise ValueError(
                f"mask: expected a bool array [H, W], got {self.mask_HW.dtype} of shape {list(self.mask_HW.shape)}"
            )
        if not self.mask_HW.any():
            raise ValueError("mask: is empty, it needs at least one pixel of the object")

    def fit(self, size_hw: tuple[int, int]) -> MaskPrompt:
        """This prompt, checked against a video of that size. Raises `ValueError` for a mask of another size."""
        if self.mask_HW.shape != size_hw:
            raise ValueError(f"mask: is {list(self.mask_HW.shape)} (height, width), the video {list(size_hw)}")
        return self


@dataclass(frozen=True)
class HiddenPrompt(MaskPrompt):
    """The object is not visible on this frame: a mask without pixels, `[H, W]`, which SAM 2 takes as any other.

    The object score of the frame says that there is no object, and so does its memory.
    """

    def __post_init__(self) -> None:
        if self.mask_HW.ndim != 2 or self.mask_HW.any():
            raise ValueError(f"hidden: expected a mask [H, W] without pixels, got {int(self.mask_HW.sum())} pixels")

    @classmethod
    def of(cls, size_hw: tuple[int, int]) -> HiddenPrompt:
        """For a video of that size."""
        return cls(np.zeros(size_hw, dtype=np.bool_))


ClickPrompt = PointPrompt | BoxPrompt
Prompt = ClickPrompt | MaskPrompt


def click_sequence(prompt: ClickPrompt) -> tuple[list[Point], list[int]]:
    """The points and labels that the network sees: a box is two corners labeled 2 and 3, before the clicks."""
    points: list[Point] = []
    labels: list[int] = []
    if isinstance(prompt, BoxPrompt):
        x0, y0, x1, y1 = prompt.box_xyxy
        points, labels = [(x0, y0), (x1, y1)], [2, 3]
    return points + list(prompt.points_xy), labels + list(prompt.labels)


@contextmanager
def errors_naming(where: str) -> Iterator[None]:
    """Puts the object and frame that an error or a warning is about before its message."""
    token = _where.set(f"{where}: ")
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    finally:
        _where.reset(token)


def _check_points(points_xy: Sequence[Point], labels: Sequence[int]) -> None:
    if len(points_xy) != len(labels):
        raise ValueError(f"points: {len(points_xy)} points need as many labels, got {len(labels)}")
    for point in points_xy:
        if not _is_finite(point, 2):
            raise ValueError(f"points: expected finite x and y, got {point}")
    for label in labels:
        if label not in (0, 1):
            raise ValueError(f"labels: expected 1 (on the object) or 0 (not on it), got {label}")


def _is_finite(values: Sequence[float], count: int) -> bool:
    return len(values) == count and all(math.isfinite(value) for value in values)


def _check_inside(points_xy: Sequence[Point], size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    for x, y in points_xy:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"points: ({x:g}, {y:g}) lies outside of the frame ({width} wide, {height} high)")
