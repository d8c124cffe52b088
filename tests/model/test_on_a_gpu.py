"""Whole sessions on a GPU: the same masks, no waits; and what only a real one can show, compiled code, CUDA graphs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from model.hf.model import Sam2VideoModel
from model.network.compiled import CompiledRegions, CudaGraphs, compile_model, warm_up
from model.network.sam2 import Sam2
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from model.weights.checkpoint import load_model
from pipeline.demo.clips import Clip
from tests.support.clips import iou, moving_clip
from tests.support.gpus import Gpu
from tests.support.sessions import (
    Logits,
    box,
    by_object,
    center,
    click,
    clip,
    frames_of,
    mini,
    small,
    small_model,
    small_processor,
)


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
def test_masks_are_those_of_a_cpu_and_the_host_never_waits_while_objects_are_tracked(
    gpu: Gpu, truth: Logits, video: Clip
) -> None:
    """From pixels on the host to logits on the device, with a memory that fills."""
    model = load_model("mini", device="cuda")
    # The first walk may wait: it computes every constant and loads every kernel.
    _check_masks(list(_session(model, video).propagate("forward")), truth, 0.999)
    session = _session(model, video)
    session.condition()
    results: list[FrameResult] = []
    for step in session.walk("forward"):
        with gpu.without_waits():
            results += advance([step])
    _check_masks(results, truth, 0.999)


@pytest.mark.slow
def test_the_documented_calls_never_wait_while_objects_are_tracked(gpu: Gpu) -> None:
    """Frames and states on the GPU or on the host, videos and streams; the masks are the same, also after a click."""
    model = Sam2VideoModel(small_model().config, copy.deepcopy(small()).to("cuda"))
    video = clip(5, 1)
    found: dict[str, list[Tensor]] = {}
    for state, storage in (("cuda", "cuda"), ("cpu", "cpu")):
        found[state] = [*_labeled_video(gpu, model, video, state, storage), *_labeled_stream(gpu, model, video, state)]
    assert [torch.equal(one, other) for one, other in zip(*found.values(), strict=True)] == [True] * (5 + 1 + 2 + 5)


def _labeled_video(gpu: Gpu, model: Sam2VideoModel, video: Clip, state: str, storage: str) -> Iterator[Tensor]:
    """Logits of all frames, the session as it is saved then, and the logits after a click on a tracked frame.

    The first three frames may wait: they load kernels, and compute what is computed once.
    """
    processor = small_processor()
    session = processor.init_video_session(
        video=video.frames_THW3,
        inference_device="cuda",
        inference_state_device=state,
        video_storage_device=storage,
    )
    boxes = [[list(box(video, 1, 0).box_xyxy)]]
    processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=1, input_boxes=boxes)
    for is_corrected in (False, True):
        if is_corrected:
            yield torch.frombuffer(bytearray(session.tracker(model.network).to_bytes()), dtype=torch.uint8)
            points = [[[list(center(video, 1, 3))]]]
            processor.add_inputs_to_inference_session(
                session, frame_idx=3, obj_ids=1, input_points=points, input_labels=[[[1]]]
            )
        start = 3 if is_corrected else 0
        walk = model.propagate_in_video_iterator(session, start_frame_idx=start or None)
        for frame_index in range(start, len(video.frames_THW3)):
            may_wait = frame_index < 3 or is_corrected
            with contextlib.nullcontext() if may_wait else gpu.without_waits():
                output = next(walk)
                sizes = [list(video.frames_THW3.shape[1:3])]
                processor.post_process_masks([output.pred_masks], original_sizes=sizes, binarize=False)
            yield output.pred_masks.cpu()


def _labeled_stream(gpu: Gpu, model: Sam2VideoModel, video: Clip, state: str) -> Iterator[Tensor]:
    processor = small_processor()
    session = processor.init_video_session(inference_device="cuda", inference_state_device=state)
    for frame_index, pixels in enumerate(video.frames_THW3):
        with contextlib.nullcontext() if frame_index < 3 else gpu.without_waits():
            inputs = processor(images=pixels, device="cuda")
        given = inputs.pixel_values[0].to(state)
        with contextlib.nullcontext() if frame_index < 3 else gpu.without_waits():
            if frame_index == 0:
                processor.add_inputs_to_inference_session(
                    session,
                    frame_idx=0,
                    obj_ids=1,
                    input_boxes=[[list(box(video, 1, 0).box_xyxy)]],
                    original_size=inputs.original_sizes[0],
                )
            output = model(inference_session=session, frame=given)
        yield output.pred_masks.cpu()


@pytest.mark.needs_cuda
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["compiled", "recorded", "both"])
def test_compiled_code_and_cuda_graphs_give_the_same_masks(video: Clip, truth: Logits, kind: str) -> None:
    backend, capture = None if kind == "recorded" else "inductor", None if kind == "compiled" else CudaGraphs()
    model = compile_model(load_model("mini", device="cuda"), backend=backend, capture=capture)
    warm_up(model, 600, max_objects=2)
    for _ in range(2):
        _check_masks(list(_session(model, video).propagate("forward")), truth, 0.999)
    assert isinstance(model.regions, CompiledRegions)
    assert not model.regions.counts.plain + model.regions.counts.remade
