"""A session saved in the middle of a walk goes on elsewhere with the same bits."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest

from model.network.sam2 import Sam2
from model.prompts import BoxPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.weights.checkpoint import load_model
from tests.support.clips import moving_clip
from tests.support.sessions import SMALL_SIZE, EncodingOnce

NUM_FRAMES = 24


@functools.cache
def network() -> Sam2:
    """Mini's weights on a small input: a saved session must bring back the same bits at any size."""
    return EncodingOnce(load_model("mini"), SMALL_SIZE)


@functools.cache
def whole_walk(direction: str, max_prompted: int | None) -> list[tuple[object, ...]]:
    return bits(new_session(max_prompted).propagate(direction))


@functools.cache
def frames() -> np.ndarray:
    return moving_clip(num_frames=NUM_FRAMES, num_objects=2, size_hw=(64, 96)).frames_THW3


def new_session(max_prompted: int | None = None) -> VideoSession:
    session = VideoSession(network(), ArrayFrames(frames()), max_prompted)
    session.add_prompt(7, 3, BoxPrompt((20.0, 4.0, 50.0, 30.0)))
    session.add_prompt(7, 20, PointPrompt(((40.0, 16.0),), (1,)))
    session.add_prompt(2, 12, PointPrompt(((30.0, 48.0),), (1,)))
    return session


def pointers_of(result: FrameResult) -> tuple[bytes | None, ...]:
    assert result.pointers is not None
    both = (result.pointers.here_BC, *result.pointers.at_prompts)
    return tuple(None if one is None else one.numpy().tobytes() for one in both)


def bits(results: Iterator[FrameResult]) -> list[tuple[object, ...]]:
    return [
        (
            result.frame_index,
            result.object_ids,
            result.logits_BHW.numpy().tobytes(),
            result.object_scores_B.numpy().tobytes(),
            result.predicted_ious_B.numpy().tobytes(),
            result.is_prompt,
            pointers_of(result),
        )
        for result in results
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "stop_after", "max_prompted"),
    [("forward", 14, None), ("backward", 5, 2), ("both", 12, 2), ("both", 24, None)],
)
def test_goes_on_with_the_same_bits(direction: str, stop_after: int, max_prompted: int | None) -> None:
    first = new_session(max_prompted)
    walk = first.propagate(direction)
    before = bits(next(walk) for _ in range(stop_after))
    saved = first.to_bytes()
    second = VideoSession.from_bytes(saved, network(), ArrayFrames(frames()))
    after = bits(second.propagate(direction, resume=True))

    assert before + after == whole_walk(direction, max_prompted)
    assert len(after) > 0


@pytest.mark.slow
def test_its_size_does_not_depend_on_how_far_it_is() -> None:
    session = VideoSession(network(), ArrayFrames(np.concatenate([frames()] * 2)))
    session.add_prompt(1, 0, BoxPrompt((20.0, 4.0, 50.0, 30.0)))
    sizes = {r.frame_index: len(session.to_bytes()) for r in session.propagate("forward") if r.frame_index in (22, 46)}
    assert sizes[22] == pytest.approx(sizes[46], rel=0.01)


@pytest.mark.parametrize("data", [b"", b"x" * 100, (2**62).to_bytes(8, "little") + b"{}"])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="session"):
        VideoSession.from_bytes(data, network(), ArrayFrames(frames()))
