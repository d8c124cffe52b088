"""The three implementations with the same random weights over the same frames: their answers, computed once."""

from __future__ import annotations

import atexit
import functools
from dataclasses import dataclass
from typing import Any

from model.network.kernels import as_on
from model.network.sam2 import Sam2
from model.weights.checkpoint import Checkpoint
from tests.reference.cases import Case, FloatArray, FramesSpec, Outputs, drawn_frames, normalized
from tests.reference.gaps import Gaps, gaps, widest
from tests.reference.ours_runner import ours_features, ours_outputs
from tests.reference.rounding import OtherOrder
from tests.reference.sam2_runner import Sam2Process
from tests.reference.transformers_runner import TransformersRunner, random_hf_weights, random_network
from tests.reference.variants import ModelSpec


@dataclass(frozen=True)
class Trio:
    """One case run three times."""

    ours: Outputs
    sam2: Outputs
    transformers: Outputs


@dataclass(frozen=True)
class FeatureTrio:
    """Image features `[T, C, H, W]` of strides 4, 8 and 16, as the mask decoders get them.

    `other_order` is `transformers` with its sums in another order.
    """

    ours: list[FloatArray]
    sam2: list[FloatArray]
    transformers: list[FloatArray]
    other_order: list[FloatArray]


@functools.cache
def sam2_process() -> Sam2Process:
    """The process that runs `sam2`; one for all tests."""
    process = Sam2Process()
    atexit.register(process.close)
    return process


@functools.cache
def run_case(case: Case) -> Trio:
    """The answers of all three. `transformers` is corrected for its treatment of mask prompts (row 6)."""
    frames = drawn_frames(case.frames)
    sam2 = sam2_process().propagate(case)  # at the same time as the other two
    with case.memory_dtype():
        ours = ours_outputs(ours_random(case.model), frames, case.seeds, case.direction)
        transformers = transformers_runner(case.model, case.frames).propagate(case.seeds, case.direction)
    return Trio(ours, sam2.result(), transformers)


@functools.cache
def other_orders(case: Case, count: int) -> tuple[Outputs, ...]:
    """What `transformers` says when its sums are added up in other orders; images are encoded in the first of them."""
    runner = _runner_in_other_order(case.model, case.frames)
    runs = []
    for seed in range(1, count + 1):
        with case.memory_dtype(), OtherOrder(seed):
            runs.append(runner.propagate(case.seeds, case.direction))
    return tuple(runs)


def own_gaps(case: Case, count: int = 2) -> Gaps:
    """How far rounding takes `transformers` from itself: the largest gaps of so many other orders."""
    expected = run_case(case).transformers
    return widest(*(gaps(run, expected, case.seed_frames) for run in other_orders(case, count)))


def ours_with_products_of_the_references(case: Case) -> Outputs:
    """Ours without the fast kernels: the linear layers and attention of torch, which both references call, too."""
    with case.memory_dtype(), as_on("no fast kernels"):
        return ours_outputs(ours_random(case.model), drawn_frames(case.frames), case.seeds, case.direction)


@functools.cache
def run_features(model: ModelSpec, frames: FramesSpec) -> FeatureTrio:
    """The image features of all three."""
    sam2 = sam2_process().image_features(model, frames)
    ours = ours_features(ours_random(model), drawn_frames(frames))
    transformers = transformers_runner(model, frames).image_features()
    with OtherOrder(1):
        other = _runner_in_other_order(model, frames).image_features()
    return FeatureTrio(ours, sam2.result(), transformers, other)


@functools.lru_cache(maxsize=1)
def ours_random(model: ModelSpec) -> Sam2:
    """Our network with the random weights, through the loader that reads checkpoints."""
    return Checkpoint("random weights", model.hf_config(), random_hf_weights(model, _shapes(model))).model()


def transformers_runner(model: ModelSpec, frames: FramesSpec) -> TransformersRunner:
    """The runner of `transformers` with the random weights; the network and the features of images are kept."""
    return _runner(model, frames, _encoded_images(model, frames.images))


def _runner_in_other_order(model: ModelSpec, frames: FramesSpec) -> TransformersRunner:
    """Another runner of the same network, for use within `OtherOrder`."""
    return _runner(model, frames, _images_encoded_in_other_order(model, frames.images))


def _runner(model: ModelSpec, frames: FramesSpec, encoded: dict[int, dict[str, Any]]) -> TransformersRunner:
    network = random_network(model, _shapes(model))
    return TransformersRunner(network, normalized(drawn_frames(frames)), frames.image_of, encoded)


@functools.lru_cache(maxsize=1)
def _encoded_images(model: ModelSpec, images: FramesSpec) -> dict[int, dict[str, Any]]:
    """Filled by the runner."""
    return {}


@functools.lru_cache(maxsize=1)
def _images_encoded_in_other_order(model: ModelSpec, images: FramesSpec) -> dict[int, dict[str, Any]]:
    """Filled by the runner."""
    return {}


@functools.cache
def _shapes(model: ModelSpec) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(sam2_process().state_dict_shapes(model).items())
