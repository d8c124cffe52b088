"""Streams through the calls of the documentation page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from model.hf.inference_session import Sam2VideoInferenceSession
from tests.support.sessions import OTHER_BATCH, box, clip, mask, small_model, small_processor

LONG = 17


def new_stream(**options: Any) -> Sam2VideoInferenceSession:
    return small_processor().init_video_session(**options)


def say(session: Sam2VideoInferenceSession, frame_idx: int, object_id: int, drawn: int = 1, **options: Any) -> None:
    """A box around a drawn object."""
    boxes = [[list(box(clip(LONG), drawn, frame_idx % LONG).box_xyxy)]]
    small_processor().add_inputs_to_inference_session(session, frame_idx, object_id, input_boxes=boxes, **options)


def push(session: Sam2VideoInferenceSession, index: int) -> Any:
    inputs = small_processor()(images=clip(LONG).frames_THW3[index % LONG], return_tensors="pt")
    return small_model()(inference_session=session, frame=inputs.pixel_values[0])


@pytest.mark.slow
def test_a_stream_equals_the_file_bit_for_bit() -> None:
    stream, session = new_stream(), small_processor().init_video_session(video=clip(LONG).frames_THW3)
    say(stream, 0, 1, original_size=(48, 64))
    say(session, 0, 1)
    for output in small_model().propagate_in_video_iterator(session):
        streamed = push(stream, output.frame_idx)
        assert streamed.frame_idx == output.frame_idx
        assert torch.equal(streamed.pred_masks, output.pred_masks)
        assert torch.equal(streamed.object_score_logits, output.object_score_logits)


@pytest.mark.slow
def test_an_object_added_while_the_stream_runs_is_hidden_before_and_leaves_the_others() -> None:
    stream, alone = new_stream(), new_stream()
    for session in (stream, alone):
        say(session, 0, 5, original_size=torch.tensor([48, 64]))
    say(stream, 2, 9, drawn=2)
    outputs = []
    for index in range(5):
        outputs.append((push(stream, index), push(alone, index)))
        if index == 3:
            say(stream, 3, 7, drawn=2)
    assert [output.object_ids for output, _ in outputs] == [[5, 9]] * 4 + [[5, 9, 7]]
    assert [bool((output.pred_masks[1] == -1024).all()) for output, _ in outputs] == [True, True, False, False, False]
    for output, expected in outputs:
        assert float((output.pred_masks[0] - expected.pred_masks[0]).abs().max()) < OTHER_BATCH


def test_the_newest_frame_can_be_corrected_and_looked_at_again() -> None:
    stream = new_stream(num_frames=6)
    say(stream, 0, 1, original_size=[48, 64])
    for index in range(4):
        before = push(stream, index)
    small_processor().add_inputs_to_inference_session(stream, 3, 1, input_points=[[[[60, 3]]]], input_labels=[[[1]]])
    corrected = small_model()(inference_session=stream, frame_idx=3)
    assert not torch.equal(corrected.pred_masks, before.pred_masks)
    assert torch.equal(small_model()(inference_session=stream, frame_idx=3).pred_masks, corrected.pred_masks)
    with pytest.raises(ValueError, match="object 1, frame 2: the stream is at frame 3"):
        say(stream, 2, 1)
    with pytest.raises(ValueError, match="frame_idx: is 2, but a stream has its newest frame only"):
        small_model()(inference_session=stream, frame_idx=2)


def test_two_streams_through_one_model() -> None:
    streams, alone = [new_stream(), new_stream()], [new_stream(), new_stream()]
    for group in (streams, alone):
        for drawn, session in enumerate(group, start=1):
            say(session, 0, 1, drawn=drawn, original_size=(48, 64))
    together = [[push(session, index).pred_masks for session in streams] for index in range(4)]
    for number, session in enumerate(alone):
        for index in range(4):
            assert torch.equal(push(session, index).pred_masks, together[index][number])


def test_an_object_can_be_removed_and_cleared_while_the_stream_runs() -> None:
    stream = new_stream()
    say(stream, 0, 1, original_size=(48, 64))
    say(stream, 0, 2, drawn=2)
    push(stream, 0)
    stream.remove_object(1)
    assert push(stream, 1).object_ids == [2]
    say(stream, 2, 3)
    stream.clear_all_prompts_in_frame(2, 3)
    assert stream.obj_ids == [2]
    stream.reset_inference_session()
    output = push(stream, 2)
    assert (output.frame_idx, output.object_ids, len(output.pred_masks)) == (2, [], 0)


@pytest.mark.slow
def test_a_stream_with_a_mask_on_every_frame_forgets_what_it_was_told() -> None:
    stream = new_stream(max_prompted_memories=2)
    for index in range(24):
        given = mask(clip(LONG), 1, index % LONG).mask_HW
        small_processor().add_inputs_to_inference_session(stream, index, 1, input_masks=given, original_size=(48, 64))
        output = push(stream, index)
        truth = np.array([clip(LONG).mask(1, index % LONG)])
        (found,) = small_processor().post_process_masks([output.pred_masks], [[48, 64]])
        assert float((found[0].numpy() & truth).sum() / (found[0].numpy() | truth).sum()) > 0.8
    tracker = stream.tracker(small_model().network)
    assert list(stream._prompts[1]) == [23]
    tracked = tracker.session.objects[1]  # type: ignore[union-attr]
    assert len(tracked.prompts) <= 2 + 15
    assert len(tracked.bank.prompted) <= 2 + 15


@pytest.mark.slow
def test_a_video_with_a_box_on_every_frame_is_bounded_too() -> None:
    frames = np.concatenate([clip(LONG).frames_THW3] * 3)
    session = small_processor().init_video_session(video=frames, max_prompted_memories=2)
    for index in range(3 * LONG):
        say(session, index, 1)
    for _ in small_model().propagate_in_video_iterator(session):
        tracker = session.tracker(small_model().network)
        assert len(tracker.objects[1].bank.prompted) <= 2 + 16  # type: ignore[union-attr]
