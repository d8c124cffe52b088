"""Walks that encode several frames at a time give the masks of walks that do not, and repeat their batches."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Sequence
from itertools import islice

import pytest
import torch
from torch import Tensor

from model.network.features import ImageFeatures
from model.network.sam2 import Sam2
from model.pixels.orientation import UInt8Array
from model.pixels.transforms import normalize
from model.prompts import PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.weights.checkpoint import load_model
from tests.support.clips import moving_clip
from tests.support.sessions import EncodingOnce, WatchedSam2, small

NUM_FRAMES = 11
AHEAD = 4


@pytest.fixture(scope="module")
def network() -> Sam2:
    return EncodingOnce(load_model("mini"))  # a batch of other frames is another batch


@functools.cache
def clip_pixels() -> UInt8Array:
    return moving_clip(num_frames=NUM_FRAMES, num_objects=2, size_hw=(64, 64)).frames_THW3


def session(network: Sam2, encode_ahead: int) -> VideoSession:
    made = VideoSession(network, ArrayFrames(clip_pixels()), encode_ahead=encode_ahead)
    made.add_prompt(1, 2, PointPrompt(((20.0, 20.0),), (1,)))
    made.add_prompt(2, 5, PointPrompt(((40.0, 40.0),), (1,)))
    return made


@functools.cache
def whole_walk(network: Sam2, direction: str) -> list[FrameResult]:
    return list(session(network, AHEAD).propagate(direction))


def same_masks(ahead: Sequence[FrameResult], plain: Sequence[FrameResult]) -> bool:
    return [r.frame_index for r in ahead] == [r.frame_index for r in plain] and all(
        a.object_ids == b.object_ids and torch.allclose(a.logits_BHW, b.logits_BHW, atol=1e-3)
        for a, b in zip(ahead, plain, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_masks_are_those_of_one_frame_at_a_time(network: Sam2, direction: str) -> None:
    plain = list(session(network, 1).propagate(direction))
    assert same_masks(whole_walk(network, direction), plain)


@pytest.mark.slow
def test_batches_are_cut_at_multiples_and_leave_out_what_is_not_tracked() -> None:
    batches: list[list[int]] = []

    def note(step: str, pixels: Tensor | ImageFeatures) -> None:
        if step == "encode_image" and isinstance(pixels, Tensor):
            batches.append([_index_of(one) for one in pixels])

    walked = session(WatchedSam2(note), AHEAD)
    walked.condition()
    assert batches == [[2], [5]]  # prompted frames are segmented on their own
    batches.clear()
    list(walked.propagate("forward"))
    assert batches == [[3], [4, 5, 6, 7], [8, 9, 10]]  # object 1 is tracked through the prompt of object 2
    batches.clear()
    list(walked.propagate("backward"))
    assert batches == [[4], [0, 1, 2, 3]]


def _index_of(pixels_3SS: Tensor) -> int:
    """Which frame of the clip these pixels of the network's input are; its frames have the size of the input."""
    frames = normalize(torch.from_numpy(clip_pixels()), pixels_3SS.device, pixels_3SS.dtype)
    (index,) = [index for index, frame in enumerate(frames) if torch.equal(frame, pixels_3SS)]
    return index


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("num_done", [1, 2, 3, 4])
def test_a_resumed_walk_repeats_the_batches_and_so_the_bits(network: Sam2, direction: str, num_done: int) -> None:
    whole = whole_walk(network, direction)
    stopped = session(network, AHEAD)
    walk = stopped.propagate(direction)
    for _ in range(num_done):
        next(walk)
    resumed = VideoSession.from_bytes(stopped.to_bytes(), network, stopped.frames)
    rest = list(resumed.propagate(direction, resume=True))
    assert [r.frame_index for r in rest] == [r.frame_index for r in whole[num_done:]]
    assert all(torch.equal(a.logits_BHW, b.logits_BHW) for a, b in zip(rest, whole[num_done:], strict=True))


def test_features_of_a_frame_are_dropped_when_the_walk_leaves_it() -> None:
    walked = session(small(), AHEAD)
    held = []
    for result in walked.propagate("forward"):
        groups = walked.state.features.groups
        assert groups is not None
        held.append((result.frame_index, sorted(groups.held)))
    assert held[3] == (5, [5, 6, 7])
    assert held[5] == (7, [7])


@pytest.mark.slow
@pytest.mark.parametrize("num_frames", [NUM_FRAMES, 3])
def test_what_a_finished_or_left_video_remembers_goes_with_its_session(network: Sam2, num_frames: int) -> None:
    """Nobody has to look for garbage, which is done seldom, and knows nothing of a GPU's memory."""
    walked = session(network, AHEAD)
    for _ in islice(walked.propagate("forward"), num_frames):
        pass
    held = [weakref.ref(memory) for memory in walked.objects[1].bank.tracked.values()]
    assert held
    gc.collect()
    gc.disable()
    try:
        del walked
        assert [memory() for memory in held] == [None] * len(held)
    finally:
        gc.enable()
