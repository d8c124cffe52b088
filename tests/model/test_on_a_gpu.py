"""Whole sessions on a GPU: the same masks, no waits; and what only a real one can show, compiled code, CUDA graphs."""

from __future__ import annotations

import numpy as np
import pytest

from model.network.compiled import compile_model
from model.network.sam2 import Sam2
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from model.weights.checkpoint import load_model
from pipeline.demo.clips import Clip
from tests.support.clips import iou, moving_clip
from tests.support.gpus import Gpu
from tests.support.sessions import Logits, box, by_object, click, frames_of, mini


@pytest.fixture(scope="module")
def video() -> Clip:
    return moving_clip(num_frames=10, num_objects=2, size_hw=(192, 256))


@pytest.fixture(scope="module")
def truth(video: Clip) -> Logits:
    return by_object(_session(mini(), video).propagate("forward"))


def _session(model: Sam2, video: Clip) -> VideoSession:
    session = VideoSession(model, frames_of(video))
    session.add_prompt(1, 0, box(video, 1, 0))
    session.add_prompt(2, 0, click(video, 2, 0))
    return session


def _check_masks(results: list[FrameResult], truth: Logits, least: float) -> None:
    logits = {key: one.float().cpu() for key, one in by_object(results).items()}
    assert logits.keys() == truth.keys()
    assert np.mean([iou((logits[key] > 0).numpy(), (truth[key] > 0).numpy()) for key in truth]) >= least


@pytest.mark.slow
def test_masks_are_those_of_a_cpu(gpu: Gpu, truth: Logits, video: Clip) -> None:
    _check_masks(list(_session(load_model("mini", device="cuda"), video).propagate("forward")), truth, 0.999)


@pytest.mark.slow
def test_the_host_never_waits_while_objects_are_tracked(gpu: Gpu, truth: Logits, video: Clip) -> None:
    """From pixels on the host to logits on the device, with a memory that fills."""
    model = load_model("mini", device="cuda")
    list(_session(model, video).propagate("forward"))  # computes every constant and loads every kernel
    session = _session(model, video)
    session.condition()
    results: list[FrameResult] = []
    for step in session.walk("forward"):
        with gpu.without_waits():
            results += advance([step])
    _check_masks(results, truth, 0.999)


@pytest.mark.needs_cuda
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
def test_compiled_code_and_cuda_graphs_give_the_same_masks(video: Clip, truth: Logits, mode: str | None) -> None:
    model = compile_model(load_model("mini", device="cuda"), mode=mode)
    _check_masks(list(_session(model, video).propagate("forward")), truth, 0.999)
