"""Mini's trained weights on drawn clips, against `transformers` (`sam2` cannot run it: it hard-codes the decoder)."""

from __future__ import annotations

import functools

import pytest
import torch

from model.checkpoint import load_model
from model.sam2 import Sam2
from tests.reference.cases import Box, Click, Direction, GivenMask, Outputs, Seed, normalized
from tests.reference.gaps import MAX_GAP, feature_gaps, gaps, mask_iou
from tests.reference.mini import box_of, click_on, mini_transformers, square_clip
from tests.reference.ours_runner import ours_features, ours_outputs
from tests.reference.transformers_runner import TransformersRunner

FRAMES = 10

pytestmark = pytest.mark.slow


@functools.cache
def ours(dtype: torch.dtype = torch.float32) -> Sam2:
    return load_model("mini", dtype=dtype)


@functools.cache
def transformers(clip_name: str) -> TransformersRunner:
    return TransformersRunner(mini_transformers(), normalized(square_clip(clip_name, FRAMES).frames_THW3))


def seeds(clip_name: str, kinds: str, *, frame: int | None = None) -> tuple[Seed, ...]:
    """One prompt for each object, where it is first seen or on `frame`; kinds: c click, b box, x both, m mask."""
    clip = square_clip(clip_name, FRAMES)
    found = []
    for object_id, kind in zip(clip.object_ids, kinds, strict=True):
        index = clip.first_visible(object_id) if frame is None else frame
        mask = clip.mask(object_id, index)
        click, box = click_on(mask), box_of(mask)
        prompt = {
            "c": Click((click,), (1,)),
            "b": Box(box),
            "x": Box(box, (click, (2.0, 3.0)), (1, 0)),
            "m": GivenMask(mask),
        }[kind]
        found.append(Seed(object_id, index, prompt))
    return tuple(found)


@functools.cache
def expected(clip_name: str, kinds: str, direction: Direction, frame: int | None) -> Outputs:
    """What `transformers` says in float32."""
    return transformers(clip_name).propagate(seeds(clip_name, kinds, frame=frame), direction)


def keys(prompts: tuple[Seed, ...]) -> set[tuple[int, int]]:
    return {(seed.object_id, seed.frame_index) for seed in prompts}


def test_image_features_equal_those_of_transformers() -> None:
    frames = square_clip("drifting", FRAMES).frames_THW3
    assert max(feature_gaps(ours_features(ours(), frames), transformers("drifting").image_features())) <= 1e-5


CASES = [
    ("drifting", "cb", "forward", None),
    ("turning", "xm", "forward", None),
    ("hiding", "bb", "forward", None),
    ("entering", "bc", "forward", None),
    ("crossing", "mcb", "backward", FRAMES - 1),
    ("blanked", "cb", "forward", None),
]


@pytest.mark.parametrize(("clip_name", "kinds", "direction", "frame"), CASES)
def test_masks_equal_those_of_transformers(clip_name: str, kinds: str, direction: Direction, frame: int | None) -> None:
    prompts = seeds(clip_name, kinds, frame=frame)
    actual = ours_outputs(ours(), square_clip(clip_name, FRAMES).frames_THW3, prompts, direction)
    difference = gaps(actual, expected(clip_name, kinds, direction, frame), keys(prompts))
    assert max(difference.seeds, difference.tracked) <= MAX_GAP, difference
    assert difference.visible > difference.frames / 2


def test_trained_masks_are_worth_comparing() -> None:
    outputs = expected("blanked", "cb", "forward", None)
    seen = {key: output.object_score > 0 for key, output in outputs.items()}
    assert [seen[1, frame] for frame in range(FRAMES)] == [True] * 4 + [False] * 3 + [True] * 3
    assert all(0.02 < output.coverage < 0.98 for output in outputs.values() if output.object_score > 0)


@pytest.mark.parametrize(("clip_name", "kinds", "direction", "frame"), CASES)
def test_masks_in_bfloat16_equal_those_in_float32(
    clip_name: str, kinds: str, direction: Direction, frame: int | None
) -> None:
    prompts = seeds(clip_name, kinds, frame=frame)
    actual = ours_outputs(ours(torch.bfloat16), square_clip(clip_name, FRAMES).frames_THW3, prompts, direction)
    assert mask_iou(actual, expected(clip_name, kinds, direction, frame)) >= 0.99
