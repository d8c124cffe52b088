"""The four real trunks with random weights at image_size 256, against `sam2` and `transformers`."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.reference.bounds import feature_bound
from tests.reference.cases import Case, FramesSpec
from tests.reference.gaps import Gaps, assert_worth_comparing, feature_gaps, gaps
from tests.reference.trio import run_case, run_features
from tests.reference.tuning import PINNED, pinned_case

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


# Networks are built once for a trunk and a format: tests of one trunk run one after the other, those in float32 first.
@pytest.fixture(scope="module", params=PINNED[256], ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    return pinned_case(*request.param)


def test_only_the_rounding_of_memory_keeps_tracked_frames_further_apart() -> None:
    """Memories in float32: then tracked frames, too, are off by no more than roundings of float32."""
    rounded = pinned_case("tiny", "2.1")
    case = dataclasses.replace(rounded, memory_dtype=torch.float32)
    check(case)
    assert case.bounds.tracked < rounded.bounds.tracked / 20


def test_image_features_equal_both_references(case: Case) -> None:
    features = run_features(case.model, case.frames, case.dtype)
    for reference in (features.sam2, features.transformers):
        assert max(feature_gaps(features.ours, reference)) <= feature_bound(case.model.config)


@pytest.mark.parametrize("case", [("tiny", "2.1"), ("tiny", "2.0")], ids="-".join, indirect=True)
def test_click_box_clicks_and_mask_prompts_equal_both_references(case: Case) -> None:
    """Behind a trunk, what rounds is the same for all of them: larger ones are walked in float64 alone."""
    assert_worth_comparing(run_case(case).sam2)
    check(case)


def test_the_function_is_the_same(case: Case) -> None:
    """A prompted frame and a tracked one: of further frames only memories know, and these have walks of their own.

    Both show one image, which each trunk encodes once; in float64 that is half of the time.
    """
    measured = check(dataclasses.replace(case.exact, frames=FramesSpec(2, case.frames.image_size, num_images=1)))
    assert all(gap.visible > len(case.seeds) for gap in measured), "no object is seen on the tracked frame"


def check(case: Case) -> list[Gaps]:
    """Compares ours with both references."""
    trio = run_case(case)
    measured = [gaps(trio.ours, reference, case.seed_frames) for reference in (trio.sam2, trio.transformers)]
    for one in measured:
        one.check(case.bounds)
    return measured
