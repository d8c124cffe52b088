"""Mini's trained weights on drawn clips, against `transformers` (`sam2` cannot run it: it hard-codes the decoder)."""

from __future__ import annotations

import copy
import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import Sam2VideoModel

from model.network.sam2 import Sam2
from model.pixels.transforms import upsample_logits
from model.weights.checkpoint import load_model
from pipeline.demo.clips import Clip
from tests.reference.cases import Box, Click, Direction, GivenMask, Outputs, Seed, normalized
from tests.reference.gaps import MAX_GAP, TIMES, feature_gaps, gaps, mask_iou, widest
from tests.reference.mini import MINI_SIZE, box_of, click_on, cut_clip, mini_transformers, square_clip
from tests.reference.ours_runner import ours_features, ours_outputs
from tests.reference.rounding import OtherOrder
from tests.reference.transformers_runner import TransformersRunner
from tests.support.clips import first_visible

FRAMES = 10

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Scene:
    """A drawn clip and one prompt for each object, where it is first seen or on `frame`.

    `kinds`, a letter for each object: c click, b box, x box with clicks, m mask.
    """

    clip_name: str
    kinds: str
    direction: Direction = "forward"
    frame: int | None = None

    @property
    def clip(self) -> Clip:
        return cut_clip(FRAMES) if self.clip_name == "cut" else square_clip(self.clip_name, FRAMES)

    @property
    def seeds(self) -> tuple[Seed, ...]:
        found = []
        for object_id, kind in zip(self.clip.object_ids, self.kinds, strict=True):
            index = first_visible(self.clip, object_id) if self.frame is None else self.frame
            mask = self.clip.mask(object_id, index)
            click, box = click_on(mask), box_of(mask)
            prompt = {
                "c": Click((click,), (1,)),
                "b": Box(box),
                "x": Box(box, (click, (2.0, 3.0)), (1, 0)),
                "m": GivenMask(mask),
            }[kind]
            found.append(Seed(object_id, index, prompt))
        return tuple(found)

    @property
    def seed_frames(self) -> set[tuple[int, int]]:
        return {(seed.object_id, seed.frame_index) for seed in self.seeds}


SCENES = [
    Scene("drifting", "cb"),
    Scene("turning", "xm"),
    Scene("hiding", "bb"),
    Scene("leaving", "xb"),
    Scene("entering", "bc"),
    Scene("crossing", "mcb", "backward", FRAMES - 1),
    Scene("blanked", "cb"),
]
CUT = Scene("cut", "cb")
each_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.clip_name)


@functools.cache
def our_network(dtype: torch.dtype = torch.float32) -> Sam2:
    return load_model("mini", dtype=dtype)


@functools.cache
def their_network(dtype: torch.dtype = torch.float32) -> Sam2VideoModel:
    return mini_transformers() if dtype == torch.float32 else copy.deepcopy(mini_transformers()).to(dtype)


def ours(scene: Scene, dtype: torch.dtype = torch.float32) -> Outputs:
    return ours_outputs(our_network(dtype), scene.clip.frames_THW3, scene.seeds, scene.direction)


def theirs(scene: Scene, dtype: torch.dtype = torch.float32, *, order: int | None = None) -> Outputs:
    """What `transformers` says; with its sums in another order, if a number for it is given."""
    runner = TransformersRunner(their_network(dtype), normalized(scene.clip.frames_THW3).to(dtype))
    if order is None:
        return runner.propagate(scene.seeds, scene.direction)
    with OtherOrder(order):
        return runner.propagate(scene.seeds, scene.direction)


@functools.cache
def expected(scene: Scene) -> Outputs:
    """What `transformers` says in float32."""
    return theirs(scene)


def test_image_features_equal_those_of_transformers() -> None:
    frames = square_clip("drifting", FRAMES).frames_THW3
    runner = TransformersRunner(their_network(), normalized(frames))
    features = runner.image_features()
    with OtherOrder(1):
        other = TransformersRunner(their_network(), normalized(frames)).image_features()
    measured, own = feature_gaps(ours_features(our_network(), frames), features), feature_gaps(other, features)
    assert all(gap <= TIMES * most for gap, most in zip(measured, own, strict=True)), (measured, own)


@each_scene
def test_masks_equal_those_of_transformers(scene: Scene) -> None:
    """As near as `transformers` is to itself with its sums in other orders."""
    measured = gaps(ours(scene), expected(scene), scene.seed_frames)
    own = [gaps(theirs(scene, order=order), expected(scene), scene.seed_frames) for order in (1, 2)]
    measured.check(*own)
    assert measured.visible > measured.frames / 2


def test_after_a_hard_cut_masks_differ_by_what_rounding_makes_of_them() -> None:
    """Right after a cut the memories do not fit the picture, and differences of rounding grow a thousandfold: some
    orders of its sums take `transformers` further from itself than a thousandth, and others do not.
    """
    run = ours(CUT)
    measured = gaps(run, expected(CUT), CUT.seed_frames)
    own = widest(*(gaps(theirs(CUT, order=order), expected(CUT), CUT.seed_frames) for order in (1, 2, 3)))
    assert measured.seeds <= TIMES * own.seeds, (measured, own)
    assert measured.tracked <= max(MAX_GAP, TIMES * own.tracked), (measured, own)
    assert mask_iou(run, expected(CUT)) >= 0.999


def test_trained_masks_are_worth_comparing() -> None:
    outputs = expected(Scene("blanked", "cb"))
    seen = {key: output.object_score > 0 for key, output in outputs.items()}
    assert [seen[1, frame] for frame in range(FRAMES)] == [True] * 4 + [False] * 3 + [True] * 3
    assert all(0.02 < output.coverage < 0.98 for output in outputs.values() if output.object_score > 0)


def test_a_pixel_on_the_edge_of_a_seed_can_go_either_way() -> None:
    """Why one scene is further from `transformers` than a thousandth: by as much as `transformers` from itself.

    The memory of a prompted frame is made of its mask cut at 0. Here the enlarged logits of object 3 have one pixel
    that is 0 but for rounding: runs in which it falls on the same side agree, and the others do not, whoever ran them.
    """
    scene, key = Scene("crossing", "ccc"), (3, 0)
    runs = [expected(scene), ours(scene), *(theirs(scene, order=order) for order in (1, 2))]
    logits = [enlarged(run[key].logits_HW) for run in runs]
    on_edge = np.abs(logits[0]) < 1e-5 * logits[0].std()
    assert on_edge.sum() == 1
    assert all(np.array_equal(one[~on_edge] > 0, logits[0][~on_edge] > 0) for one in logits)
    sides = [bool(one[on_edge] > 0) for one in logits]
    for (first, side), (second, other_side) in itertools.combinations(zip(runs, sides, strict=True), 2):
        measured = gaps(first, second, scene.seed_frames)
        assert (measured.tracked <= MAX_GAP) == (side == other_side), (measured, sides)
        assert measured.tracked <= TIMES * MAX_GAP
    without = {one: run for one, run in expected(scene).items() if one[0] != key[0]}
    others = {one: run for one, run in runs[1].items() if one[0] != key[0]}
    assert gaps(others, without, scene.seed_frames).tracked <= MAX_GAP


def enlarged(logits_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    logits_BHW = upsample_logits(torch.from_numpy(logits_HW)[None], (MINI_SIZE, MINI_SIZE))
    return np.asarray(logits_BHW[0])


@pytest.mark.parametrize("scene", [*SCENES, CUT], ids=lambda scene: scene.clip_name)
def test_masks_in_bfloat16_equal_those_in_float32(scene: Scene) -> None:
    """IoU at least 0.99; or, where an object is so small that `transformers` in bfloat16 misses that, too, near it."""
    lost = 1 - mask_iou(ours(scene, torch.bfloat16), expected(scene))
    if lost > 0.01:
        lost_by_them = 1 - mask_iou(theirs(scene, torch.bfloat16), expected(scene))
        assert lost <= TIMES * lost_by_them
