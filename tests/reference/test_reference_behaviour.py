"""What `transformers` does where it is not to be copied: shown, so that a version that behaves would be noticed.

Each test has a partner in `tests/model/test_differences.py`, which shows what ours does instead.
"""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.reference.mini import click_on, mini_processor, mini_transformers, square_clip

pytestmark = pytest.mark.slow

FRAMES = 6
FIRST, SECOND = 1, 2  # object ids

Masks = dict[int, torch.Tensor]


def new_session() -> transformers.Sam2VideoInferenceSession:
    frames = list(square_clip("drifting", FRAMES).frames_THW3)
    return mini_processor().init_video_session(video=frames, max_vision_features_cache_size=FRAMES + 1)


def click(session: transformers.Sam2VideoInferenceSession, object_id: int, frame: int, *, offset: float = 0.0) -> None:
    x, y = click_on(square_clip("drifting", FRAMES).mask(object_id, frame))
    mini_processor().add_inputs_to_inference_session(
        session, frame, [object_id], input_points=[[[[x + offset, y + offset]]]], input_labels=[[[1]]]
    )


def segment(session: transformers.Sam2VideoInferenceSession, frame: int) -> torch.Tensor:
    return mini_transformers()(inference_session=session, frame_idx=frame).pred_masks


def propagate(session: transformers.Sam2VideoInferenceSession) -> Masks:
    walk = mini_transformers().propagate_in_video_iterator(session, start_frame_idx=0)
    return {result.frame_idx: result.pred_masks.clone() for result in walk}


def test_row_1_second_prompt_of_an_object_is_ignored_without_a_forward_in_between() -> None:
    session, once = new_session(), new_session()
    for each in (session, once):
        click(each, FIRST, 0)
        segment(each, 0)
    click(session, FIRST, 4, offset=9.0)
    ignored, without = propagate(session), propagate(once)
    assert torch.equal(ignored[4], without[4])
    heeded = new_session()
    click(heeded, FIRST, 4, offset=9.0)
    assert not torch.equal(segment(heeded, 4), without[4])


def test_row_2_unprompted_frames_before_an_objects_start_become_conditioning() -> None:
    session = new_session()
    click(session, FIRST, 0)
    segment(session, 0)
    click(session, SECOND, 3)
    propagate(session)
    assert list(session.output_dict_per_obj[1]["cond_frame_outputs"]) == [0, 1, 2, 3]
    assert list(session.point_inputs_per_obj[1]) == [3]


def test_row_3_a_correction_is_computed_away_by_the_next_propagation() -> None:
    session = new_session()
    click(session, FIRST, 0)
    before = propagate(session)
    click(session, FIRST, 3, offset=9.0)
    corrected = segment(session, 3)
    assert not torch.equal(corrected, before[3])
    assert torch.equal(propagate(session)[3], before[3])


def test_row_3_previous_logits_are_not_fed_with_a_correcting_click(monkeypatch: pytest.MonkeyPatch) -> None:
    model, session = mini_transformers(), new_session()
    click(session, FIRST, 0)
    propagate(session)
    seen = []
    embed_prompts = model.prompt_encoder.forward
    monkeypatch.setattr(
        model.prompt_encoder, "forward", lambda **inputs: seen.append(inputs["input_masks"]) or embed_prompts(**inputs)
    )
    click(session, FIRST, 3)
    segment(session, 3)
    assert seen == [None]


def test_row_4_one_objects_new_prompt_turns_the_direction_of_the_others() -> None:
    session = new_session()
    click(session, FIRST, 1)
    segment(session, 1)
    click(session, SECOND, 5)
    segment(session, 5)
    click(session, FIRST, 0)
    walk = mini_transformers().propagate_in_video_iterator(session, start_frame_idx=4, reverse=True)
    next(iter(walk))
    assert session.frames_tracked_per_obj[1] == {4: {"reverse": False}}


def test_row_5_a_prompt_for_one_object_binarises_the_memory_of_the_others() -> None:
    session, alone = new_session(), new_session()
    for each in (session, alone):
        click(each, FIRST, 0)
        segment(each, 0)
    click(session, SECOND, 2)
    propagate(session)
    propagate(alone)
    together = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
    single = alone.output_dict_per_obj[0]["non_cond_frame_outputs"]
    assert torch.equal(together[1]["maskmem_features"], single[1]["maskmem_features"])
    assert torch.equal(together[2]["pred_masks"], single[2]["pred_masks"])
    assert not torch.equal(together[2]["maskmem_features"], single[2]["maskmem_features"])


def test_row_6_a_mask_prompts_pointer_comes_from_the_best_of_three_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model, session = mini_transformers(), new_session()
    asked_for_several = []
    decode = model.mask_decoder.forward

    def recorded(**inputs: object) -> object:
        asked_for_several.append(inputs["multimask_output"])
        return decode(**inputs)

    monkeypatch.setattr(model.mask_decoder, "forward", recorded)
    mask = torch.from_numpy(square_clip("drifting", FRAMES).mask(FIRST, 0))
    mini_processor().add_inputs_to_inference_session(session, 0, [FIRST], input_masks=[mask])
    segment(session, 0)
    assert asked_for_several == [True]


def test_row_7_padding_points_of_a_batch_change_the_result() -> None:
    clip = square_clip("drifting", FRAMES)
    (x0, y0), (x1, y1) = click_on(clip.mask(FIRST, 0)), click_on(clip.mask(SECOND, 0))
    together, alone = new_session(), new_session()
    mini_processor().add_inputs_to_inference_session(
        together,
        0,
        [FIRST, SECOND],
        input_points=[[[[x0, y0], [x0 + 8, y0], [x1, y1]], [[x1, y1]]]],
        input_labels=[[[1, 1, 0], [1]]],
    )
    click(alone, SECOND, 0)
    gap = (segment(together, 0)[1] - segment(alone, 0)[0]).abs().max()
    assert gap > 0.1  # in logits


def test_row_8_adding_a_second_object_loses_the_first_and_empties_the_callers_list() -> None:
    session = new_session()
    click(session, FIRST, 0)
    click(session, SECOND, 0)
    with pytest.raises(ValueError, match="conditioning outputs cannot be empty"):
        propagate(session)
    callers_list = [FIRST]
    other = new_session()
    mini_processor().add_inputs_to_inference_session(
        other, 0, callers_list, input_points=[[[[60.0, 70.0]]]], input_labels=[[[1]]]
    )
    segment(other, 0)
    assert callers_list == []


def test_row_9_every_frame_and_full_size_mask_is_kept() -> None:
    session = new_session()
    click(session, FIRST, 0)
    propagate(session)
    outputs = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
    assert len(outputs) == FRAMES - 1
    assert all(output["high_res_masks"].shape[-2:] == (256, 256) for output in outputs.values())
    assert len(session.processed_frames) == FRAMES
