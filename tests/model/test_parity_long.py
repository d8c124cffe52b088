"""Two objects over 24 frames, with the trunk of tiny and random weights, so that memories and pointers are evicted."""

from __future__ import annotations

from unittest import mock

import pytest

from tests.reference.cases import Case, Direction, FramesSpec, Outputs, Seed
from tests.reference.gaps import MAX_GAP, assert_worth_comparing, gaps
from tests.reference.trio import own_gaps, run_case, transformers_runner
from tests.reference.tuning import LONG_PROMPTS, long_case

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_two_objects_over_24_frames(direction: Direction) -> None:
    outputs = check(long_case("tiny", direction))
    assert len(outputs) == 2 * 24
    assert_worth_comparing(outputs)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_second_prompts_and_an_object_that_enters_later(direction: Direction) -> None:
    click, box = LONG_PROMPTS
    seeds = (Seed(0, 1, click), Seed(0, 7, box), Seed(1, 4, box))
    model = long_case("tiny", direction).model
    outputs = check(Case(model, FramesSpec(10, 256, num_images=10), seeds, direction))
    if direction == "forward":
        assert outputs.keys() == {*((0, frame) for frame in range(1, 10)), *((1, frame) for frame in range(4, 10))}
    else:
        assert outputs.keys() == {*((0, frame) for frame in range(8)), *((1, frame) for frame in range(5))}


def test_an_evicted_pointer_would_be_noticed() -> None:
    """The comparison could fail: with 17 pointers instead of 16, masks are off by more than it allows."""
    case = long_case("tiny", "forward")
    runner = transformers_runner(case.model, case.frames)
    outputs = {key: output for key, output in run_case(case).transformers.items() if key[0] == 0}
    with mock.patch.object(runner.network.config, "max_object_pointers_in_encoder", 17):
        more = runner.propagate(case.seeds[:1], "forward")
    assert gaps(more, outputs, case.seed_frames).tracked > 2 * MAX_GAP


def check(case: Case) -> Outputs:
    """Compares ours with both references; returns what `sam2` said."""
    trio = run_case(case)
    yardsticks = gaps(trio.transformers, trio.sam2, case.seed_frames), own_gaps(case, 1)
    gaps(trio.ours, trio.sam2, case.seed_frames).check(*yardsticks)
    gaps(trio.ours, trio.transformers, case.seed_frames).check(*yardsticks)
    return trio.sam2
