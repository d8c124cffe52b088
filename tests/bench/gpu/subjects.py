"""What the parts of the check measure on: one network with random weights, drawn frames, sessions with full memory.

Legend: S side of the model's square input.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from model.network.sam2 import Sam2
from model.prompts import PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.tracking.steps import advance
from model.weights.checkpoint import StoredWeights, load_model
from model.weights.pt_names import rename_pt
from tests.bench.frames import FULL
from tests.bench.full_memory import fill_memory
from tests.bench.runners import pt_shapes
from tests.reference.cases import FramesSpec, drawn_frames
from tests.reference.variants import ModelSpec, Size
from tests.reference.weights import random_pt_weights

_NUM_IMAGES = 8
SIDE_OF_MINI = 256
_QUICK_SIDE = 128


@dataclass(frozen=True)
class Options:
    """How the check runs. `quick` takes mini and few frames: whether the check works, not how fast anything is."""

    device: str
    quick: bool
    folder: Path
    with_vos: bool = False

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def image_size(self) -> int:
        """Side of the model's input."""
        return _QUICK_SIDE if self.quick else 1024

    def frames(self, usual: int) -> int:
        """How many frames to measure or to warm up with, where `usual` are worth measuring."""
        return min(usual, 2) if self.quick else usual

    @property
    def encode_ahead(self) -> int:
        """Frames in a batch of the image encoder: those of a worker on a GPU."""
        return self.frames(8)

    @property
    def rounds(self) -> int:
        """How often a single operation is timed."""
        return 1 if self.quick else 10

    @property
    def sizes(self) -> tuple[str, ...]:
        """The networks that are measured."""
        return ("mini",) if self.quick else ("tiny", "large")

    @property
    def half(self) -> torch.dtype:
        """The dtype of jobs. Many CPUs only emulate bfloat16."""
        return torch.bfloat16 if self.is_gpu else torch.float32

    def synchronize(self) -> None:
        """Wait until the device has done everything."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def network(self, size: str, dtype: torch.dtype | None = None, *, image_size: int | None = None) -> Sam2:
        """A network of `sizes` on the device; by default in `half` and for `image_size`."""
        side = image_size or self.image_size
        network = _mini(side) if size == "mini" else random_weights(size, side).model()
        return network.to(self.device, dtype or self.half)


def _mini(image_size: int) -> Sam2:
    trained = load_model("mini")
    network = Sam2(replace(trained.config, image_size=image_size)).eval()
    network.load_state_dict(trained.state_dict())
    return network


def spec(size: str, image_size: int) -> ModelSpec:
    """A released network; its random weights leave most objects visible."""
    return ModelSpec(cast(Size, size), "2.1", image_size, seed=2, object_score_bias=2.0)


@functools.cache
def random_weights(size: str, image_size: int) -> StoredWeights:
    """Random weights under which every part of the network has a say, on the CPU in float32."""
    model = spec(size, image_size)
    tensors = random_pt_weights(pt_shapes(model), model.seed, model.object_score_bias)
    return StoredWeights("random weights", model.hf_config(), rename_pt(tensors))


def frames(num_frames: int, image_size: int, *, pinned: bool) -> list[Tensor]:
    """Drawn frames uint8 `[S, S, 3]` on the host, as a worker's helper threads leave them: in pinned memory or not.

    Eight different ones, forth and back.
    """
    clip = FramesSpec(num_frames, image_size, _NUM_IMAGES)
    images = [torch.from_numpy(image) for image in drawn_frames(clip.images)]
    images = [image.pin_memory() for image in images] if pinned else images
    return [images[clip.image_of(index)] for index in range(num_frames)]


def new_session(network: Sam2, pixels: list[Tensor], num_objects: int, encode_ahead: int) -> VideoSession:
    """A session with one click for each object on frame 0, on a grid of eight columns."""
    size = network.config.image_size
    session = VideoSession(network, ArrayFrames(pixels, size_hw=(size, size)), encode_ahead=encode_ahead)
    for number in range(num_objects):
        column, row = number % 8, number // 8
        session.add_prompt(number, 0, PointPrompt(((size * (0.1 + 0.1 * column), size * (0.1 + 0.1 * row)),), (1,)))
    return session


def filled_session(network: Sam2, pixels: list[Tensor], num_objects: int, encode_ahead: int) -> VideoSession:
    """A session of which frames 0 and 1 are tracked and whose memory is full; go on with `walk(…, resume=True)`."""
    session = new_session(network, pixels, num_objects, encode_ahead)
    walk = session.walk("forward")
    for _ in range(2):
        advance([next(walk)])
    fill_memory(session, FULL)
    return session
