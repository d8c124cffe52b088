"""Properties of sessions, over seeds that hypothesis makes up: with mini's weights at a quarter of its size."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from model.tracking.frames import ArrayFrames
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from model.tracking.walk import DIRECTIONS
from tests.support.sessions import LAST_BITS, Logits, by_object, clip, gap, mask, same_bits, small, small_exact

pytestmark = pytest.mark.slow

FRAMES = 5
HEIGHT, WIDTH = 48, 64
Seed = tuple[int, int, Prompt]

few_examples = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,  # so that a failure comes back
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)


@functools.cache
def truth(object_id: int, frame_index: int) -> MaskPrompt:
    return mask(clip(FRAMES), object_id, frame_index)


coordinates = st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT))
points = st.lists(st.tuples(coordinates, st.sampled_from((0, 1))), min_size=1, max_size=3)


@st.composite
def click_prompts(draw: st.DrawFn) -> PointPrompt:
    clicks = draw(points)
    return PointPrompt(tuple(xy for xy, _ in clicks), tuple(label for _, label in clicks))


@st.composite
def box_prompts(draw: st.DrawFn) -> BoxPrompt:
    x0, y0 = draw(st.integers(0, WIDTH - 8)), draw(st.integers(0, HEIGHT - 8))
    return BoxPrompt((x0, y0, draw(st.integers(x0 + 4, WIDTH)), draw(st.integers(y0 + 4, HEIGHT))))


@st.composite
def seed_lists(draw: st.DrawFn, max_objects: int = 3) -> list[Seed]:
    """Prompts of up to three objects, each on one or two frames."""
    seeds: list[Seed] = []
    for object_id in range(1, draw(st.integers(1, max_objects)) + 1):
        for frame_index in draw(st.sets(st.integers(0, FRAMES - 1), min_size=1, max_size=2)):
            masks = st.just(truth(1 + object_id % 2, frame_index))
            seeds.append((object_id, frame_index, draw(st.one_of(click_prompts(), box_prompts(), masks))))
    return seeds


def new_session(
    seeds: Sequence[Seed], *, exact: bool = False, is_reversed: bool = False, history: HistoryRule | None = None
) -> VideoSession:
    frames, network = clip(FRAMES).frames_THW3, small_exact() if exact else small()
    session = VideoSession(network, ArrayFrames(frames[::-1].copy() if is_reversed else frames), history=history)
    for object_id, frame_index, prompt in seeds:
        session.add_prompt(object_id, FRAMES - 1 - frame_index if is_reversed else frame_index, prompt)
    return session


@few_examples
@given(seeds=seed_lists(), data=st.data(), direction=st.sampled_from(DIRECTIONS))
def test_any_order_of_adding_the_same_seeds_gives_the_same_masks(
    seeds: list[Seed], data: st.DataObject, direction: str
) -> None:
    shuffled = data.draw(st.permutations(seeds))
    expected = by_object(new_session(seeds, exact=True).propagate(direction))
    assert gap(by_object(new_session(shuffled, exact=True).propagate(direction)), expected) < LAST_BITS


@few_examples
@given(seeds=seed_lists(max_objects=1), data=st.data(), direction=st.sampled_from(DIRECTIONS))
def test_any_order_gives_the_same_bits_for_one_object(seeds: list[Seed], data: st.DataObject, direction: str) -> None:
    shuffled = data.draw(st.permutations(seeds))
    assert same_bits(new_session(shuffled).propagate(direction), new_session(seeds).propagate(direction))


@few_examples
@given(seeds=seed_lists(), direction=st.sampled_from(["forward", "backward"]))
def test_reversing_the_clip_and_the_direction_gives_the_same_masks(seeds: list[Seed], direction: str) -> None:
    other = "backward" if direction == "forward" else "forward"
    turned = by_object(new_session(seeds, exact=True, is_reversed=True).propagate(other))
    mirrored: Logits = {
        (object_id, FRAMES - 1 - frame_index): logits for (object_id, frame_index), logits in turned.items()
    }
    assert gap(by_object(new_session(seeds, exact=True).propagate(direction)), mirrored) < LAST_BITS


@few_examples
@given(seeds=seed_lists(), guest=seed_lists(max_objects=1), direction=st.sampled_from(DIRECTIONS), walks=st.booleans())
def test_adding_and_removing_an_object_leaves_no_trace(
    seeds: list[Seed], guest: list[Seed], direction: str, walks: bool
) -> None:
    session, alone = new_session(seeds, exact=True), new_session(seeds, exact=True)
    for _, frame_index, prompt in guest:
        session.add_prompt(99, frame_index, prompt)
    if walks:
        list(session.propagate("both"))
    session.remove_object(99)
    assert gap(by_object(session.propagate(direction)), by_object(alone.propagate(direction))) < LAST_BITS


@few_examples
@given(seeds=seed_lists(), direction=st.sampled_from(DIRECTIONS), data=st.data(), keeps_history=st.booleans())
def test_saving_and_restoring_at_any_frame_continues_bit_for_bit(
    seeds: list[Seed], direction: str, data: st.DataObject, keeps_history: bool
) -> None:
    history = HistoryRule(2) if keeps_history else None
    whole = list(new_session(seeds, history=history).propagate(direction))
    session = new_session(seeds, history=history)
    walk = session.propagate(direction)
    done = data.draw(st.integers(1, len(whole)))
    for _ in range(done):
        next(walk)
    restored = VideoSession.from_bytes(session.to_bytes(), small(), ArrayFrames(clip(FRAMES).frames_THW3))
    assert same_bits(restored.propagate(direction, resume=True), whole[done:])


@few_examples
@given(seeds=seed_lists(), direction=st.sampled_from(DIRECTIONS))
def test_every_object_comes_once_for_each_frame_that_it_covers(seeds: list[Seed], direction: str) -> None:
    logits = by_object(new_session(seeds).propagate(direction))
    for object_id in {object_id for object_id, _, _ in seeds}:
        prompted = [frame_index for one, frame_index, _ in seeds if one == object_id]
        expected = {
            "forward": set(range(min(prompted), FRAMES)),
            "backward": set(range(max(prompted) + 1)),
            "both": set(range(FRAMES)),
        }[direction]
        assert {index for one, index in logits if one == object_id} == expected
        assert all(np.isfinite(values.numpy()).all() for values in logits.values())
