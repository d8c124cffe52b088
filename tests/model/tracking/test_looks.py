"""A look at another frame, or a second walk, does not change the walk that is under way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch

from model.tracking.history import HistoryRule
from model.tracking.memory_bank import BACKWARD, FORWARD
from model.tracking.replay import replay
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from tests.support.sessions import Logits, box, by_object, clip, frames_of, gap, small

pytestmark = pytest.mark.slow

FRAMES = 12
LEFT_OFF = 6
RULE = HistoryRule(4)


def new_session(history: HistoryRule | None = RULE) -> VideoSession:
    """Object 1 is prompted at the start, object 2 at both ends, so that both directions track it."""
    session = VideoSession(small(), frames_of(clip(FRAMES)), history=history)
    session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    for index in (0, FRAMES - 1):
        session.add_prompt(2, index, box(clip(FRAMES), 2, index))
    return session


def walked(session: VideoSession, start: int, heading: int = FORWARD, *, fresh: bool = False) -> Iterator[FrameResult]:
    for step in session.walk_from(start, heading, fresh=fresh):
        yield advance([step])[0]


def undisturbed() -> Logits:
    return by_object(new_session().propagate())


def look_at(*frame_indexes: int, heading: int = FORWARD) -> Callable[[VideoSession], None]:
    def look(session: VideoSession) -> None:
        for index in frame_indexes:
            session.segment_frame(index, heading)

    return look


DISTURBANCES: dict[str, Callable[[VideoSession], object]] = {
    "a look at the next frame": look_at(LEFT_OFF),
    "a look at the next frames": look_at(LEFT_OFF, LEFT_OFF + 1),
    "a look at a later frame": look_at(9),
    "looks at later frames": look_at(10, 8, LEFT_OFF),
    "a look back": look_at(2),
    "a look in the other direction": look_at(9, heading=BACKWARD),
    "a second pass": lambda session: list(session.propagate()),
    "the first frames of a second pass": lambda session: list(islice(session.propagate(), 3)),
    "a pass in the other direction": lambda session: list(session.propagate("backward")),
    "a walk from a later frame": lambda session: list(walked(session, 8)),
}


@pytest.mark.parametrize("rule", [RULE, None], ids=["with a history", "without"])
@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_a_walk_goes_on_with_what_it_remembered_whatever_came_between(
    disturbance: str, rule: HistoryRule | None
) -> None:
    session = new_session(rule)
    walk = session.propagate()
    found = by_object(islice(walk, LEFT_OFF))
    DISTURBANCES[disturbance](session)
    assert gap(found | by_object(walk), undisturbed()) == 0


def test_walks_that_take_turns_do_not_change_one_another() -> None:
    backward = by_object(new_session().propagate("backward"))
    session = new_session()
    first, second, third = session.propagate(), session.propagate("backward"), session.propagate()
    found: tuple[Logits, Logits, Logits] = {}, {}, {}
    next(third)
    for _ in range(FRAMES):
        for walk, logits in zip((first, second, third), found, strict=True):
            logits |= by_object(islice(walk, 1))
    assert gap(found[0], undisturbed()) == 0
    assert gap(found[1], backward) == 0
    assert gap(found[2], {key: undisturbed()[key] for key in found[2]}) == 0
    assert max(index for _, index in found[2]) == FRAMES - 1


def test_an_object_that_comes_back_under_its_id_remembers_nothing_of_the_one_before() -> None:
    sessions = new_session(), new_session()
    walks = [session.propagate() for session in sessions]
    for session, walk in zip(sessions, walks, strict=True):
        list(islice(walk, LEFT_OFF))
        if session is sessions[0]:
            session.segment_frame(9)
        session.remove_object(1)
        session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    found, expected = (by_object(walk) for walk in walks)
    assert gap(found, expected) == 0


@pytest.mark.parametrize("disturbance", sorted(DISTURBANCES.keys() - {"a pass in the other direction"}))
def test_a_walk_from_the_frame_where_the_last_one_ended_goes_on_with_its_memories(disturbance: str) -> None:
    session = new_session()
    found = by_object(islice(session.propagate(), LEFT_OFF))
    DISTURBANCES[disturbance](session)
    assert gap(found | by_object(walked(session, LEFT_OFF)), undisturbed()) == 0


def test_a_walk_goes_on_from_the_last_pass_and_not_from_the_one_that_came_farther() -> None:
    """The first pass came to all frames. A second one, with a correction, ends in the middle."""
    session = new_session()
    list(session.propagate())
    session.add_prompt(1, 3, box(clip(FRAMES), 2, 3))
    list(islice(session.propagate(), LEFT_OFF))
    undisturbed = copy.deepcopy(session)
    session.segment_frame(9)
    assert gap(by_object(walked(session, LEFT_OFF)), by_object(walked(undisturbed, LEFT_OFF))) == 0


def test_frames_belong_to_the_last_pass_over_them_and_the_other_direction_does_not_know_it() -> None:
    session, fresh = new_session(), new_session()
    list(islice(session.propagate(), LEFT_OFF))
    list(session.propagate("backward"))
    assert gap(by_object(walked(session, LEFT_OFF)), by_object(walked(fresh, LEFT_OFF)), [2]) == 0


def test_a_walk_that_is_resumed_goes_on_with_its_memories_after_a_look() -> None:
    session = new_session()
    found = by_object(islice(session.propagate(), LEFT_OFF))
    session.segment_frame(9)
    assert gap(found | by_object(session.propagate(resume=True)), undisturbed()) == 0


def test_a_walk_that_leaves_frames_out_remembers_those_before_them() -> None:
    """As in `sam2`: memories are looked for by the index of their frame."""
    skipping, afresh = new_session(), new_session()
    list(islice(skipping.propagate(), LEFT_OFF))
    found = by_object(walked(skipping, LEFT_OFF + 1))
    expected = undisturbed()
    assert gap(found, by_object(walked(afresh, LEFT_OFF + 1)), [1]) > 0
    bank = skipping.objects[1].bank
    assert min(bank.pointers) == 1, "the pointers of frames that the first walk tracked are still read"
    assert found.keys() == {key for key in expected if key[1] > LEFT_OFF}


def test_a_look_far_ahead_is_not_led_by_what_is_out_of_reach() -> None:
    drawn = clip(24)
    near, far = (VideoSession(small(), frames_of(drawn), history=RULE) for _ in range(2))
    for session in (near, far):
        session.add_prompt(1, 0, box(drawn, 1, 0))
    list(islice(near.propagate(), 4))
    assert gap(by_object([near.segment_frame(23)]), by_object([far.segment_frame(23)])) == 0


def test_walks_that_are_over_or_left_keep_nothing() -> None:
    session = new_session()
    walk = session.propagate()
    list(islice(walk, LEFT_OFF))
    session.segment_frame(9)
    assert len(session.state.open_walks) == 1
    assert session.state.open_walks[0].banks.keys() == {1, 2}
    assert not copy.deepcopy(session).state.open_walks
    walk.close()
    assert not session.state.open_walks
    list(session.propagate())
    assert not session.state.open_walks


@pytest.mark.parametrize("is_saved", [False, True])
def test_what_was_not_remembered_is_not_remembered_by_corrections_and_later_walks(is_saved: bool) -> None:
    """As a stream knows it, which keeps what each object remembers before its newest frame."""
    session = new_session()
    expected = by_object(session.segment_frame(index, remember=index != 4) for index in range(LEFT_OFF))
    session.segment_frame(LEFT_OFF, remember=False)
    if is_saved:
        session = VideoSession.from_bytes(session.to_bytes(), small(), session.frames)
    past = replay(session.state, session.objects.values(), LEFT_OFF - 1)
    for object_id in (1, 2):
        assert torch.equal(past[object_id].logits_BHW[0], expected[object_id, LEFT_OFF - 1])
        assert past[object_id].bank.tracked.keys() == set(range(1, LEFT_OFF - 1)) - {4}
    session.segment_frame(9)
    next(walked(session, LEFT_OFF + 1))
    assert session.objects[1].bank.pointers.keys() == {1, 2, 3, 5, 7}
