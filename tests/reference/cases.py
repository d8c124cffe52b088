"""What is run through the references and through ours: frames, prompts, direction; and what comes back."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from tests.reference.bounds import Bounds, bounds
from tests.reference.formats import in_formats
from tests.reference.variants import ModelSpec

FloatArray = npt.NDArray[np.floating]
Direction = Literal["forward", "backward"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Click:
    """Clicks in pixels of the square video, label 1 on the object, 0 beside it."""

    points_xy: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A box, with clicks or without."""

    box_xyxy: tuple[float, float, float, float]
    points_xy: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class DiscMask:
    """A mask prompt: a disc."""

    center_xy: tuple[float, float]
    radius: float

    def mask(self, image_size: int) -> npt.NDArray[np.bool_]:
        """The mask of a square frame, `[S, S]`."""
        y, x = np.mgrid[0:image_size, 0:image_size]
        return np.hypot(x - self.center_xy[0], y - self.center_xy[1]) <= self.radius


@dataclass(frozen=True, eq=False)
class GivenMask:
    """A mask prompt: any mask of the frame's size."""

    mask_HW: npt.NDArray[np.bool_]

    def mask(self, image_size: int) -> npt.NDArray[np.bool_]:
        """The mask, which must be `[S, S]`."""
        assert self.mask_HW.shape == (image_size, image_size)
        return self.mask_HW


Prompt = Click | Box | DiscMask | GivenMask


@dataclass(frozen=True)
class Seed:
    """A prompt given before propagation. `object_id` and `frame_index` count from 0."""

    object_id: int
    frame_index: int
    prompt: Prompt


@dataclass(frozen=True)
class FramesSpec:
    """Frames that a formula draws: the same in each process.

    Only `num_images` of them differ: the clip plays them forth and back, so that a reference encodes each only once.
    """

    num_frames: int
    image_size: int
    num_images: int = 9

    @property
    def images(self) -> FramesSpec:
        """A clip of the different images, each once: what clips of other lengths share."""
        return FramesSpec(min(self.num_images, self.num_frames), self.image_size, self.num_images)

    def image_of(self, frame_index: int) -> int:
        """Which of the different images a frame shows."""
        last = self.num_images - 1
        return last - abs(last - frame_index % (2 * last)) if last else 0


@dataclass(frozen=True)
class Case:
    """One propagation of one or more objects.

    All implementations compute in `dtype` and keep spatial memories in `memory_dtype`. Released models keep them in
    bfloat16, and where two implementations differ by 1e-7 some of the 16,384 elements are rounded to the other
    neighbour.
    """

    model: ModelSpec
    frames: FramesSpec
    seeds: tuple[Seed, ...]
    direction: Direction = "forward"
    dtype: torch.dtype = torch.float32
    memory_dtype: torch.dtype = torch.bfloat16

    @property
    def seed_frames(self) -> set[tuple[int, int]]:
        """Object ids and frame indexes that have a prompt."""
        return {(seed.object_id, seed.frame_index) for seed in self.seeds}

    @property
    def exact(self) -> Case:
        """The same in float64, where memories are not rounded: whatever computes the same function gives the same."""
        return replace(self, dtype=torch.float64, memory_dtype=torch.float64)

    @property
    def bounds(self) -> Bounds:
        """How far any two runs of it may be apart."""
        return bounds(self.model.config, self.frames.num_frames, self.dtype, self.memory_dtype)

    def formats(self) -> AbstractContextManager[object]:
        """While it is open, the references compute and keep memories as the case says."""
        return in_formats(self.dtype, self.memory_dtype)


@dataclass(frozen=True)
class FrameOutput:
    """What a model says about one object on one frame, and how its mask was chosen among the candidates.

    `logits_HW` are low resolution (a quarter of the input). `num_candidates` is 3 when the best of three was taken, 1
    when a single mask was asked for. `best_candidate` is the index taken of the three and `margin` by how much its
    predicted IoU led; `stability` is that of the single mask, below 0.98 it was replaced by the best of three. A
    runner that cannot see the choice leaves these four at their defaults.
    """

    logits_HW: FloatArray
    object_score: float
    predicted_iou: float
    num_candidates: int = 0
    best_candidate: int = -1
    margin: float = math.nan
    stability: float = math.nan

    @property
    def coverage(self) -> float:
        """Share of the frame that the mask covers."""
        return float((self.logits_HW > 0).mean())


Outputs = dict[tuple[int, int], FrameOutput]
"""By object id and frame index."""


@functools.lru_cache(maxsize=8)
def drawn_frames(spec: FramesSpec) -> npt.NDArray[np.uint8]:
    """Frames `[T, S, S, 3]`, uint8 RGB: a drifting texture with two textured shapes that move and cross.

    In every eighth image, from the fourth on, colours are inverted, so that something changes abruptly.
    """
    images = [_drawn_image(number, spec.image_size) for number in range(min(spec.num_images, spec.num_frames))]
    return np.stack([images[spec.image_of(frame)] for frame in range(spec.num_frames)])


def _drawn_image(number: int, size: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [(rng.uniform(2, 40, 2), rng.uniform(0, 2 * math.pi, 3), rng.uniform(-0.4, 0.4)) for _ in range(8)]
    colors = rng.uniform(-1, 1, (3, 3))
    image = sum(np.sin(k[0] * x + k[1] * y + drift * number + phase[:, None, None]) for k, phase, drift in waves) / 3
    disc = np.hypot(x - 0.3 - 0.015 * number, y - 0.4) < 0.18
    bar = (np.abs(x - 0.7 + 0.01 * number) < 0.12) & (np.abs(y - 0.55 - 0.005 * number) < 0.22)
    image = np.where(disc, 0.3 * np.sin(60 * (x + y) - number) + colors[0, :, None, None], image)
    image = np.where(bar, 0.3 * np.sin(45 * (x - y)) + colors[1, :, None, None], image)
    if number % 8 == 3:
        image = -image
    return np.clip(127.5 + 90 * image.transpose(1, 2, 0), 0, 255).astype(np.uint8)


def normalized(frames_THW3: npt.NDArray[np.uint8]) -> torch.Tensor:
    """The tensor `[T, 3, S, S]` that every model is fed: `(pixel / 255 - mean) / std`, in float32 in every format."""
    pixels = frames_THW3.astype(np.float32) / np.float32(255)
    return torch.from_numpy((pixels - np.float32(_MEAN)) / np.float32(_STD)).permute(0, 3, 1, 2).contiguous()


def seeds_of(seeds: Iterable[Seed], object_id: int) -> list[Seed]:
    """The prompts of one object in the order of their frames."""
    return sorted((seed for seed in seeds if seed.object_id == object_id), key=lambda seed: seed.frame_index)


def object_ids(seeds: Iterable[Seed]) -> list[int]:
    return sorted({seed.object_id for seed in seeds})


def start_frame(seeds: Iterable[Seed], direction: Direction) -> int:
    """Where the walk of one object starts: at its first prompt forward, at its last one backward."""
    indexes = [seed.frame_index for seed in seeds]
    return min(indexes) if direction == "forward" else max(indexes)


def points_of(prompt: Click | Box) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """A prompt as both references take it: points `[P, 2]` and labels `[P]`; a box is two points labelled 2 and 3."""
    corners: list[tuple[float, float]] = []
    if isinstance(prompt, Box):
        x0, y0, x1, y1 = prompt.box_xyxy
        corners = [(x0, y0), (x1, y1)]
    labels = [2, 3][: len(corners)] + list(prompt.labels)
    return np.array([*corners, *prompt.points_xy], np.float32), np.array(labels, np.int32)
