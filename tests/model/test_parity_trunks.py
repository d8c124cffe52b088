"""The four real trunks with random weights at image_size 256, against `sam2` and `transformers`, in float32."""

from __future__ import annotations

import dataclasses

import pytest

from tests.reference.cases import Case
from tests.reference.gaps import assert_worth_comparing, feature_gaps, gaps
from tests.reference.trio import run_case, run_features
from tests.reference.tuning import PINNED, pinned_case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=PINNED[256], ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    return pinned_case(*request.param)


def test_image_features_equal_both_references(case: Case) -> None:
    features = run_features(case.model, case.frames)
    assert max(feature_gaps(features.ours, features.sam2)) <= 1e-5
    assert max(feature_gaps(features.ours, features.transformers)) <= 1e-5


def test_click_box_clicks_and_mask_prompts_equal_both_references(case: Case) -> None:
    trio = run_case(case)
    assert_worth_comparing(trio.sam2)
    references = gaps(trio.transformers, trio.sam2, case.seed_frames)
    gaps(trio.ours, trio.sam2, case.seed_frames).check(references)
    gaps(trio.ours, trio.transformers, case.seed_frames).check(references)


def test_only_the_rounding_of_memory_keeps_them_apart() -> None:
    case = dataclasses.replace(pinned_case("tiny", "2.1"), float32_memory=True)
    trio = run_case(case)
    references = gaps(trio.transformers, trio.sam2, case.seed_frames)
    gaps(trio.ours, trio.sam2, case.seed_frames).check(references, float32_memory=True)
    gaps(trio.ours, trio.transformers, case.seed_frames).check(references, float32_memory=True)
