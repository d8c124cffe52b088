"""Sessions that were saved in format 1 are read and continued (the files: `tests/fixtures/saved_sessions_v1`)."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file
from torch import Tensor

from model.prompts import BoxPrompt, MaskPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult, Position
from model.tracking.stream import VideoStream
from tests.support.sessions import same_bits, small

FOLDER = Path(__file__).parents[2] / "fixtures" / "saved_sessions_v1"


@functools.cache
def expected() -> dict[str, Tensor]:
    return load_file(FOLDER / "expected.safetensors")


def frames() -> ArrayFrames:
    return ArrayFrames(expected()["frames"])


def old(name: str) -> bytes:
    return (FOLDER / f"{name}.safetensors").read_bytes()


def read_session() -> VideoSession:
    return VideoSession.from_bytes(old("session"), small(), frames())


def rest_of_stream(stream: VideoStream) -> list[FrameResult]:
    return [stream.push(pixels) for pixels in expected()["frames"][stream.newest_index + 1 :]]


def assert_as_recorded(results: Sequence[FrameResult], name: str) -> None:
    """On the machine that recorded them the logits are the same to the bit; other CPUs may round otherwise."""
    recorded = [key for key in expected() if key.startswith(name) and key.endswith(".frame")]
    assert len(results) == len(recorded) > 3
    for number, result in enumerate(results):
        assert result.frame_index == int(expected()[f"{name}.{number}.frame"])
        assert list(result.object_ids) == expected()[f"{name}.{number}.objects"].tolist()
        torch.testing.assert_close(result.logits_BHW, expected()[f"{name}.{number}.logits"], rtol=0, atol=0.02)
        torch.testing.assert_close(result.object_scores_B, expected()[f"{name}.{number}.scores"], rtol=0, atol=0.02)


def test_a_session_is_read_whole() -> None:
    session = read_session()
    assert session.position == Position("both", "forward", 5)
    assert session.state.rules.history == HistoryRule(snapshot_every=3)
    assert session.state.rules.max_pointers == 8
    prompts = {object_id: tracked.prompts for object_id, tracked in session.objects.items()}
    assert {object_id: sorted(of_object) for object_id, of_object in prompts.items()} == {1: [1, 5], 2: [2], 3: [3]}
    assert prompts[1][1].prompt == PointPrompt(((12.0, 12.0),), (1,))
    assert prompts[2][2].prompt == BoxPrompt((28.0, 16.0, 41.0, 29.0), ((34.0, 22.0),), (1,))
    assert isinstance(prompts[3][3].prompt, MaskPrompt)
    assert prompts[1][5].is_correction
    assert prompts[1][5].past is not None
    assert all(tracked.history is not None and tracked.history.walks for tracked in session.objects.values())


@pytest.mark.parametrize("name", ["session", "stream"])
def test_every_tensor_of_the_old_file_is_in_the_new_one(name: str) -> None:
    old_bytes = old(name)
    read = read_session() if name == "session" else VideoStream.from_bytes(old_bytes, small())
    before, after = load(old_bytes), load(read.to_bytes())
    assert len(before) >= 15
    assert sorted(_bits(tensor) for tensor in before.values()) == sorted(_bits(tensor) for tensor in after.values())


@pytest.mark.slow
def test_a_session_goes_on_where_it_was_saved() -> None:
    assert_as_recorded(list(read_session().propagate("both", resume=True)), "session")


@pytest.mark.slow
def test_a_session_read_from_the_old_and_from_the_new_format_goes_on_with_the_same_bits() -> None:
    data = read_session().to_bytes()
    text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["maskmill_session"]
    assert json.loads(text)["version"] == 2
    again = VideoSession.from_bytes(data, small(), frames())
    assert same_bits(read_session().propagate("both", resume=True), again.propagate("both", resume=True))


@pytest.mark.slow
def test_a_stream_goes_on_where_it_was_saved() -> None:
    stream = VideoStream.from_bytes(old("stream"), small())
    assert stream.newest_index == 3
    again = VideoStream.from_bytes(stream.to_bytes(), small())
    results = rest_of_stream(stream)
    assert_as_recorded(results, "stream")
    assert same_bits(results, rest_of_stream(again))


def test_the_reader_says_how_many_frames_an_old_session_encoded_together() -> None:
    """Format 1 lacks this number; the next file has it."""
    session = VideoSession.from_bytes(old("session"), small(), frames(), encode_ahead=4)
    assert session.encode_ahead == 4
    assert VideoSession.from_bytes(session.to_bytes(), small(), frames()).encode_ahead == 4


def _bits(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    return str(tensor.dtype), tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes()
