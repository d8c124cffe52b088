"""The eleven promises that `transformers` breaks, through the calls of the documentation page.

Each promise is one function over a kit, a model and a processor: ours keeps it, and `transformers`, run on the same
weights and frames, breaks it. `tests/reference/test_reference_behaviour.py` shows the inner side of what it does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from model.hf.model import Sam2VideoModel
from model.hf.processing import Sam2VideoProcessor
from tests.reference.mini import click_on, mini_processor, mini_transformers, square_clip
from tests.support.sessions import OTHER_BATCH, EncodingOnce, mini

pytestmark = pytest.mark.slow

FRAMES = 6
FIRST, SECOND = 1, 2  # object ids
Masks = dict[int, torch.Tensor]


@dataclass(frozen=True)
class Kit:
    """A model and a processor with the calls of the page."""

    model: Any
    processor: Any

    def session(self, **settings: Any) -> Any:
        return self.processor.init_video_session(video=list(square_clip("drifting", FRAMES).frames_THW3), **settings)

    def click(self, session: Any, object_id: int, frame_idx: int, *, offset: float = 0.0) -> None:
        x, y = click_on(square_clip("drifting", FRAMES).mask(object_id, frame_idx))
        self.processor.add_inputs_to_inference_session(
            session, frame_idx, [object_id], input_points=[[[[x + offset, y]]]], input_labels=[[[1]]]
        )

    def segment(self, session: Any, frame_idx: int, **options: Any) -> torch.Tensor:
        masks: torch.Tensor = self.model(inference_session=session, frame_idx=frame_idx, **options).pred_masks
        return masks

    def propagate(self, session: Any, **options: Any) -> Masks:
        options.setdefault("start_frame_idx", 0)
        walk = self.model.propagate_in_video_iterator(session, **options)
        return {result.frame_idx: result.pred_masks.clone() for result in walk}


@functools.cache
def ours() -> Kit:
    model = Sam2VideoModel.from_pretrained("mini")
    model = Sam2VideoModel(model.config, EncodingOnce(model.network))  # all walk through one clip
    return Kit(model, Sam2VideoProcessor.from_pretrained("mini"))


@functools.cache
def theirs() -> Kit:
    return Kit(mini_transformers(), mini_processor())


def differ(first: torch.Tensor, second: torch.Tensor) -> bool:
    return float((first - second).abs().max()) > OTHER_BATCH


def promise_1_every_prompt_counts(kit: Kit) -> None:
    """Also the second one of an object, without a call of the model in between."""
    once, twice = kit.session(), kit.session()
    for session in (once, twice):
        kit.click(session, FIRST, 0)
        kit.segment(session, 0)
    kit.click(twice, FIRST, 4, offset=9.0)
    assert differ(kit.propagate(twice)[4], kit.propagate(once)[4])


def promise_2_an_object_starts_at_its_first_prompt(kit: Kit) -> None:
    session = kit.session()
    kit.click(session, FIRST, 0)
    kit.segment(session, 0)
    kit.click(session, SECOND, 3)
    masks = kit.propagate(session)
    assert all(bool((masks[frame][1] == -1024).all()) for frame in range(3))
    assert bool((masks[3][1] > 0).any())


def promise_3_a_correction_stays(kit: Kit) -> None:
    session = kit.session()
    kit.click(session, FIRST, 0)
    kit.segment(session, 0)
    before = kit.propagate(session)
    kit.click(session, FIRST, 3, offset=9.0)
    corrected = kit.segment(session, 3)
    assert differ(corrected, before[3])
    for _ in range(2):
        assert not differ(kit.propagate(session)[3], corrected)


def promise_3_a_correcting_click_knows_the_earlier_mask(kit: Kit) -> None:
    """The same click and the same memories, over two different earlier masks: the results differ."""
    fed: list[bool] = []
    encoder = (kit.model.network if hasattr(kit.model, "network") else kit.model).prompt_encoder
    embed = encoder.mask_embed.forward
    encoder.mask_embed.forward = lambda logits: fed.append(True) or embed(logits)
    try:
        session = kit.session()
        kit.click(session, FIRST, 0)
        kit.segment(session, 0)
        kit.propagate(session)
        assert not fed
        kit.click(session, FIRST, 3, offset=9.0)
        kit.segment(session, 3)
        assert fed
    finally:
        encoder.mask_embed.forward = embed


def promise_4_reverse_holds_for_every_object(kit: Kit) -> None:
    together, alone = kit.session(), kit.session()
    kit.click(together, FIRST, 4)
    for session in (together, alone):
        kit.click(session, SECOND, 5)
        if session is together:
            session.obj_with_new_inputs = [FIRST, SECOND]  # as if both had been said in one call
    masks, expected = (kit.propagate(s, start_frame_idx=5, reverse=True) for s in (together, alone))
    assert all(not differ(masks[frame][1], expected[frame][0]) for frame in range(5))


def promise_5_an_objects_prompt_does_not_touch_the_memory_of_others(kit: Kit) -> None:
    together, alone = kit.session(), kit.session()
    for session in (together, alone):
        kit.click(session, FIRST, 0)
        kit.segment(session, 0)
    kit.click(together, SECOND, 2)
    masks, expected = kit.propagate(together), kit.propagate(alone)
    assert all(not differ(masks[frame][0], expected[frame][0]) for frame in range(FRAMES))


def promise_6_a_mask_prompts_pointer_is_that_of_the_single_mask(kit: Kit) -> None:
    """As in `sam2`: the decoder is asked for one mask, and its first token makes the pointer."""
    decoder = (kit.model.network if hasattr(kit.model, "network") else kit.model).mask_decoder
    decode, several = decoder.forward, []
    decoder.forward = lambda *a, **k: several.append(k.get("multimask", k.get("multimask_output"))) or decode(*a, **k)
    try:
        session = kit.session()
        mask = torch.from_numpy(square_clip("drifting", FRAMES).mask(FIRST, 0))
        kit.processor.add_inputs_to_inference_session(session, 0, [FIRST], input_masks=[mask])
        kit.segment(session, 0)
    finally:
        decoder.forward = decode
    assert several == [False]


def promise_7_an_object_is_the_same_alone_and_in_a_batch(kit: Kit) -> None:
    clip = square_clip("drifting", FRAMES)
    (x0, y0), (x1, y1) = click_on(clip.mask(FIRST, 0)), click_on(clip.mask(SECOND, 0))
    together, alone = kit.session(), kit.session()
    kit.processor.add_inputs_to_inference_session(
        together,
        0,
        [FIRST, SECOND],
        input_points=[[[[x0, y0], [x0 + 8, y0], [x1, y1]], [[x1, y1]]]],
        input_labels=[[[1, 1, 0], [1]]],
    )
    kit.click(alone, SECOND, 0)
    assert not differ(kit.segment(together, 0)[1], kit.segment(alone, 0)[0])


def promise_8_objects_may_be_added_one_after_the_other(kit: Kit) -> None:
    together, alone = kit.session(), kit.session()
    for session in (together, alone):
        kit.click(session, FIRST, 0)
    kit.click(together, SECOND, 0)
    kit.segment(alone, 0)
    masks, expected = kit.propagate(together), kit.propagate(alone)
    assert all(not differ(masks[frame][0], expected[frame][0]) for frame in range(FRAMES))


def promise_8_the_callers_list_of_ids_stays_as_it_is(kit: Kit) -> None:
    callers_list = [FIRST]
    session = kit.session()
    kit.processor.add_inputs_to_inference_session(
        session, 0, callers_list, input_points=[[[[60.0, 70.0]]]], input_labels=[[[1]]]
    )
    kit.segment(session, 0)
    assert callers_list == [FIRST]


def held_bytes(root: Any) -> int:
    """Bytes of the distinct tensors and arrays that can be reached from an object, the model's weights left out."""
    seen: set[int] = {id(mini()), id(mini_transformers())}
    storages: dict[int, int] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (str, bytes, int, float, type, torch.device, torch.dtype)):
            continue
        seen.add(id(one))
        if isinstance(one, torch.nn.Module):
            continue
        if isinstance(one, torch.Tensor):
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, np.ndarray):
            storages[one.ctypes.data] = one.nbytes
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set)):
            waiting += list(one)
        elif hasattr(one, "__dict__"):
            waiting += list(vars(one).values())
    return sum(storages.values())


def promise_9_a_stream_keeps_the_same_after_more_frames(kit: Kit) -> None:
    frames = square_clip("drifting", FRAMES).frames_THW3
    session = kit.processor.init_video_session()
    x, y = click_on(square_clip("drifting", FRAMES).mask(FIRST, 0))
    kept = []
    for index in range(12):
        inputs = kit.processor(images=frames[index % FRAMES], return_tensors="pt")
        if index == 0:
            kit.processor.add_inputs_to_inference_session(
                session, 0, 1, [[[[x, y]]]], [[[1]]], original_size=inputs.original_sizes[0]
            )
        kit.model(inference_session=session, frame=inputs.pixel_values[0])
        kept.append(held_bytes(session))
    assert max(kept[8:]) - min(kept[8:]) <= 4 * 2**10, "a pointer a frame, up to 15 of them"


def promise_9_a_session_keeps_no_full_size_masks(kit: Kit) -> None:
    """Less than 64 KiB for an object and frame of mini; its logits are 16 KiB, a full-size mask would be 256 KiB."""
    session = kit.session(max_vision_features_cache_size=1)
    kit.click(session, FIRST, 0)
    kit.segment(session, 0)
    before = held_bytes(session)
    kit.propagate(session)
    assert (held_bytes(session) - before) / (FRAMES - 1) < 64 * 2**10


def promise_10_holes_are_filled_and_specks_removed(kit: Kit) -> None:
    logits = torch.full((1, 1, 64, 64), -5.0)
    logits[..., 10:40, 10:40] = 5.0
    logits[..., 20:22, 20:22] = -5.0
    logits[..., 50, 50] = 5.0
    (mask,) = kit.processor.post_process_masks([logits.clone()], [[64, 64]], max_hole_area=8, max_sprinkle_area=8)
    expected = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    expected[..., 10:40, 10:40] = True
    assert torch.equal(mask, expected)


def promise_11_tuples_are_as_good_as_lists(kit: Kit) -> None:
    x, y = click_on(square_clip("drifting", FRAMES).mask(FIRST, 0))
    as_tuples, as_lists = kit.session(), kit.session()
    kit.processor.add_inputs_to_inference_session(as_tuples, 0, 1, ((((x, y),),),), (((1,),),))
    kit.click(as_lists, FIRST, 0)
    assert torch.equal(kit.segment(as_tuples, 0), kit.segment(as_lists, 0))


def refused(kit: Kit, message: str, frame_idx: int = 0, **inputs: Any) -> None:
    session = kit.session()
    with pytest.raises(ValueError, match=message):
        kit.processor.add_inputs_to_inference_session(session, frame_idx, 7, **inputs)
    assert session.obj_ids == []


def promise_11_points_outside_of_the_frame_are_refused(kit: Kit) -> None:
    refused(kit, r"object 7, frame 0: .*\(999, 3\)", input_points=[[[[999, 3]]]], input_labels=[[[1]]])


def promise_11_nan_is_refused(kit: Kit) -> None:
    refused(kit, "object 7, frame 0: .*nan", input_points=[[[[float("nan"), 3]]]], input_labels=[[[1]]])


def promise_11_unknown_labels_are_refused(kit: Kit) -> None:
    refused(kit, "object 7, frame 0: .*got 5", input_points=[[[[3, 3]]]], input_labels=[[[5]]])


def promise_11_boxes_the_wrong_way_round_are_refused(kit: Kit) -> None:
    refused(kit, "object 7, frame 0: .*x0 < x1", input_boxes=[[[50, 50, 10, 10]]])


def promise_11_empty_masks_are_refused(kit: Kit) -> None:
    refused(kit, "object 7, frame 0: mask: is empty", input_masks=[np.zeros((256, 256), np.bool_)])


def promise_11_frames_beyond_the_video_are_refused(kit: Kit) -> None:
    refused(kit, "object 7, frame 99: the video has 6 frames", 99, input_points=[[[[3, 3]]]], input_labels=[[[1]]])


# Where it does not give other masks, but none.
ERRORS = {promise_8_objects_may_be_added_one_after_the_other: "conditioning outputs cannot be empty"}

PROMISES: list[Callable[[Kit], None]] = [value for name, value in globals().items() if name.startswith("promise_")]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__.removeprefix("promise_"))
def test_kept(promise: Callable[[Kit], None]) -> None:
    promise(ours())


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__.removeprefix("promise_"))
@pytest.mark.slow
def test_broken_by_transformers(promise: Callable[[Kit], None]) -> None:
    error = ERRORS.get(promise)
    expected = (AssertionError, pytest.fail.Exception) if error is None else ValueError
    with pytest.raises(expected, match=error):
        promise(theirs())


def test_every_row_has_a_promise() -> None:
    assert {int(promise.__name__.split("_")[1]) for promise in PROMISES} == set(range(1, 12))
