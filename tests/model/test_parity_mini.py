"""Mini's trained weights on drawn clips, against `transformers` (`sam2` cannot run it: it hard-codes the decoder)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.reference.bounds import feature_bound
from tests.reference.cases import FloatArray, Outputs, normalized
from tests.reference.gaps import Gaps, feature_gaps, gaps, mask_iou
from tests.reference.mini import MINI_SIZE, mini_in
from tests.reference.mini_scenes import ON_EDGE, SCENES, Scene, bounds_of, our_mini, ours, theirs
from tests.reference.ours_runner import ours_features
from tests.reference.transformers_runner import TransformersRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

each_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.clip_name}-{scene.kinds}")


def check(run: Outputs, reference: Outputs, scene: Scene, dtype: torch.dtype) -> Gaps:
    measured = gaps(run, reference, scene.seed_frames)
    measured.check(bounds_of(scene, dtype))
    return measured


def test_image_features_equal_those_of_transformers() -> None:
    frames, network = Scene("drifting", "cb").clip.frames_THW3, our_mini(torch.float32)
    features = TransformersRunner(mini_in(torch.float32), normalized(frames)).image_features()
    assert max(feature_gaps(ours_features(network, frames), features)) <= feature_bound(network.config)


@each_scene
def test_the_function_is_that_of_transformers(scene: Scene) -> None:
    measured = check(ours(scene, our_mini(torch.float64)), theirs(scene, torch.float64), scene, torch.float64)
    assert measured.visible > measured.frames / 2


@each_scene
def test_masks_equal_those_of_transformers(scene: Scene) -> None:
    check(ours(scene, our_mini(torch.float32)), theirs(scene, torch.float32), scene, torch.float32)


@each_scene
def test_masks_in_bfloat16_equal_those_in_float32(scene: Scene) -> None:
    """Logits as near as 16 bits bring them; on these scenes that takes less than 3 % of the masks."""
    run, reference = ours(scene, our_mini(torch.bfloat16)), theirs(scene, torch.float32)
    check(run, reference, scene, torch.bfloat16)
    assert mask_iou(run, reference) >= 0.97


def test_trained_masks_are_worth_comparing() -> None:
    outputs = theirs(Scene("blanked", "cb"), torch.float32)
    seen = {key: output.object_score > 0 for key, output in outputs.items()}
    assert [seen[1, frame] for frame in range(10)] == [True] * 4 + [False] * 3 + [True] * 3
    assert all(0.02 < output.coverage < 0.98 for output in outputs.values() if output.object_score > 0)


def test_a_pixel_on_the_edge_of_a_seed_is_on_the_same_side_in_float64() -> None:
    """In float32 rounding decides whether it is in the mask that is remembered, and bounds allow for that."""
    outputs = ours(ON_EDGE, our_mini(torch.float64)), theirs(ON_EDGE, torch.float64)
    runs = [enlarged(one[3, 0].logits_HW) for one in outputs]
    on_edge = runs[0].abs() < 1e-5 * runs[0].std()
    assert on_edge.sum() == 1
    assert torch.equal(runs[0] > 0, runs[1] > 0)


def enlarged(logits_HW: FloatArray) -> torch.Tensor:
    """As for the memory."""
    logits_B1HW = torch.from_numpy(logits_HW)[None, None]
    return F.interpolate(logits_B1HW, size=(MINI_SIZE, MINI_SIZE), mode="bilinear", align_corners=False)
