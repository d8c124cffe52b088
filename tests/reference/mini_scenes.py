"""Drawn clips with prompts, run through mini by `transformers` and by ours."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from model.network.sam2 import Sam2
from model.weights.checkpoint import load_model
from pipeline.demo.clips import Clip
from tests.reference.bounds import Bounds, bounds
from tests.reference.cases import Box, Click, Direction, GivenMask, Outputs, Seed, normalized
from tests.reference.formats import in_formats
from tests.reference.mini import box_of, click_on, cut_clip, mini_in, square_clip
from tests.reference.ours_runner import ours_outputs
from tests.reference.transformers_runner import TransformersRunner
from tests.support.clips import first_visible
from tests.support.sessions import EncodingOnce


@dataclass(frozen=True)
class Scene:
    """A drawn clip and one prompt for each object, where it is first seen or on `frame`.

    `kinds`, a letter for each object: c click, b box, x box with clicks, m mask.
    """

    clip_name: str
    kinds: str
    direction: Direction = "forward"
    frame: int | None = None
    num_frames: int = 10

    @property
    def clip(self) -> Clip:
        return cut_clip(self.num_frames) if self.clip_name == "cut" else square_clip(self.clip_name, self.num_frames)

    @property
    def seeds(self) -> tuple[Seed, ...]:
        found = []
        for object_id, kind in zip(self.clip.object_ids, self.kinds, strict=True):
            index = first_visible(self.clip, object_id) if self.frame is None else self.frame
            mask = self.clip.mask(object_id, index)
            click, box = click_on(mask), box_of(mask)
            prompt = {
                "c": Click((click,), (1,)),
                "b": Box(box),
                "x": Box(box, (click, (2.0, 3.0)), (1, 0)),
                "m": GivenMask(mask),
            }[kind]
            found.append(Seed(object_id, index, prompt))
        return tuple(found)

    @property
    def seed_frames(self) -> set[tuple[int, int]]:
        return {(seed.object_id, seed.frame_index) for seed in self.seeds}


# With three clicks in the scene "crossing", one pixel of object 3's enlarged logits is 0 but for rounding, and at 0 its
# mask is cut for the memory of the prompted frame.
ON_EDGE = Scene("crossing", "ccc")
SCENES = [
    Scene("drifting", "cb"),
    Scene("turning", "xm"),
    Scene("hiding", "bb"),
    Scene("leaving", "xb"),
    Scene("entering", "bc"),
    Scene("crossing", "mcb", "backward", frame=9),
    ON_EDGE,
    Scene("blanked", "cb"),
    Scene("cut", "cb"),
]


def memory_dtype(dtype: torch.dtype) -> torch.dtype:
    """What memories are kept in: bfloat16, and float64 where nothing is to be rounded."""
    return torch.float64 if dtype == torch.float64 else torch.bfloat16


@functools.cache
def our_mini(dtype: torch.dtype) -> Sam2:
    """It encodes an image once: scenes share frames."""
    network = load_model("mini", dtype=dtype)
    network.memory_dtype = memory_dtype(dtype)
    return EncodingOnce(network)


def ours(scene: Scene, network: Sam2) -> Outputs:
    return ours_outputs(network, scene.clip.frames_THW3, scene.seeds, scene.direction)


@functools.cache
def theirs(scene: Scene, dtype: torch.dtype) -> Outputs:
    """What `transformers` says."""
    pixels_T3SS = normalized(scene.clip.frames_THW3).to(dtype)
    runner = TransformersRunner(mini_in(dtype), pixels_T3SS, _encoded_by_theirs(dtype))
    with in_formats(dtype, memory_dtype(dtype)):
        return runner.propagate(scene.seeds, scene.direction)


@functools.cache
def _encoded_by_theirs(dtype: torch.dtype) -> dict[bytes, dict[str, Any]]:
    """Filled by the runners of one network."""
    return {}


def bounds_of(scene: Scene, dtype: torch.dtype) -> Bounds:
    return bounds(our_mini(dtype).config, scene.num_frames, dtype, memory_dtype(dtype))
