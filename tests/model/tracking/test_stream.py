"""Streams: frames one by one, each gone when the next one is there."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from model.prompts import PointPrompt
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.stream import VideoStream
from tests.support.sessions import OTHER_BATCH, EncodingCopies, box, click, clip, frames_of, mask, same_bits, small

LONG = 18  # more than the 16 frames from which on the length does not matter
OFF = PointPrompt(((3.0, 3.0),), (1,))


def frame(index: int, num_frames: int = LONG) -> torch.Tensor:
    return torch.from_numpy(clip(num_frames).frames_THW3[index])


def new_stream(**settings: int) -> VideoStream:
    return VideoStream(small(), (48, 64), **settings)


def push_all(stream: VideoStream, first: int = 0, last: int = LONG) -> list[FrameResult]:
    return [stream.push(frame(index)) for index in range(first, last)]


def file_results(num_frames: int = LONG) -> list[FrameResult]:
    session = VideoSession(small(), frames_of(clip(num_frames)))
    session.add_prompt(1, 0, box(clip(num_frames), 1, 0))
    return list(session.propagate())


@pytest.mark.slow
def test_a_stream_of_16_frames_or_more_equals_the_file_bit_for_bit() -> None:
    stream = new_stream()
    stream.add_prompt(1, 0, box(clip(LONG), 1, 0))
    assert same_bits(push_all(stream), file_results())


@pytest.mark.slow
def test_a_shorter_stream_equals_the_file_if_its_length_is_told() -> None:
    told, untold = new_stream(num_frames=6), new_stream()
    for stream in (told, untold):
        stream.add_prompt(1, 0, box(clip(6), 1, 0))
    results, assumed = ([stream.push(frame(index, 6)) for index in range(6)] for stream in (told, untold))
    assert same_bits(results, file_results(6))
    assert not same_bits(assumed, file_results(6))


@pytest.mark.slow
def test_a_correction_on_the_newest_frame_equals_that_of_a_file() -> None:
    stream, session = new_stream(), VideoSession(small(), frames_of(clip(LONG)), history=HistoryRule())
    for each in (stream, session):
        each.add_prompt(1, 0, box(clip(LONG), 1, 0))
    push_all(stream, 0, 6)
    for index in range(6):
        session.segment_frame(index)
    for each in (stream, session):
        each.add_prompt(1, 5, OFF)
    assert stream.session.objects[1].prompts[5].is_correction
    assert same_bits([stream.newest_result()], [session.segment_frame(5)])
    assert same_bits(push_all(stream, 6, 9), [session.segment_frame(index) for index in range(6, 9)])


@pytest.mark.slow
def test_the_masks_of_prompts_on_the_newest_frame_are_refined_as_those_of_a_file() -> None:
    """Of a prompt that starts the stream, of one on a frame that the walk comes to, and twice on a tracked frame."""
    stream, session = new_stream(), VideoSession(small(), frames_of(clip(LONG)), history=HistoryRule(4))
    for index in range(8):
        for each in (stream, session) if index in (0, 4) else ():
            each.add_prompt(1, index, box(clip(LONG), 1, index))
        assert same_bits([stream.push(frame(index))], [session.segment_frame(index)])
        for prompt in (OFF, click(clip(LONG), 1, index)) if index in (0, 4, 6) else ():
            before = stream.newest_result()
            for each in (stream, session):
                each.add_prompt(1, index, prompt)
            assert same_bits([stream.newest_result()], [session.segment_frame(index)])
            assert not same_bits([stream.newest_result()], [before])


def test_a_correction_takes_effect_also_if_nobody_asks_for_its_mask() -> None:
    asked, unasked = new_stream(), new_stream()
    for stream in (asked, unasked):
        stream.add_prompt(1, 0, box(clip(LONG), 1, 0))
        push_all(stream, 0, 4)
        stream.add_prompt(1, 3, OFF)
    asked.newest_result()
    assert same_bits(push_all(asked, 4, 6), push_all(unasked, 4, 6))


@pytest.mark.slow
def test_an_object_can_be_added_while_the_stream_runs() -> None:
    """On the next frame or on the newest one; it starts there, and the others go on as they were."""
    stream = new_stream()
    stream.add_prompt(1, 0, box(clip(LONG), 1, 0))
    results = push_all(stream, 0, 3)
    stream.add_prompt(2, 3, click(clip(LONG), 2, 3))
    results += push_all(stream, 3, 5)
    stream.add_prompt(7, 4, mask(clip(LONG), 2, 4))
    assert stream.newest_result().object_ids == (1, 2, 7)
    results += push_all(stream, 5, 8)
    assert [result.object_ids for result in results] == [(1,)] * 3 + [(1, 2)] * 2 + [(1, 2, 7)] * 3
    for result, alone in zip(results, file_results(), strict=False):
        assert float((result.logits_BHW[0] - alone.logits_BHW[0]).abs().max()) < OTHER_BATCH


def test_a_stream_may_begin_before_anything_is_said_of_it() -> None:
    stream = new_stream()
    assert [len(stream.push(frame(index)).object_ids) for index in range(2)] == [0, 0]
    stream.add_prompt(1, 1, box(clip(LONG), 1, 1))
    assert stream.newest_result().object_ids == (1,)
    assert stream.push(frame(2)).object_ids == (1,)


@pytest.mark.slow
def test_two_streams_through_one_model_do_not_disturb_each_other() -> None:
    streams = [new_stream(), new_stream()]
    streams[0].add_prompt(1, 0, box(clip(LONG), 1, 0))
    streams[1].add_prompt(1, 0, click(clip(LONG), 2, 0))
    interleaved: list[list[FrameResult]] = [[], []]
    for index in range(6):
        for results, stream in zip(interleaved, streams, strict=True):
            results.append(stream.push(frame(index)))
    assert same_bits(interleaved[0], file_results()[:6])
    alone = new_stream()
    alone.add_prompt(1, 0, click(clip(LONG), 2, 0))
    assert same_bits(interleaved[1], push_all(alone, 0, 6))


def test_prompts_for_frames_that_are_gone_are_refused() -> None:
    stream = new_stream()
    stream.add_prompt(1, 0, box(clip(LONG), 1, 0))
    push_all(stream, 0, 3)
    with pytest.raises(ValueError, match="object 1, frame 1: the stream is at frame 2"):
        stream.add_prompt(1, 1, OFF)
    with pytest.raises(ValueError, match="object 1, frame -1: frame_index must be at least 0"):
        stream.add_prompt(1, -1, OFF)
    with pytest.raises(ValueError, match=r"object 1, frame 9: points: .*outside of the frame"):
        stream.add_prompt(1, 9, PointPrompt(((99, 1),), (1,)))


def test_what_was_said_of_the_future_can_be_taken_back() -> None:
    stream, expected = new_stream(), new_stream()
    for each in (stream, expected):
        each.add_prompt(1, 0, box(clip(LONG), 1, 0))
    stream.add_prompt(1, 2, OFF)
    stream.add_prompt(2, 2, OFF)
    stream.add_prompt(3, 1, OFF)
    stream.clear_prompts(1, 2)
    stream.remove_object(2)
    stream.clear_prompts(3, 1)
    assert not stream.has_object(2)
    assert same_bits(push_all(stream, 0, 4), push_all(expected, 0, 4))
    stream.remove_object(1)
    assert stream.push(frame(4)).object_ids == ()
    with pytest.raises(ValueError, match="object 1: is not in the session"):
        stream.remove_object(1)


def kept_bytes(stream: VideoStream) -> int:
    """The size of everything that a saved stream holds."""
    return len(stream.to_bytes())


@pytest.mark.slow
def test_what_a_stream_keeps_does_not_grow() -> None:
    stream = new_stream()
    stream.add_prompt(1, 0, box(clip(LONG), 1, 0))
    push_all(stream)
    after_18 = kept_bytes(stream)
    for index in range(12):
        stream.push(frame(index % LONG))
    assert abs(kept_bytes(stream) - after_18) < 2000


@pytest.mark.slow
def test_what_a_stream_keeps_does_not_grow_with_a_box_on_every_frame() -> None:
    stream = new_stream(max_prompted_memories=4)
    sizes = []
    for index in range(40):
        if index % 2 == 0:
            stream.add_prompt(1, index, mask(clip(LONG), 1, index % LONG))
        stream.push(frame(index % LONG))
        sizes.append(kept_bytes(stream))
        assert len(stream.session.objects[1].prompts) <= 4 + 15
    assert max(sizes[24:]) < max(sizes[:24]) + 2000


def resident_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.slow
def test_memory_of_the_process_is_flat_over_500_frames() -> None:
    """One object, prompted anew now and then, at a quarter of mini's size; tracking is computed for each frame.

    Over the 275 frames between the two medians, in which 11 prompts come, a leak of 6 KB a frame would be 1.6 MiB.
    """
    network = EncodingCopies(small())
    stream = VideoStream(network, (48, 64), max_prompted_memories=2)
    stream.add_prompt(1, 0, box(clip(LONG), 1, 0))
    mebibytes = []
    for index in range(500):
        stream.push(frame(index % LONG))
        if index % 25 == 24:
            mebibytes.append(resident_mebibytes())
            stream.add_prompt(1, index, box(clip(LONG), 1, index % LONG))
    early, late = np.median(mebibytes[4:9]), np.median(mebibytes[-5:])
    assert late - early < 1.5, f"resident memory went from {early:.1f} to {late:.1f} MiB"
