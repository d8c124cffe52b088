"""What a worker has loaded: the model makes new sessions and continues saved ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import ArrayFrames, BoxPrompt, FrameBuffers, advance, load_model
from pipeline.config.job_config import PropagateConfig
from pipeline.worker.equipment import Network

FRAMES = ArrayFrames(np.random.default_rng(0).integers(0, 255, (4, 48, 64, 3), dtype=np.uint8))


def network(encode_ahead: int) -> Network:
    model = load_model("mini")
    return Network(model, "CPU", encode_ahead, FrameBuffers((1, 1, 3), torch.device("cpu")))


@pytest.fixture
def saved() -> bytes:
    """A session after its first frame, saved by a worker that encodes 3 frames together."""
    session = network(3).new_session(FRAMES, PropagateConfig(), little_memory=False)
    session.add_prompt(1, 0, BoxPrompt((4.0, 4.0, 30.0, 30.0)))
    for step in session.walk("forward"):
        advance([step])
        break
    return session.to_bytes()


def test_a_new_session_follows_the_config() -> None:
    session = network(3).new_session(FRAMES, PropagateConfig(max_prompted_memories=5), little_memory=False)
    assert session.encode_ahead == 3
    assert session.state.rules.max_prompted_memories == 5
    assert network(3).new_session(FRAMES, PropagateConfig(), little_memory=True).encode_ahead == 1


@pytest.mark.slow
def test_a_saved_session_encodes_as_many_frames_together_as_before_because_that_decides_last_bits(saved: bytes) -> None:
    assert network(1).restored_session(saved, FRAMES, little_memory=False).encode_ahead == 3


def test_with_little_memory_a_saved_session_encodes_one_frame_at_a_time(saved: bytes) -> None:
    assert network(3).restored_session(saved, FRAMES, little_memory=True).encode_ahead == 1


def test_a_session_of_other_frames_does_not_fit(saved: bytes) -> None:
    other = ArrayFrames(np.zeros((4, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="32"):
        network(1).restored_session(saved, other, little_memory=False)
