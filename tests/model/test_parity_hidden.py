"""A mask without pixels as a prompt, which says that an object is not visible on a frame: `sam2` takes it as ours does.

The weights are random ones of the tiny trunk, because `sam2` cannot run mini: it hard-codes the decoder.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.reference.cases import Box, Case, FramesSpec, GivenMask, Outputs, Seed
from tests.reference.gaps import gaps
from tests.reference.trio import ours_random, run_ours, sam2_process
from tests.reference.tuning import pinned_case

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIZE, HIDDEN = 256, 2
BOXES = (Box((140.0, 80.0, 220.0, 200.0)), Box((30.0, 60.0, 140.0, 190.0)))


def case_of(*hidden: Seed) -> Case:
    """Two boxes on the first of five frames, which all show one image."""
    case = pinned_case("tiny", "2.1")
    seeds = tuple(Seed(number, 0, box) for number, box in enumerate(BOXES))
    return replace(case, frames=FramesSpec(5, SIZE, num_images=1), seeds=(*seeds, *hidden))


@pytest.fixture(scope="module")
def case() -> Case:
    """The first object is said not to be visible on the third frame."""
    return case_of(Seed(0, HIDDEN, GivenMask(np.zeros((SIZE, SIZE), np.bool_))))


def ours(case: Case) -> Outputs:
    return run_ours(case, ours_random(case.model, case.dtype))


def test_scores_and_masks_on_a_hidden_frame_and_after_it_equal_those_of_sam2(case: Case) -> None:
    reference = sam2_process().propagate(case)
    run, without = ours(case), ours(case_of())
    gaps(run, reference.result(), case.seed_frames).check(case.bounds)
    hidden = reference.result()[0, HIDDEN].object_score
    assert hidden < 0
    assert run[0, HIDDEN].object_score == pytest.approx(hidden)

    # It has a say in what is seen later, so that the comparison is worth something, and none in the other object.
    changed = {key: abs(run[key].object_score - without[key].object_score) for key in without}
    assert sorted(frame for object_id, frame in changed if object_id == 0) == [0, 1, 2, 3, 4]
    assert min(changed[0, frame] for frame in (2, 3, 4)) > 10 * case.bounds.tracked
    assert max(changed[1, frame] for frame in range(5)) <= case.bounds.tracked
