"""The four real trunks with random weights at image_size 256, against `sam2` and `transformers`, in float32."""

from __future__ import annotations

import dataclasses

import pytest

from tests.reference.cases import Case
from tests.reference.gaps import MAX_GAP, TIMES, assert_worth_comparing, feature_gaps, gaps
from tests.reference.trio import ours_with_products_of_the_references, own_gaps, run_case, run_features
from tests.reference.tuning import PINNED, pinned_case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=PINNED[256], ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    return pinned_case(*request.param)


def test_image_features_equal_both_references(case: Case) -> None:
    """Both references give the same bits, as they call the same products in the same order: rounding is the measure."""
    features = run_features(case.model, case.frames)
    allowed = [TIMES * gap for gap in feature_gaps(features.other_order, features.transformers)]
    for reference in (features.sam2, features.transformers):
        measured = feature_gaps(features.ours, reference)
        assert all(gap <= most for gap, most in zip(measured, allowed, strict=True)), (measured, allowed)
    assert max(allowed) < MAX_GAP


def test_click_box_clicks_and_mask_prompts_equal_both_references(case: Case) -> None:
    trio = run_case(case)
    assert_worth_comparing(trio.sam2)
    yardsticks = gaps(trio.transformers, trio.sam2, case.seed_frames), own_gaps(case)
    gaps(trio.ours, trio.sam2, case.seed_frames).check(*yardsticks)
    gaps(trio.ours, trio.transformers, case.seed_frames).check(*yardsticks)


def test_prompted_frames_are_as_near_as_the_references_to_each_other(case: Case) -> None:
    """To the letter, where ours calls the products that the references call: no other yardstick, no floor."""
    trio, plain = run_case(case), ours_with_products_of_the_references(case)
    references = gaps(trio.transformers, trio.sam2, case.seed_frames)
    for reference in (trio.sam2, trio.transformers):
        assert gaps(plain, reference, case.seed_frames).seeds <= TIMES * references.seeds


@pytest.fixture(scope="module")
def float32_case() -> Case:
    return dataclasses.replace(pinned_case("tiny", "2.1"), float32_memory=True)


def test_only_the_rounding_of_memory_keeps_tracked_frames_further_apart(float32_case: Case) -> None:
    """Memories in float32: then tracked frames, too, are as near as the references to each other, to the letter."""
    case, trio = float32_case, run_case(float32_case)
    references = gaps(trio.transformers, trio.sam2, case.seed_frames)
    plain = ours_with_products_of_the_references(case)
    for reference in (trio.sam2, trio.transformers):
        gaps(plain, reference, case.seed_frames).check(references)
        gaps(trio.ours, reference, case.seed_frames).check(references, own_gaps(case, 1))
    rounded = run_case(dataclasses.replace(case, float32_memory=False))
    assert gaps(rounded.transformers, rounded.sam2, case.seed_frames).tracked > 5 * references.tracked
