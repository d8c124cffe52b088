"""Two objects over 24 frames, with the trunk of tiny and random weights, so that memories and pointers are evicted."""

from __future__ import annotations

import pytest

from tests.reference.cases import Case, Direction, FramesSpec, Outputs, Seed
from tests.reference.gaps import assert_worth_comparing, gaps
from tests.reference.trio import run_case
from tests.reference.tuning import LONG_PROMPTS, long_case, scaled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Half the side of the frames that trunks are compared on: which memories and pointers there are, and with what codes of
# time and place, does not depend on the size of the map. `make parity` compares long walks at full size.
SIZE = 128


def test_two_objects_over_24_frames() -> None:
    """Forward: the walks below, in float32 with fewer frames and in float64 with as many, go backward as well."""
    outputs = check(long_case("tiny", "forward", SIZE))
    assert len(outputs) == 2 * 24
    assert_worth_comparing(outputs)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_second_prompts_and_an_object_that_enters_later(direction: Direction) -> None:
    outputs = check(second_prompts(direction))
    if direction == "forward":
        assert outputs.keys() == {*((0, frame) for frame in range(1, 10)), *((1, frame) for frame in range(4, 10))}
    else:
        assert outputs.keys() == {*((0, frame) for frame in range(8)), *((1, frame) for frame in range(5))}


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_two_objects_over_24_frames_are_the_same_function(direction: Direction) -> None:
    outputs = check(long_case("tiny", direction, SIZE).exact)
    assert len(outputs) == 2 * 24
    assert_worth_comparing(outputs)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_second_prompts_are_the_same_function(direction: Direction) -> None:
    check(second_prompts(direction).exact)


def second_prompts(direction: Direction) -> Case:
    click, box = (scaled(prompt, SIZE / 256) for prompt in LONG_PROMPTS)
    seeds = (Seed(0, 1, click), Seed(0, 7, box), Seed(1, 4, box))
    model = long_case("tiny", direction, SIZE).model
    return Case(model, FramesSpec(10, SIZE, num_images=10), seeds, direction)


def check(case: Case) -> Outputs:
    """Compares ours with both references; returns what `sam2` said."""
    trio = run_case(case)
    for reference in (trio.sam2, trio.transformers):
        gaps(trio.ours, reference, case.seed_frames).check(case.bounds)
    return trio.sam2
