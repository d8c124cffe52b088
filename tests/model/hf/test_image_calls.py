"""What transformers' own tests of its image model do, on ours and on `transformers` with mini's weights.

Where ours is meant to differ, the test says so and shows it (`docs/differences.md`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from model.hf.image_model import Sam2Model
from model.hf.image_processing import Sam2Processor
from model.hf.model import Sam2VideoModel
from model.weights.checkpoint import load_model
from model.weights.weight_files import WeightsError
from tests.reference.mini import box_of, click_on, mini_folder, square_clip

pytestmark = pytest.mark.slow

GAP = 1e-4
CLIPS = [square_clip(name, 2) for name in ("drifting", "turning")]
# The second one is not square, so that pictures, clicks and masks are resized.
IMAGES = [CLIPS[0].frames_THW3[0], CLIPS[1].frames_THW3[0][:200]]
CLICKS = [[list(click_on(one.masks_TBHW[0, row, :200])) for row in (0, 1)] for one in CLIPS]
BOXES = [[list(box_of(one.masks_TBHW[0, row, :200])) for row in (0, 1)] for one in CLIPS]
FIELDS = ("iou_scores", "pred_masks", "object_score_logits")


@functools.cache
def both() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Model and processor, ours and theirs."""
    theirs = transformers.Sam2Model.from_pretrained(mini_folder()).eval()
    return (
        (Sam2Model.from_pretrained("mini"), Sam2Processor.from_pretrained("mini")),
        (theirs, transformers.Sam2Processor.from_pretrained(mini_folder())),
    )


@torch.no_grad()
def outputs(images: Any, *, further: Any = None, **prompts: Any) -> list[Any]:
    """What both give; `further` are arguments of the model itself."""
    found = []
    for model, processor in both():
        inputs = processor(images=images, return_tensors="pt", **prompts)
        found.append(model(**inputs, **(further or {})))
    return found


def gap(ours: Any, theirs: Any) -> float:
    assert [ours[name].shape for name in FIELDS] == [theirs[name].shape for name in FIELDS]
    return max(float((ours[name] - theirs[name]).abs().max()) for name in FIELDS)


ONE = {"input_points": [[[CLICKS[0][0]]]], "input_labels": [[[1]]]}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "one click": (IMAGES[0], ONE),
    "a click that leaves several masks open": (IMAGES[1], {"input_points": [[[CLICKS[1][1]]]]}),
    "a click without a label": (IMAGES[0], {"input_points": [[[CLICKS[0][0]]]]}),
    "clicks on an object and beside it": (IMAGES[1], {"input_points": [[CLICKS[1]]], "input_labels": [[[1, 0]]]}),
    "two objects": (IMAGES[1], {"input_points": [[[one] for one in CLICKS[1]]], "input_labels": [[[1], [1]]]}),
    "two images": (IMAGES, {"input_points": [[[CLICKS[0][0]]], [[CLICKS[1][1]]]], "input_labels": [[[1]], [[1]]]}),
    "two objects of two images with two clicks each": (
        IMAGES,
        {
            "input_points": [[[a, b], [b, a]] for a, b in CLICKS],
            "input_labels": [[[1, 0], [1, 0]], [[1, 1], [1, 0]]],
        },
    ),
    "four boxes of two images": (IMAGES, {"input_boxes": [[a, b, b, a] for a, b in BOXES]}),
    "a box and a click": (IMAGES[0], {"input_boxes": [BOXES[0][:1]], **ONE}),
    "no prompt": (IMAGES, {}),
}


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_images_are_segmented_as_there(case: str, multimask_output: bool) -> None:
    images, prompts = CASES[case]
    ours, theirs = outputs(images, further={"multimask_output": multimask_output}, **prompts)
    assert gap(ours, theirs) < GAP
    assert list(ours) == list(theirs)


def test_a_single_mask_is_its_own_where_it_is_stable_and_else_the_best_of_three() -> None:
    """The cases above have both, and masks that differ."""
    images, prompts = CASES["two objects of two images with two clicks each"]
    three, one = (outputs(images, further={"multimask_output": many}, **prompts)[0] for many in (True, False))
    gaps = (three.pred_masks - one.pred_masks).abs().amax(dim=(3, 4)).flatten(0, 1)
    best = three.iou_scores.argmax(dim=2).flatten()
    is_best_of_three = [float(gaps[row, index]) == 0 for row, index in enumerate(best)]
    assert sorted(set(is_best_of_three)) == [False, True]
    assert int((gaps > 100 * GAP).sum()) == gaps.numel() - sum(is_best_of_three)


@pytest.mark.parametrize("side", [64, 128])
def test_a_mask_that_was_given_is_refined_with_the_embeddings_of_its_image(side: int) -> None:
    """The flow of most scripts. Masks of another size are resized in both."""
    first = outputs(IMAGES[1], input_points=[[[CLICKS[1][1]]]])
    refined = []
    for output, (model, processor) in zip(first, both(), strict=True):
        best = output.pred_masks[:, :, int(output.iou_scores.argmax())]
        earlier = torch.nn.functional.interpolate(best, size=(side, side), mode="bilinear")
        inputs = processor(
            original_sizes=[[200, 256]],
            input_points=[[CLICKS[1]]],
            input_labels=[[[0, 1]]],
            return_tensors="pt",
        )
        with torch.no_grad():
            refined.append(model(**inputs, input_masks=earlier, image_embeddings=output.image_embeddings))
    assert gap(*refined) < GAP
    assert gap(refined[0], outputs(IMAGES[1], input_points=[[CLICKS[1]]], input_labels=[[[0, 1]]])[0]) > 100 * GAP


def test_a_mask_is_a_prompt_by_itself() -> None:
    earlier = outputs(IMAGES, input_points=[[[CLICKS[0][0]]], [[CLICKS[1][1]]]])[1].pred_masks[:, :, 0]
    assert gap(*outputs(IMAGES, further={"input_masks": earlier})) < GAP


def test_embeddings_of_images_have_the_same_layout() -> None:
    pixels = both()[0][1](images=IMAGES).pixel_values
    ours, theirs = (model.get_image_embeddings(pixels) for model, _ in both())
    for mine, there in zip(ours, theirs, strict=True):
        assert mine.shape == there.shape
        assert float((mine - there).abs().max()) < GAP
    (mine, _), (there, _) = both()
    prompts = {name: both()[0][1](images=IMAGES, input_boxes=BOXES)[name] for name in ("input_boxes",)}
    with torch.no_grad():
        crossed = (
            mine(**prompts, image_embeddings=theirs),
            there(**prompts, image_embeddings=ours),
        )
    assert gap(*crossed) < GAP


def test_masks_are_enlarged_to_the_same_bits() -> None:
    (ours, theirs), (mine, there) = outputs(IMAGES, input_boxes=BOXES), (processor for _, processor in both())
    logits, sizes = theirs.pred_masks, [[256, 256], [200, 256]]
    for options in ({}, {"binarize": False}, {"mask_threshold": 1.5}):
        for a, b in zip(*(one.post_process_masks(logits, sizes, **options) for one in (mine, there)), strict=True):
            assert torch.equal(a, b)
    masks = mine.post_process_masks(ours.pred_masks, sizes)
    assert all(bool((masks[image][0].flatten(1).any(dim=1)).any()) for image in (0, 1))


def test_objects_with_different_numbers_of_clicks_are_what_they_are_alone() -> None:
    """Meant: there, points that only fill up the batch count. What each object gets alone is the same in both."""
    points, labels = [[CLICKS[0], [CLICKS[0][1]]]], [[[1, 0], [1]]]
    ours, theirs = outputs(IMAGES[0], input_points=points, input_labels=labels)
    assert float((ours.pred_masks[0, 0] - theirs.pred_masks[0, 0]).abs().max()) < GAP
    assert float((ours.pred_masks[0, 1] - theirs.pred_masks[0, 1]).abs().max()) > 100 * GAP
    alone = outputs(IMAGES[0], input_points=[[[CLICKS[0][1]]]], input_labels=[[[1]]])[1]
    assert float((ours.pred_masks[0, 1] - alone.pred_masks[0, 0]).abs().max()) < GAP


def test_images_may_have_different_numbers_of_objects() -> None:
    """Meant: there, the rows that only fill up an image are segmented, and boxes are refused."""
    points = [[[CLICKS[0][0]], [CLICKS[0][1]]], [[CLICKS[1][1]]]]
    ours, theirs = outputs(IMAGES, input_points=points, input_labels=[[[1], [1]], [[1]]])
    assert float((ours.pred_masks[0] - theirs.pred_masks[0]).abs().max()) < GAP
    assert bool((ours.pred_masks[1, 1] == -1024).all())
    assert float(theirs.pred_masks[1, 1].min()) > -1024
    (mine, there) = (processor for _, processor in both())
    boxes = [BOXES[0], BOXES[1][:1]]
    assert mine(images=IMAGES, input_boxes=boxes).input_boxes.shape == (2, 2, 4)
    with pytest.raises(ValueError, match="Please ensure all images have the same number of boxes"):
        there(images=IMAGES, input_boxes=boxes, return_tensors="pt")


def test_each_object_may_have_a_mask() -> None:
    """Meant: there, all objects of an image share one mask."""
    prompts = {"input_points": [[[one] for one in CLICKS[0]]], "input_labels": [[[1], [1]]]}
    earlier = outputs(IMAGES[0], **prompts)[1].pred_masks[:, :, 0]
    (mine, processor), (there, _) = both()
    inputs = processor(images=IMAGES[0], **prompts)
    own = mine(**inputs, input_masks=earlier)
    with pytest.raises(RuntimeError, match="channels"):
        there(**inputs, input_masks=earlier)
    alone = processor(images=IMAGES[0], input_points=[[[CLICKS[0][1]]]], input_labels=[[[1]]])
    with torch.no_grad():
        expected = there(**alone, input_masks=earlier[:, 1:])
    assert float((own.pred_masks[0, 1] - expected.pred_masks[0, 0]).abs().max()) < GAP


def test_arguments_that_are_not_known_are_refused() -> None:
    (mine, processor), (there, _) = both()
    inputs = processor(images=IMAGES[0], **ONE)
    with torch.no_grad():
        assert torch.equal(there(**inputs, input_mask=1).pred_masks, there(**inputs).pred_masks)
    with pytest.raises(TypeError, match="input_mask is not known"):
        mine(**inputs, input_mask=1)


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    weights, expected = one.state_dict(), other.state_dict()
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []


def test_image_models_go_both_ways(tmp_path: Path) -> None:
    """What either saves of a video model's weights is an image model, which both load with the same bits.

    Masks are compared within rounding: how a processor sums depends on where in memory the weights lie.
    """
    (mine, processor), (there, _) = both()
    inputs = processor(images=IMAGES[0], **ONE)
    mine.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    there.save_pretrained(tmp_path / "theirs")
    assert type(transformers.AutoProcessor.from_pretrained(tmp_path / "ours")) is transformers.Sam2Processor
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "ours").eval()
    assert type(loaded) is transformers.Sam2Model
    assert_same_weights(loaded, there)
    with torch.no_grad():
        assert gap(loaded(**inputs), there(**inputs)) < GAP
    again, info = Sam2Model.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert_same_weights(again, mine)
    assert gap(again(**inputs), mine(**inputs)) < GAP
    assert info["missing_keys"] == []
    assert not [name for name in again.state_dict() if name.startswith("memory_")]
    for load in (Sam2VideoModel.from_pretrained, load_model):
        with pytest.raises(WeightsError, match="of an image model without memory, which Sam2Model loads"):
            load(str(tmp_path / "theirs"))
