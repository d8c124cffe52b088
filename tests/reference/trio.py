"""The three implementations with the same random weights over the same frames: their answers, computed once."""

from __future__ import annotations

import atexit
import functools
from dataclasses import dataclass
from typing import Any

import torch

from model.network.sam2 import Sam2
from model.weights.checkpoint import StoredWeights
from tests.reference.cases import Case, FloatArray, FramesSpec, Outputs, drawn_frames, normalized
from tests.reference.formats import in_formats
from tests.reference.ours_runner import ours_features, ours_outputs
from tests.reference.sam2_runner import Sam2Process
from tests.reference.transformers_runner import TransformersRunner, random_hf_weights, random_network
from tests.reference.variants import ModelSpec
from tests.support.sessions import EncodingOnce


@dataclass(frozen=True)
class Trio:
    """One case run three times."""

    ours: Outputs
    sam2: Outputs
    transformers: Outputs


@dataclass(frozen=True)
class FeatureTrio:
    """Image features `[T, C, H, W]` of strides 4, 8 and 16, as the mask decoders get them."""

    ours: list[FloatArray]
    sam2: list[FloatArray]
    transformers: list[FloatArray]


@functools.cache
def sam2_process() -> Sam2Process:
    """The process that runs `sam2`; one for all tests."""
    process = Sam2Process()
    atexit.register(process.close)
    return process


@functools.cache
def run_case(case: Case) -> Trio:
    """The answers of all three. `transformers` is corrected for its treatment of mask prompts (row 6)."""
    sam2 = sam2_process().propagate(case)  # at the same time as the other two
    ours = run_ours(case, ours_random(case.model, case.dtype))
    runner = transformers_runner(case.model, case.frames, case.dtype)
    with case.formats():
        transformers = runner.propagate(case.seeds, case.direction)
    return Trio(ours, sam2.result(), transformers)


def run_ours(case: Case, network: Sam2) -> Outputs:
    """What a network of ours says, of the dtype of the case; its memories are kept as the case says."""
    network.memory_dtype = case.memory_dtype
    return ours_outputs(network, drawn_frames(case.frames), case.seeds, case.direction)


@functools.cache
def run_features(model: ModelSpec, frames: FramesSpec, dtype: torch.dtype) -> FeatureTrio:
    """The image features of all three."""
    sam2 = sam2_process().image_features(model, frames, dtype)
    ours = ours_features(ours_random(model, dtype), drawn_frames(frames))
    runner = transformers_runner(model, frames, dtype)
    with in_formats(dtype, torch.bfloat16):
        transformers = runner.image_features()
    return FeatureTrio(ours, sam2.result(), transformers)


@functools.lru_cache(maxsize=1)
def ours_random(model: ModelSpec, dtype: torch.dtype) -> Sam2:
    """Our network with the random weights, through the loader that reads files of weights; it encodes an image once."""
    stored = StoredWeights("random weights", model.hf_config(), random_hf_weights(model, shapes_of(model)))
    return EncodingOnce(stored.model().to(dtype))


def transformers_runner(model: ModelSpec, frames: FramesSpec, dtype: torch.dtype) -> TransformersRunner:
    """The runner of `transformers` with the random weights; the network and the features of images are kept."""
    network = random_network(model, shapes_of(model), dtype)
    return TransformersRunner(network, normalized(drawn_frames(frames)).to(dtype), _encoded_images(model, dtype))


@functools.lru_cache(maxsize=1)
def _encoded_images(model: ModelSpec, dtype: torch.dtype) -> dict[bytes, dict[str, Any]]:
    """Filled by the runners of one network."""
    return {}


@functools.cache
def shapes_of(model: ModelSpec) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes of the original checkpoint."""
    return tuple(sam2_process().state_dict_shapes(model).items())
