"""What is taken back, fails or goes away in the middle leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model.hf.pictures import to_frames
from model.network.sam2 import Sam2
from model.prompts import PointPrompt
from model.tracking.frames import ArrayFrames, Frame
from model.tracking.history import HistoryRule
from model.tracking.prompting import Query, equal_shapes
from model.tracking.replay import replay
from model.tracking.session import VideoSession
from model.tracking.stream import VideoStream
from tests.support.sessions import WatchedSam2, box, by_object, clip, frames_of, gap, same_bits, small

pytestmark = pytest.mark.slow

FRAMES = 12
OFF = PointPrompt(((3.0, 3.0),), (0,))


def frame(index: int) -> torch.Tensor:
    return torch.from_numpy(clip(FRAMES).frames_THW3[index])


def session_of(frames: ArrayFrames, *object_ids: int, network: Sam2 | None = None) -> VideoSession:
    session = VideoSession(network or small(), frames, history=HistoryRule())
    for object_id in object_ids:
        session.add_prompt(object_id, 0, box(clip(FRAMES), object_id, 0))
    return session


def new_stream(network: Sam2 | None = None) -> VideoStream:
    stream = VideoStream(network or small(), (48, 64))
    stream.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    return stream


def test_a_correction_that_is_taken_back_leaves_no_trace() -> None:
    stream, plain = new_stream(), new_stream()
    for index in range(FRAMES):
        given, expected = stream.push(frame(index)), plain.push(frame(index))
        if index == 7:
            stream.add_prompt(1, index, OFF)
            assert not same_bits([stream.newest_result()], [expected])
            stream.clear_prompts(1, index)
            given = stream.newest_result()
        assert same_bits([given], [expected])


def test_a_click_that_comes_again_after_it_was_taken_back_is_a_correction() -> None:
    stream = new_stream()
    for index in range(7):
        stream.push(frame(index))
    for _ in range(2):
        stream.add_prompt(1, 6, OFF)
        assert stream.session.objects[1].prompts[6].is_correction
        stream.newest_result()
        stream.clear_prompts(1, 6)


@pytest.mark.parametrize("prompted", [3, 5])
def test_a_frame_replayed_after_a_prompt_in_mid_walk_is_as_it_was_given(prompted: int) -> None:
    """On frame 3, which the walk has just left, or on frame 5, which is to come."""
    session = session_of(frames_of(clip(FRAMES)), 1)
    given = {}
    for result in session.propagate():
        given[result.frame_index] = result.logits_BHW[0]
        if result.frame_index == 3:
            session.add_prompt(1, prompted, box(clip(FRAMES), 2, prompted))
    for index in (8, 10):
        past = replay(session.state, [session.objects[1]], index)
        assert torch.equal(past[1].logits_BHW[0], given[index])


def test_an_error_in_a_later_group_of_objects_does_not_change_what_follows() -> None:
    expected = by_object(session_of(frames_of(clip(FRAMES)), 1, 2, network=WatchedSam2(max_objects=1)).propagate())
    calls = [0]

    def interrupt(step: str, _: object) -> None:
        calls[0] += step == "segment"
        if step == "segment" and calls[0] == 16:  # of the 8th frame that is tracked, the second object
            raise KeyboardInterrupt

    network = WatchedSam2(max_objects=1)
    session = session_of(frames_of(clip(FRAMES)), 1, 2, network=network)
    found = {}
    session.condition()
    network.on_step = interrupt
    walk = session.propagate()
    for _ in range(8):
        found |= by_object([next(walk)])
    with pytest.raises(KeyboardInterrupt):
        next(walk)
    found |= by_object(session.propagate(resume=True))
    assert calls[0] > 16
    assert gap(found, expected) == 0


class OneReader(ArrayFrames):
    """A source that reads in one direction at a time, as a decoder does."""

    def __init__(self, frames: np.ndarray) -> None:
        super().__init__(frames)
        self.num_open = 0

    def forward(self, start: int) -> Iterator[Frame]:
        assert self.num_open == 0, "only `at` may be called while frames are taken"
        self.num_open += 1
        yield from super().forward(start)
        self.num_open -= 1


def test_a_correction_in_mid_walk_does_not_open_a_second_walk() -> None:
    frames = OneReader(clip(FRAMES).frames_THW3)
    session = session_of(frames, 1)
    for result in session.propagate():
        if result.frame_index == 6:
            session.add_prompt(1, 4, OFF)
    assert session.objects[1].prompts[4].past is not None
    assert frames.num_open == 0


def test_a_frame_that_cannot_be_used_has_not_come() -> None:
    stream, plain = new_stream(), new_stream()
    for each in (stream, plain):
        each.push(frame(0))
        each.add_prompt(2, 1, box(clip(FRAMES), 2, 1))
    with pytest.raises((RuntimeError, ValueError)):
        stream.push(torch.rand(3, 64, 64))
    for index in range(1, 4):
        assert same_bits([stream.push(frame(index))], [plain.push(frame(index))])


def test_a_frame_that_failed_after_its_features_were_made_has_not_come() -> None:
    def fail(step: str, _: object) -> None:
        if step == "segment":
            raise RuntimeError("out of memory")

    network = WatchedSam2()
    stream, plain = new_stream(network), new_stream()
    for each in (stream, plain):
        for index in range(4):
            each.push(frame(index))
    network.on_step = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        stream.push(255 - frame(4))
    network.on_step = None
    assert same_bits([stream.newest_result()], [plain.newest_result()])
    for each in (stream, plain):
        each.add_prompt(1, 3, OFF)
    assert stream.session.objects[1].prompts[3].is_correction
    assert same_bits([stream.newest_result()], [plain.newest_result()])
    assert same_bits([stream.push(frame(4))], [plain.push(frame(4))])


def test_a_walk_in_both_directions_ends_when_its_last_object_is_removed() -> None:
    session = session_of(frames_of(clip(FRAMES)))
    session.add_prompt(1, 4, box(clip(FRAMES), 1, 4))
    seen = []
    for result in session.propagate("both"):
        seen.append(result.frame_index)
        if result.frame_index == 6:
            session.remove_object(1)
    assert seen[:3] == [4, 5, 6]
    assert max(seen) < FRAMES


def test_prompts_of_one_shape_share_batches_of_bounded_size() -> None:
    queries = [Query(PointPrompt(((float(n), 3.0),), (1,)), (48, 64)) for n in range(40)]
    groups = equal_shapes(WatchedSam2(max_objects=16), queries)
    assert [len(group) for group in groups] == [16, 16, 8]
    assert sorted(position for group in groups for position in group) == list(range(40))


def test_pictures_read_into_one_buffer_are_kept_apart() -> None:
    def reader() -> Iterator[np.ndarray]:
        buffer = np.zeros((64, 64, 3), np.uint8)
        for value in (10, 20, 30):
            buffer[:] = value
            yield buffer

    frames = to_frames(reader(), 64)
    assert [int(one.pixels_HW3[0, 0, 0]) for one in frames.forward(0)] == [10, 20, 30]


def test_a_view_that_turns_bgr_to_rgb_is_a_picture() -> None:
    bgr = np.zeros((48, 64, 3), np.uint8)
    bgr[..., 2] = 200
    (only,) = to_frames([bgr[:, :, ::-1]], 64).forward(0)
    assert only.pixels_HW3[0, 0].tolist() == [200, 0, 0]
