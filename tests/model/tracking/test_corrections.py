"""Prompts on frames that have a mask: decoded with what the frame had, kept, and remembered like seeds.

`test_sam2_notebook` compares these masks with those of `sam2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch

from model.network.features import Segmentation
from model.network.sam2 import Sam2
from model.prompts import MaskPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.history import History, HistoryRule
from model.tracking.memory_bank import BACKWARD, FORWARD, MemoryBank
from model.tracking.replay import replay
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from tests.reference.mini import click_on, mini_processor, mini_transformers, square_clip
from tests.support.sessions import (
    OTHER_BATCH,
    Logits,
    WatchedSam2,
    box,
    by_object,
    click,
    clip,
    frames_of,
    gap,
    mask,
    mini,
    same_bits,
    small,
)

pytestmark = pytest.mark.slow

FRAMES = 8
OFF = PointPrompt(((3.0, 3.0),), (1,))


def new_session(snapshot_every: int = 3, network: Sam2 | None = None, **settings: Any) -> VideoSession:
    return VideoSession(network or small(), frames_of(clip(FRAMES)), history=HistoryRule(snapshot_every), **settings)


def tracked_session(direction: str = "forward", **settings: Any) -> tuple[VideoSession, Logits]:
    """Two objects, prompted on frame 0 (or the last one) and tracked once."""
    session = new_session(**settings)
    start = 0 if direction == "forward" else FRAMES - 1
    for object_id in (1, 2):
        session.add_prompt(object_id, start, box(clip(FRAMES), object_id, start))
    return session, by_object(session.propagate(direction))


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("snapshot_every", [1, 3, 100])
def test_a_tracked_frame_is_replayed_bit_for_bit_from_the_nearest_snapshot(direction: str, snapshot_every: int) -> None:
    session, before = tracked_session(direction, snapshot_every=snapshot_every)
    for frame_index in range(1, FRAMES - 1):
        past = replay(session.state, session.objects.values(), frame_index)
        for object_id in (1, 2):
            assert torch.equal(past[object_id].logits_BHW[0], before[object_id, frame_index])


def test_tracked_frames_are_replayed_where_prompted_memories_come_and_go() -> None:
    session = VideoSession(small(), frames_of(clip(16)), 2, history=HistoryRule(100))
    for frame_index in (0, 3, 5, 8, 12):
        session.add_prompt(1, frame_index, box(clip(16), 1, frame_index))
    before = by_object(session.propagate())
    for frame_index in (1, 4, 6, 7, 9, 11, 13, 15):
        assert torch.equal(
            replay(session.state, session.objects.values(), frame_index)[1].logits_BHW[0], before[1, frame_index]
        )


def test_a_correction_uses_what_the_frame_had() -> None:
    """The same click is decoded otherwise on a frame that was tracked than as a seed."""
    session, _ = tracked_session()
    corrected, seeded = session, new_session()
    for object_id in (1, 2):
        seeded.add_prompt(object_id, 0, box(clip(FRAMES), object_id, 0))
    for each in (corrected, seeded):
        each.add_prompt(1, 4, OFF)
    assert corrected.objects[1].prompts[4].is_correction
    assert not seeded.objects[1].prompts[4].is_correction
    as_correction, as_seed = corrected.segment_frame(4), seeded.segment_frame(4)
    assert not torch.equal(as_correction.logits_BHW[0], as_seed.logits_BHW[0])


def test_a_correction_stays_and_changes_frames_after_and_before_it() -> None:
    session, before = tracked_session()
    session.add_prompt(1, 4, OFF)
    corrected = session.segment_frame(4)
    first, second = by_object(session.propagate()), by_object(session.propagate())
    assert corrected.is_prompt == (True, False)
    for logits in (first, second):
        assert torch.equal(logits[1, 4], corrected.logits_BHW[0])
    assert gap(first, second) == 0
    assert all(not torch.equal(first[1, index], before[1, index]) for index in range(1, FRAMES))
    assert torch.equal(first[1, 0], before[1, 0]), "the seed is a seed still"
    assert gap(first, before, [2]) < OTHER_BATCH


BOTH = PointPrompt((*OFF.points_xy, (9.0, 5.0)), (1, 0))


@pytest.mark.parametrize("frame_index", [0, 4])
def test_clicks_that_come_before_the_mask_is_asked_for_are_one_prompt(frame_index: int) -> None:
    """On the frame of a seed and on a tracked one."""
    at_once, one_by_one = tracked_session()[0], tracked_session()[0]
    at_once.add_prompt(1, frame_index, BOTH)
    for prompt in (OFF, BOTH):
        one_by_one.add_prompt(1, frame_index, prompt)
    assert gap(by_object(at_once.propagate()), by_object(one_by_one.propagate())) == 0


@pytest.mark.parametrize("frame_index", [0, 4])
def test_a_click_on_a_mask_that_is_there_refines_it(frame_index: int) -> None:
    """The same click gives another mask where another click came before, and the last mask is kept."""
    sessions = tracked_session()[0], tracked_session()[0]
    masks = []
    for session, first in zip(sessions, (OFF, PointPrompt(((20.0, 20.0),), (0,))), strict=True):
        session.add_prompt(1, frame_index, first)
        session.condition()
        session.add_prompt(1, frame_index, BOTH)
        masks.append(session.segment_frame(frame_index).logits_BHW[0])
        for _ in range(2):
            assert torch.equal(by_object(session.propagate())[1, frame_index], masks[-1])
    assert not torch.equal(*masks)


def test_a_mask_that_was_refined_is_not_made_anew() -> None:
    """Not even where its memory was forgotten, because the session bounds them."""
    steps: list[str] = []
    for history in (None, HistoryRule(3)):
        network = WatchedSam2(lambda step, _: steps.append(step))
        session = VideoSession(network, frames_of(clip(FRAMES)), 2, history=history)
        for frame_index in (0, 2, 4, 6):
            session.add_prompt(1, frame_index, box(clip(FRAMES), 1, frame_index))
        session.segment_frame(0)
        session.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
        refined = session.segment_frame(0).logits_BHW
        first = by_object(session.propagate())
        assert 0 not in session.objects[1].bank.prompted
        steps.clear()
        assert gap(by_object(session.propagate()), first) == 0
        assert torch.equal(first[1, 0], refined[0])
        assert steps.count("segment") == FRAMES - 4, "tracked frames alone"


def test_a_refined_seed_knows_the_memories_if_a_walk_has_come_to_its_frame() -> None:
    """As in `sam2`, where a seed counts as tracked as soon as a propagation has passed it."""
    looked_at, walked = new_session(), new_session()
    masks = []
    for session in (looked_at, walked):
        session.add_prompt(1, 3, box(clip(FRAMES), 1, 3))
        session.segment_frame(3) if session is looked_at else list(session.propagate())
        session.add_prompt(1, 3, click(clip(FRAMES), 1, 3))
        assert session.objects[1].prompts[3].is_correction == (session is walked)
        masks.append(session.segment_frame(3).logits_BHW)
    assert not torch.equal(*masks)


def test_memories_of_a_passed_seed_are_found_again_from_any_snapshot() -> None:
    """Seeds on 0 and 5: the bank that frame 5 is refined with is the same, however few snapshots are kept."""
    masks = []
    for snapshot_every in (1, 3, 100):
        session = new_session(snapshot_every)
        for frame_index in (0, 5):
            session.add_prompt(1, frame_index, box(clip(FRAMES), 1, frame_index))
        list(session.propagate())
        list(session.walk_from(6, BACKWARD))  # nothing is advanced, so nothing is remembered of it
        session.add_prompt(1, 5, click(clip(FRAMES), 1, 5))
        masks.append(session.segment_frame(5).logits_BHW)
        past = session.objects[1].prompts[5].past
        assert past is not None
        assert (sorted(past.bank.prompted), sorted(past.bank.tracked)) == ([0, 5], [1, 2, 3, 4])
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


def test_clearing_a_refined_frame_takes_all_of_it_back() -> None:
    session, fresh = new_session(), new_session()
    for each in (session, fresh):
        each.add_prompt(1, 5, box(clip(FRAMES), 1, 5))
    session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    list(session.propagate())
    session.add_prompt(1, 0, OFF)
    list(session.propagate())
    session.clear_prompts(1, 0)
    for each in (session, fresh):
        each.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
    assert not session.objects[1].prompts[0].is_correction
    assert torch.equal(session.segment_frame(0).logits_BHW, fresh.segment_frame(0).logits_BHW)
    assert same_bits(session.propagate(), fresh.propagate())


def test_a_click_on_a_given_mask_refines_that_mask() -> None:
    session, fresh = new_session(), new_session()
    session.add_prompt(1, 0, mask(clip(FRAMES), 1, 0))
    session.condition()
    for each in (session, fresh):
        each.add_prompt(1, 0, OFF)
    assert not torch.equal(session.segment_frame(0).logits_BHW, fresh.segment_frame(0).logits_BHW)


def test_refined_and_new_prompts_of_one_frame_do_not_share_a_batch() -> None:
    """Both have one click, and only one of them has an earlier mask."""
    together, alone = new_session(), new_session()
    for session in (together, alone):
        session.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
        session.condition()
        session.add_prompt(1, 0, OFF)
    together.add_prompt(2, 0, click(clip(FRAMES), 2, 0))
    assert gap(by_object(together.propagate()), by_object(alone.propagate()), [1]) < OTHER_BATCH


def test_a_prompt_on_a_frame_that_was_not_reached_is_a_seed() -> None:
    session = new_session()
    session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    walk = session.propagate()
    for _ in range(3):
        next(walk)
    walk.close()
    session.add_prompt(1, 2, OFF)
    session.add_prompt(1, 6, OFF)
    assert session.objects[1].prompts[2].is_correction
    assert not session.objects[1].prompts[6].is_correction


def test_a_mask_on_a_tracked_frame_is_taken_as_it_is() -> None:
    session, _ = tracked_session()
    session.add_prompt(1, 4, mask(clip(FRAMES), 1, 4))
    seeded = new_session()
    seeded.add_prompt(1, 4, mask(clip(FRAMES), 1, 4))
    assert torch.equal(session.segment_frame(4).logits_BHW[0], seeded.segment_frame(4).logits_BHW[0])


def test_a_mask_on_a_tracked_frame_costs_no_second_walk() -> None:
    steps: list[str] = []
    session = VideoSession(
        WatchedSam2(lambda step, _: steps.append(step)), frames_of(clip(FRAMES)), history=HistoryRule()
    )
    session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    list(session.propagate())
    session.add_prompt(1, FRAMES - 1, mask(clip(FRAMES), 1, FRAMES - 1))
    assert steps.count("segment") == FRAMES
    session.condition()
    assert steps.count("segment") == FRAMES


def test_corrections_of_one_pass_do_not_depend_on_their_order() -> None:
    one, other = tracked_session()[0], tracked_session()[0]
    for frame_index in (3, 6):
        one.add_prompt(1, frame_index, OFF)
    for frame_index in (6, 3):
        other.add_prompt(1, frame_index, OFF)
        other.condition()
    assert gap(by_object(one.propagate()), by_object(other.propagate())) == 0


def test_clearing_a_correction_brings_the_old_masks_back() -> None:
    session, before = tracked_session()
    session.add_prompt(1, 4, OFF)
    list(session.propagate())
    session.clear_prompts(1, 4)
    assert gap(by_object(session.propagate()), before) == 0


def test_a_look_after_a_correction_was_cleared_does_not_show_the_mask_that_it_led_to() -> None:
    session, _ = tracked_session()
    session.add_prompt(1, 4, OFF)
    corrected = by_object(session.propagate())
    assert torch.equal(by_object([session.segment_frame(6)])[1, 6], corrected[1, 6])
    session.clear_prompts(1, 4)
    assert not torch.equal(by_object([session.segment_frame(6)])[1, 6], corrected[1, 6])


def test_corrections_work_where_prompted_memories_are_bounded() -> None:
    session = new_session(max_prompted_memories=2)
    session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    before = by_object(session.propagate())
    for frame_index in (2, 4, 6):
        session.add_prompt(1, frame_index, OFF)
    after = by_object(session.propagate())
    assert all(not torch.equal(after[1, index], before[1, index]) for index in range(1, FRAMES))
    assert gap(by_object(session.propagate()), after) == 0
    assert len(session.objects[1].bank.prompted) < 5


def test_a_session_without_history_takes_later_prompts_as_seeds() -> None:
    session = VideoSession(small(), frames_of(clip(FRAMES)))
    session.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
    list(session.propagate())
    session.add_prompt(1, 4, OFF)
    assert not session.objects[1].prompts[4].is_correction
    assert session.objects[1].history is None


def test_segmenting_a_tracked_frame_gives_its_mask_again_without_computing() -> None:
    steps: list[str] = []
    session, before = tracked_session(network=WatchedSam2(lambda step, _: steps.append(step)))
    assert steps
    steps.clear()
    result = session.segment_frame(5)
    assert torch.equal(result.logits_BHW, torch.stack([before[1, 5], before[2, 5]]))
    assert not steps


def test_segmenting_frame_by_frame_is_propagating() -> None:
    _, before = tracked_session()
    fresh = new_session()
    for object_id in (1, 2):
        fresh.add_prompt(object_id, 0, box(clip(FRAMES), object_id, 0))
    for frame_index in range(FRAMES):
        result = fresh.segment_frame(frame_index)
        assert torch.equal(result.logits_BHW, torch.stack([before[1, frame_index], before[2, frame_index]]))


def test_a_walk_from_the_middle_goes_on_with_what_was_tracked_before() -> None:
    """Frames 0 to 3, then 4 to 7: the same as in one go; and again from 5, with the memories that frame 5 had."""
    _, whole = tracked_session()
    session = new_session()
    for object_id in (1, 2):
        session.add_prompt(object_id, 0, box(clip(FRAMES), object_id, 0))
    first = by_object(advance_all(session, 0, 4))
    second = by_object(advance_all(session, 4, 4))
    assert gap(first | second, whole) == 0
    again = by_object(advance_all(session, 5, 2))
    assert set(again) == {(object_id, index) for object_id in (1, 2) for index in (5, 6)}
    assert gap(again, {key: whole[key] for key in again}) == 0


def test_looking_at_a_prompted_frame_disturbs_no_walk() -> None:
    session, before = tracked_session()
    for object_id in (1, 2):
        session.add_prompt(object_id, 3, box(clip(FRAMES), object_id, 3))
    fresh = new_session()
    for each in (session, fresh):
        for object_id in (1, 2):
            each.add_prompt(object_id, 0, box(clip(FRAMES), object_id, 0))
    walk, undisturbed = session.propagate(), by_object(session.propagate())
    looked_at: Logits = {}
    for result in walk:
        looked_at |= by_object([result])
        assert session.segment_frame(3).is_prompt == (True, True)
    assert gap(looked_at, undisturbed) == 0
    assert gap(looked_at, before, [1]) > 0


def advance_all(session: VideoSession, start: int, count: int) -> Iterator[FrameResult]:
    for step in islice(session.walk_from(start, FORWARD), count):
        yield advance([step])[0]


def test_snapshots_that_no_frame_needs_are_dropped() -> None:
    """Ten passes over 40 frames with 10 snapshots each."""
    history = History(HistoryRule(snapshot_every=4))
    bank: MemoryBank[torch.Tensor] = MemoryBank()
    nothing = torch.zeros(1)
    for walk in range(10):
        direction = FORWARD if walk % 2 == 0 else BACKWARD
        history.start_walk(direction)
        for index in range(40) if direction == FORWARD else range(39, -1, -1):
            if index % 5 == 0:
                history.pass_prompted(index, bank)
                continue
            history.before_frame(index, bank)
            history.after_frame(index, 0, Segmentation(nothing, nothing, nothing, nothing))
    assert sum(len(walk.banks) for walk in history.walks.values()) <= 40
    for index in range(40):
        start, _ = history.snapshot(index)
        assert 0 <= (index - start) * history.direction(index) < 4


@pytest.mark.slow
def test_corrections_decode_and_propagate_as_in_transformers_with_the_earlier_logits_fed() -> None:
    """Its parts can do what its session does not: previous logits, memory, and a corrected frame that is kept."""
    drawn, frame_index = square_clip("drifting", 6), 3
    start, (x, y) = click_on(drawn.mask(1, 0)), click_on(drawn.mask(1, frame_index))
    correction = ((x + 9.0, y), (x - 40.0, y))
    ours = VideoSession(mini(), ArrayFrames(drawn.frames_THW3), history=HistoryRule())
    ours.add_prompt(1, 0, PointPrompt((start,), (1,)))
    list(ours.propagate())
    ours.add_prompt(1, frame_index, PointPrompt(correction, (1, 0)))
    after = by_object(ours.propagate())
    theirs = _corrected_by_transformers(drawn.frames_THW3, start, frame_index, correction)
    assert max(float((after[1, index] - theirs[index]).abs().max()) for index in range(6)) < 1e-3


def _corrected_by_transformers(
    frames: Any, start: tuple[float, float], frame_index: int, correction: tuple[tuple[float, float], ...]
) -> dict[int, torch.Tensor]:
    network, processor = mini_transformers(), mini_processor()
    session = processor.init_video_session(video=list(frames), max_vision_features_cache_size=20)
    processor.add_inputs_to_inference_session(session, 0, [1], input_points=[[[list(start)]]], input_labels=[[[1]]])
    network(inference_session=session, frame_idx=0)
    list(network.propagate_in_video_iterator(session))
    outputs = session.output_dict_per_obj[0]
    prior = outputs["non_cond_frame_outputs"][frame_index]["pred_masks"].clamp(-32, 32)
    with torch.inference_mode():
        corrected = network._run_single_frame_inference(
            inference_session=session,
            frame_idx=frame_index,
            obj_idx=0,
            batch_size=1,
            is_init_cond_frame=False,
            point_inputs={
                "point_coords": torch.tensor([[[list(point) for point in correction]]]),
                "point_labels": torch.tensor([[[1, 0]]]),
            },
            mask_inputs=None,
            reverse=False,
            prev_sam_mask_logits=prior,
        )
        del outputs["non_cond_frame_outputs"][frame_index]
        session.store_output(0, frame_index, output_value=corrected, is_conditioning_frame=True)
        network._batch_encode_memories(
            inference_session=session,
            frame_idx=frame_index,
            objects_needing_memory_encoding=[0],
            high_res_masks_for_memory=[corrected["high_res_masks"]],
            object_score_logits_for_memory=[corrected["object_score_logits"]],
            is_mask_from_pts_per_obj=[True],
        )
    return {r.frame_idx: r.pred_masks[0, 0] for r in network.propagate_in_video_iterator(session, start_frame_idx=0)}


def test_masks_and_clicks_may_follow_one_another_on_a_frame() -> None:
    session, _ = tracked_session()
    for prompt in (mask(clip(FRAMES), 1, 4), OFF, mask(clip(FRAMES), 1, 4)):
        session.add_prompt(1, 4, prompt)
        assert session.objects[1].prompts[4].is_correction
        session.segment_frame(4)
    assert isinstance(session.objects[1].prompts[4].prompt, MaskPrompt)
