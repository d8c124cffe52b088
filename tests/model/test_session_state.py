"""A session saved in the middle of a walk goes on elsewhere with the same bits."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model.checkpoint import load_model
from model.frames import ArrayFrames
from model.history import HistoryRule
from model.prompts import BoxPrompt, PointPrompt
from model.sam2 import Sam2
from model.session_state import SessionState, StateMismatch, restore_session, session_state
from model.video import FrameResult, VideoSession
from tests.clips import moving_clip

NUM_FRAMES = 24


@functools.cache
def mini() -> Sam2:
    return load_model("mini")


@functools.cache
def whole_walk(direction: str, max_prompted: int | None) -> list[tuple[object, ...]]:
    return bits(new_session(max_prompted).propagate(direction))


@functools.cache
def frames() -> np.ndarray:
    return moving_clip(num_frames=NUM_FRAMES, num_objects=2, size_hw=(64, 96)).frames_THW3


def new_session(max_prompted: int | None = None, history: HistoryRule | None = None) -> VideoSession:
    session = VideoSession(mini(), ArrayFrames(frames()), max_prompted, history=history)
    session.add_prompt(7, 3, BoxPrompt((20.0, 4.0, 50.0, 30.0)))
    session.add_prompt(7, 20, PointPrompt(((40.0, 16.0),), (1,)))
    session.add_prompt(2, 12, PointPrompt(((30.0, 48.0),), (1,)))
    return session


def bits(results: Iterator[FrameResult]) -> list[tuple[object, ...]]:
    return [
        (
            result.frame_index,
            result.object_ids,
            result.logits_BHW.numpy().tobytes(),
            result.object_scores_B.numpy().tobytes(),
            result.predicted_ious_B.numpy().tobytes(),
            result.is_prompt,
        )
        for result in results
    ]


@pytest.mark.parametrize(
    ("direction", "stop_after", "max_prompted"),
    [("forward", 14, None), ("backward", 5, 2), ("both", 12, 2), ("both", 24, None)],
)
def test_goes_on_with_the_same_bits(direction: str, stop_after: int, max_prompted: int | None) -> None:
    first = new_session(max_prompted)
    walk = first.propagate(direction)
    before = bits(next(walk) for _ in range(stop_after))
    saved = session_state(first).to_bytes()
    second = new_session(max_prompted)
    restore_session(second, SessionState.from_bytes(saved))
    after = bits(second.propagate(direction, resume=True))

    assert before + after == whole_walk(direction, max_prompted)
    assert len(after) > 0


def test_its_size_does_not_depend_on_how_far_it_is() -> None:
    session = VideoSession(mini(), ArrayFrames(np.concatenate([frames()] * 2)))
    session.add_prompt(1, 0, BoxPrompt((20.0, 4.0, 50.0, 30.0)))
    walk = session.propagate("forward")
    sizes = {}
    for result in walk:
        sizes[result.frame_index] = len(session_state(session).to_bytes())
    assert sizes[22] == pytest.approx(sizes[46], rel=0.01)


def test_other_prompts_or_another_video_are_refused() -> None:
    session = new_session()
    next(session.propagate("forward"))
    state = session_state(session)
    other = new_session()
    other.add_prompt(7, 5, PointPrompt(((1.0, 1.0),), (1,)))
    with pytest.raises(StateMismatch, match="other prompts"):
        restore_session(other, state)
    short = VideoSession(mini(), ArrayFrames(frames()[:14]))
    short.add_prompt(7, 3, BoxPrompt((20.0, 4.0, 50.0, 30.0)))
    with pytest.raises(StateMismatch):
        restore_session(short, state)


@pytest.mark.parametrize("data", [b"", b"x" * 100, (2**62).to_bytes(8, "little") + b"{}"])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(StateMismatch, match="not a saved session"):
        SessionState.from_bytes(data)


def test_a_session_that_has_not_begun_has_no_state() -> None:
    with pytest.raises(ValueError, match="on a walk"):
        session_state(new_session())
    kept = new_session(history=HistoryRule())
    next(kept.propagate("forward"))
    with pytest.raises(ValueError, match="history"):
        session_state(kept)


def test_saved_tensors_are_copies() -> None:
    session = new_session()
    walk = session.propagate("forward")
    next(walk)
    state = session_state(session)
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    for _ in walk:
        pass
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors.items())
