"""Two objects over 24 frames, with the trunk of tiny and random weights, so that memories and pointers are evicted."""

from __future__ import annotations

from unittest import mock

import pytest

from tests.reference.cases import Box, Case, Click, Direction, FramesSpec, Outputs, Seed
from tests.reference.gaps import MAX_GAP, assert_worth_comparing, gaps
from tests.reference.trio import run_case, transformers_runner
from tests.reference.tuning import pinned_model

IMAGE_SIZE = 256
MODEL = pinned_model("tiny", "2.1")
LONG = FramesSpec(num_frames=24, image_size=IMAGE_SIZE, num_images=10)
CLICK = Click(((190.0, 130.0),), (1,))
BOX = Box((30.0, 60.0, 140.0, 190.0))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("direction", "start"), [("forward", 0), ("backward", 23)])
def test_two_objects_over_24_frames(direction: Direction, start: int) -> None:
    case = Case(MODEL, LONG, (Seed(0, start, CLICK), Seed(1, start, BOX)), direction)
    outputs = check(case)
    assert len(outputs) == 2 * LONG.num_frames
    assert_worth_comparing(outputs)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_second_prompts_and_an_object_that_enters_later(direction: Direction) -> None:
    frames = FramesSpec(num_frames=12, image_size=IMAGE_SIZE)
    case = Case(MODEL, frames, (Seed(0, 1, CLICK), Seed(0, 9, BOX), Seed(1, 5, BOX)), direction)
    outputs = check(case)
    if direction == "forward":
        assert outputs.keys() == {*((0, frame) for frame in range(1, 12)), *((1, frame) for frame in range(5, 12))}
    else:
        assert outputs.keys() == {*((0, frame) for frame in range(10)), *((1, frame) for frame in range(6))}


def test_an_evicted_pointer_would_be_noticed() -> None:
    """The comparison could fail: with 17 pointers instead of 16, masks are off by more than it allows."""
    case = Case(MODEL, LONG, (Seed(0, 0, CLICK),))
    runner = transformers_runner(MODEL, LONG)
    outputs = runner.propagate(case.seeds, "forward")
    with mock.patch.object(runner.network.config, "max_object_pointers_in_encoder", 17):
        more = runner.propagate(case.seeds, "forward")
    assert gaps(more, outputs, case.seed_frames).tracked > 2 * MAX_GAP


def check(case: Case) -> Outputs:
    """Compares ours with both references; returns what `sam2` said."""
    trio = run_case(case)
    references = gaps(trio.transformers, trio.sam2, case.seed_frames)
    gaps(trio.ours, trio.sam2, case.seed_frames).check(references)
    gaps(trio.ours, trio.transformers, case.seed_frames).check(references)
    return trio.sam2
