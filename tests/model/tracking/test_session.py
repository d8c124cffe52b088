"""Sessions over files: what is covered, in which order prompts count, and how much is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pytest
import torch

from model.prompts import HiddenPrompt, MaskPrompt, PointPrompt
from model.tracking.frames import ArrayFrames, Frame
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from pipeline.video.encode import encode_mp4
from pipeline.video.frames import VideoFrames
from tests.support.clips import iou
from tests.support.media_files import media_of
from tests.support.sessions import OTHER_BATCH, box, by_object, click, clip, frames_of, gap, mask, same_bits, small

FRAMES = 8


def new_session(**settings: int) -> VideoSession:
    return VideoSession(small(), frames_of(clip(FRAMES)), **settings)


def two_objects(**settings: int) -> VideoSession:
    """Object 1 is prompted on frames 2 and 5, object 2 on frame 4."""
    session = new_session(**settings)
    session.add_prompt(1, 2, click(clip(FRAMES), 1, 2))
    session.add_prompt(1, 5, box(clip(FRAMES), 1, 5))
    session.add_prompt(2, 4, mask(clip(FRAMES), 2, 4))
    return session


def covered(session: VideoSession, direction: str) -> dict[int, list[int]]:
    frames: dict[int, list[int]] = {1: [], 2: []}
    for result in session.propagate(direction):
        for object_id in result.object_ids:
            frames[object_id].append(result.frame_index)
    return frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "first", "second"),
    [
        ("forward", [2, 3, 4, 5, 6, 7], [4, 5, 6, 7]),
        ("backward", [5, 4, 3, 2, 1, 0], [4, 3, 2, 1, 0]),
        ("both", [2, 3, 4, 5, 6, 7, 1, 0], [4, 5, 6, 7, 3, 2, 1, 0]),
    ],
)
def test_each_direction_covers_its_frames_once(direction: str, first: list[int], second: list[int]) -> None:
    assert covered(two_objects(), direction) == {1: first, 2: second}


def test_results_say_what_comes_from_a_prompt() -> None:
    prompted = {
        (object_id, result.frame_index)
        for result in two_objects().propagate("both")
        for object_id, is_prompt in zip(result.object_ids, result.is_prompt, strict=True)
        if is_prompt
    }
    assert prompted == {(1, 2), (1, 5), (2, 4)}


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_drawn_discs_are_tracked(direction: str) -> None:
    session = new_session()
    for object_id in (1, 2):
        session.add_prompt(object_id, 3, box(clip(FRAMES), object_id, 3))
    for result in session.propagate(direction):
        for row, object_id in enumerate(result.object_ids):
            truth = clip(FRAMES).mask(object_id, result.frame_index)
            assert iou(result.masks()[row].numpy(), truth) > 0.6
            assert result.object_scores_B[row] > 0


def test_the_order_of_adding_seeds_does_not_matter() -> None:
    turned = new_session()
    turned.add_prompt(2, 4, mask(clip(FRAMES), 2, 4))
    turned.add_prompt(1, 5, box(clip(FRAMES), 1, 5))
    turned.add_prompt(1, 2, click(clip(FRAMES), 1, 2))
    assert gap(by_object(two_objects().propagate("both")), by_object(turned.propagate("both"))) == 0


@pytest.mark.slow
def test_a_prompt_is_replaced_by_a_later_one_on_its_frame() -> None:
    session, expected = new_session(), new_session()
    session.add_prompt(1, 0, click(clip(FRAMES), 2, 0))
    for each in (session, expected):
        each.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
    assert same_bits(session.propagate(), expected.propagate())


def test_later_prompts_are_memory_for_earlier_frames() -> None:
    one, two = new_session(), new_session()
    for session in (one, two):
        session.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
    two.add_prompt(1, 6, box(clip(FRAMES), 1, 6))
    first, second = by_object(one.propagate()), by_object(two.propagate())
    assert torch.equal(first[1, 0], second[1, 0])
    assert not torch.equal(first[1, 1], second[1, 1])


def test_backward_is_a_fresh_pass_from_the_prompts() -> None:
    session, fresh = two_objects(), two_objects()
    list(session.propagate("forward"))
    assert same_bits(session.propagate("backward"), fresh.propagate("backward"))


def test_objects_do_not_change_one_another() -> None:
    together = by_object(two_objects().propagate("both"))
    for object_id in (1, 2):
        alone = two_objects()
        alone.remove_object(3 - object_id)
        assert gap(together, by_object(alone.propagate("both")), [object_id]) < OTHER_BATCH


@pytest.mark.slow
def test_sessions_share_batches_without_changing_one_another() -> None:
    alone = by_object(two_objects().propagate())
    sessions = [two_objects(), two_objects()]
    walks = [session.walk("forward") for session in sessions]
    together: list[list[FrameResult]] = [[], []]
    for steps in zip(*walks, strict=True):
        for results, result in zip(together, advance(steps), strict=True):
            results.append(result)
    for results in together:
        assert gap(alone, by_object(results)) < OTHER_BATCH


def test_a_prompt_beyond_the_end_is_named() -> None:
    for bound in (None, 2):
        session = two_objects(max_prompted_memories=bound)
        session.add_prompt(2, 40, PointPrompt(((1, 1),), (1,)))
        with pytest.raises(ValueError, match="object 2, frame 40: the video ends before this frame"):
            list(session.propagate())


@pytest.mark.parametrize(
    ("frame_index", "prompt", "message"),
    [
        (-1, PointPrompt(((1, 1),), (1,)), "object 9, frame -1: frame_index must be at least 0"),
        (0, PointPrompt(((70, 1),), (1,)), r"object 9, frame 0: points: \(70, 1\) lies outside of the frame"),
        (0, MaskPrompt(torch.ones(3, 3, dtype=torch.bool).numpy()), r"object 9, frame 0: mask: is \[3, 3\]"),
    ],
)
def test_a_bad_prompt_is_named_and_changes_nothing(
    frame_index: int, prompt: PointPrompt | MaskPrompt, message: str
) -> None:
    session = two_objects()
    with pytest.raises(ValueError, match=message):
        session.add_prompt(9, frame_index, prompt)
    assert list(session.objects) == [1, 2]
    assert same_bits(session.propagate(), two_objects().propagate())


def test_unknown_directions_and_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="direction must be one of forward, backward, both, got 'sideways'"):
        list(two_objects().propagate("sideways"))
    with pytest.raises(ValueError, match="at least 2"):
        new_session(max_prompted_memories=1)


def test_a_session_without_objects_yields_nothing() -> None:
    assert list(new_session().propagate()) == []


def test_an_interrupted_walk_is_resumed_where_it_stood() -> None:
    whole = list(two_objects().propagate("both"))
    session = two_objects()
    walk = session.propagate("both")
    started = [next(walk) for _ in range(7)]
    assert same_bits(started + list(session.propagate("both", resume=True)), whole)
    with pytest.raises(ValueError, match="no walk in direction 'forward' to resume"):
        next(session.propagate("forward", resume=True))


def test_an_object_added_while_a_walk_is_under_way_joins_it() -> None:
    session = new_session()
    session.add_prompt(1, 0, click(clip(FRAMES), 1, 0))
    frames: dict[int, tuple[int, ...]] = {}
    for result in session.propagate():
        frames[result.frame_index] = result.object_ids
        if result.frame_index == 3:
            session.add_prompt(2, 5, click(clip(FRAMES), 2, 5))
    assert frames == {index: (1,) if index < 5 else (1, 2) for index in range(FRAMES)}


def test_clearing_the_only_prompt_removes_the_object_and_other_prompts_stay() -> None:
    session, expected = two_objects(), two_objects()
    session.condition()
    session.clear_prompts(2, 4)
    session.clear_prompts(1, 5)
    assert list(session.objects) == [1]
    expected.remove_object(2)
    del expected.objects[1].prompts[5]
    assert same_bits(session.propagate(), expected.propagate())
    for object_id, frame_index in ((1, 3), (2, 4)):
        with pytest.raises(ValueError, match=f"object {object_id}, frame {frame_index}: there is no prompt to clear"):
            session.clear_prompts(object_id, frame_index)
    with pytest.raises(ValueError, match=r"object 2: is not in the session, which has \[1\]"):
        session.remove_object(2)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_the_video() -> None:
    session = VideoSession(small(), frames_of(clip(40)))
    session.add_prompt(1, 0, click(clip(40), 1, 0))
    bank = session.objects[1].bank
    for result in session.propagate():
        assert len(bank.tracked) == min(result.frame_index, 6)
        assert len(bank.pointers) == min(result.frame_index, 15)
        assert len(bank.prompted) == 1


class CountingFrames(ArrayFrames):
    """Frames that note which were asked for out of turn."""

    asked: tuple[int, ...] = ()

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        self.asked += tuple(indexes)
        return super().at(indexes)


def boxed_everywhere(bound: int | None, every: int) -> tuple[VideoSession, CountingFrames]:
    frames = CountingFrames(clip(30).frames_THW3)
    session = VideoSession(small(), frames, bound)
    for index in range(0, 30, every):
        session.add_prompt(1, index, box(clip(30), 1, index))
    return session, frames


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_prompted_memories_are_bounded_where_every_frame_has_a_box(every: int, direction: str) -> None:
    session, frames = boxed_everywhere(4, every)
    for _ in session.propagate(direction):
        said = session.objects[1].prompts.values()
        assert len(session.objects[1].bank.prompted) <= 4 + 15 // every + 2
        assert sum(one.segmentation is not None for one in said) <= 4 + 15 // every + 2
    assert len(frames.asked) == len(set(frames.asked)), "no frame is fetched twice"
    assert frames.asked == () if every == 1 else len(frames.asked) <= 30 / every


@pytest.mark.slow
def test_a_video_file_is_read_out_of_turn_while_it_is_walked() -> None:
    """Prompted frames ahead of the walk come from the same decoder, which is in the middle of the file."""
    data = encode_mp4(clip(30).frames_THW3, 10)
    with VideoFrames(media_of(data)) as source:
        in_memory = ArrayFrames([frame.pixels_HW3 for frame in source.forward(0)])
    propagated = []
    for frames in (VideoFrames(media_of(data)), in_memory):
        session = VideoSession(small(), frames, 2)
        for index in range(2, 30, 6):
            session.add_prompt(1, index, box(clip(30), 1, index))
        propagated.append(list(session.propagate("both")))
    assert same_bits(*propagated)


@pytest.mark.slow
def test_bounding_storage_changes_no_mask() -> None:
    """The window holds all that the rule of the nearest prompted memories looks at."""
    bounded, _ = boxed_everywhere(3, 3)
    whole, _ = boxed_everywhere(None, 3)
    whole.condition()
    tracked = whole.objects[1]
    tracked.bank = dataclasses.replace(tracked.bank, max_prompted=3)
    assert gap(by_object(bounded.propagate()), by_object(whole.propagate())) == 0


@pytest.mark.slow
def test_an_object_that_is_said_to_be_hidden_is_hidden_there_and_remembered_so() -> None:
    def followed(*, is_hidden: bool, through_a_file: bool = False) -> dict[int, FrameResult]:
        session = new_session()
        session.add_prompt(1, 0, mask(clip(FRAMES), 1, 0))
        if is_hidden:
            session.add_prompt(1, 4, HiddenPrompt.of((48, 64)))
        if through_a_file:
            session = VideoSession.from_bytes(session.to_bytes(), small(), frames_of(clip(FRAMES)))
        return {result.frame_index: result for result in session.propagate("forward")}

    plain, hidden = followed(is_hidden=False), followed(is_hidden=True)
    assert hidden[4].object_scores_B.tolist() == [-10.0]
    assert float(hidden[4].logits_BHW.max()) < 0
    assert not torch.equal(plain[5].logits_BHW, hidden[5].logits_BHW)
    assert torch.equal(followed(is_hidden=True, through_a_file=True)[5].logits_BHW, hidden[5].logits_BHW)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("forward", {2: None, 3: 2, 4: 2, 5: None, 6: 5, 7: 5}),
        ("backward", {5: None, 4: 5, 3: 5, 2: None, 1: 2, 0: 2}),
        ("both", {2: None, 3: 2, 4: 2, 5: None, 6: 5, 7: 5, 1: 2, 0: 2}),
    ],
)
@pytest.mark.parametrize("bound", [None, 2])
def test_results_have_the_pointer_of_the_prompt_that_the_walk_passed_last(
    direction: str, expected: dict[int, int | None], bound: int | None
) -> None:
    session = two_objects(max_prompted_memories=bound)
    found, at_prompts = {}, {}
    for result in session.propagate(direction):
        if 1 in result.object_ids and result.pointers is not None:
            place = result.object_ids.index(1)
            found[result.frame_index] = result.pointers.at_prompts[place]
            if result.is_prompt[place]:
                at_prompts[result.frame_index] = result.pointers.here_BC[place]
    assert {frame: pointer is not None for frame, pointer in found.items()} == {
        frame: prompt is not None for frame, prompt in expected.items()
    }
    assert not torch.equal(at_prompts[2], at_prompts[5])
    for frame, prompt in expected.items():
        pointer = found[frame]
        assert prompt is None or (pointer is not None and torch.equal(pointer[0], at_prompts[prompt])), frame


def test_a_prompt_that_says_that_an_object_is_hidden_is_nothing_to_look_like() -> None:
    session = new_session()
    session.add_prompt(1, 0, mask(clip(FRAMES), 1, 0))
    session.add_prompt(1, 3, HiddenPrompt.of((48, 64)))
    seen = {one.frame_index: one.pointers for one in session.propagate("forward") if one.pointers is not None}
    after, first = seen[5].at_prompts[0], seen[0].here_BC
    assert after is not None
    assert torch.equal(after, first)
