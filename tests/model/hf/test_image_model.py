"""The image model's calls beside what transformers' own image tests do: batches, shapes, what is refused.

Mini at a small size, whose masks matter less here than which of them are equal.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

from model.hf.image_config import Sam2Config
from model.hf.image_model import Sam2Model
from model.hf.image_processing import Sam2Processor
from tests.support.sessions import OTHER_BATCH, SMALL_SIZE, box, center, clip, small

IMAGES = [clip(4, 3, seed).frames_THW3[0] for seed in (0, 1)]
CLICKS = [[[list(center(clip(4, 3, seed), object_id, 0))] for object_id in (1, 2)] for seed in (0, 1)]
BOXES = [[list(box(clip(4, 3, seed), object_id, 0).box_xyxy) for object_id in (1, 2)] for seed in (0, 1)]


@functools.cache
def model() -> Sam2Model:
    config = Sam2Config.from_pretrained("mini")
    config.prompt_encoder_config.image_size = SMALL_SIZE
    made = Sam2Model(config)
    weights = made.state_dict()
    made.load_state_dict({name: tensor for name, tensor in small().state_dict().items() if name in weights})
    return made


def encoded(images: Any = None, **prompts: Any) -> Any:
    return Sam2Processor(target_size=SMALL_SIZE)(images=images, **prompts)


def segment(images: Any = None, *, multimask_output: bool = True, **prompts: Any) -> Any:
    return model()(**encoded(images, **prompts), multimask_output=multimask_output)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    assert first.shape == second.shape
    return float((first - second).abs().max()) < OTHER_BATCH


@pytest.mark.parametrize(("multimask_output", "num_masks"), [(True, 3), (False, 1)])
def test_outputs_have_a_level_for_images_objects_and_masks(multimask_output: bool, num_masks: int) -> None:
    output = segment(IMAGES, input_points=CLICKS, multimask_output=multimask_output)
    assert output.pred_masks.shape == (2, 2, num_masks, 16, 16)
    assert output.iou_scores.shape == (2, 2, num_masks)
    assert output.object_score_logits.shape == (2, 2, 1)
    assert [one.shape for one in output.image_embeddings] == [(2, 16, 16, 16), (2, 32, 8, 8), (2, 128, 4, 4)]
    assert list(output) == ["iou_scores", "pred_masks", "object_score_logits", "image_embeddings"]
    assert output[1] is output["pred_masks"] is output.pred_masks


def test_a_tuple_is_given_where_it_is_asked_for() -> None:
    inputs = encoded(IMAGES[0], input_points=CLICKS[:1])
    ious, masks, *_ = model()(**inputs, return_dict=False)
    assert torch.equal(masks, model()(**inputs).pred_masks)
    assert ious.shape == (1, 2, 3)


def test_an_object_does_not_depend_on_other_objects_and_images() -> None:
    together = segment(IMAGES, input_boxes=BOXES)
    for image in (0, 1):
        for row in (0, 1):
            alone = segment(IMAGES[image], input_boxes=[[BOXES[image][row]]])
            assert same(alone.pred_masks[0, 0], together.pred_masks[image, row])
            assert same(alone.iou_scores[0, 0], together.iou_scores[image, row])


def test_rows_that_only_fill_up_an_image_are_hidden() -> None:
    for prompts in ({"input_points": [CLICKS[0], CLICKS[1][:1]]}, {"input_boxes": [BOXES[0], BOXES[1][:1]]}):
        output = segment(IMAGES, **prompts)
        assert bool((output.pred_masks[1, 1] == -1024).all())
        assert bool((output.iou_scores[1, 1] == 0).all())
        assert float(output.object_score_logits[1, 1]) == -1024
        assert float(output.pred_masks[1, 0].min()) > -1024


def test_points_without_labels_are_on_their_objects() -> None:
    labeled = encoded(IMAGES[0], input_points=CLICKS[:1], input_labels=[[[1], [1]]])
    expected = model()(**labeled).pred_masks
    assert torch.equal(segment(IMAGES[0], input_points=CLICKS[:1]).pred_masks, expected)
    del labeled["input_labels"]
    assert torch.equal(model()(**labeled).pred_masks, expected)


def test_embeddings_of_images_stand_for_their_pixels() -> None:
    inputs = encoded(IMAGES, input_boxes=BOXES)
    expected = model()(**inputs)
    embeddings = model().get_image_embeddings(inputs.pop("pixel_values"))
    for given in (embeddings, tuple(embeddings), expected.image_embeddings):
        assert torch.equal(model()(**inputs, image_embeddings=given).pred_masks, expected.pred_masks)


def test_each_object_may_have_an_earlier_mask_or_all_of_an_image_share_one() -> None:
    inputs = encoded(IMAGES[0], input_points=CLICKS[:1])
    earlier = model()(**inputs, multimask_output=False).pred_masks[:, :, 0]
    own = model()(**inputs, input_masks=earlier).pred_masks
    shared = model()(**inputs, input_masks=earlier[:, :1]).pred_masks
    assert same(shared[:, 0], own[:, 0])
    assert not same(shared[:, 1], own[:, 1])
    assert torch.equal(model()(**inputs, input_masks=earlier[:, 0]).pred_masks, shared)
    alone = encoded(IMAGES[0], input_points=[CLICKS[0][1:]])
    assert same(model()(**alone, input_masks=earlier[:, 1:]).pred_masks[:, 0], own[:, 1])


def test_masks_alone_are_as_many_objects() -> None:
    pixels = encoded(IMAGES).pixel_values
    earlier = segment(IMAGES, input_points=CLICKS, multimask_output=False).pred_masks[:, :, 0]
    output = model()(pixel_values=pixels, input_masks=earlier)
    assert output.pred_masks.shape == (2, 2, 3, 16, 16)
    assert not same(output.pred_masks[:, 0], output.pred_masks[:, 1])
    assert model()(pixel_values=pixels).pred_masks.shape == (2, 1, 3, 16, 16)


def test_more_objects_than_one_batch_holds_are_all_segmented(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = segment(IMAGES, input_points=CLICKS)
    monkeypatch.setattr(type(model().network), "objects_per_batch", property(lambda _: 1))
    assert same(segment(IMAGES, input_points=CLICKS).pred_masks, expected.pred_masks)


@pytest.mark.slow
def test_a_model_in_16_bits_gives_logits_in_32() -> None:
    half = Sam2Model.from_pretrained("mini", dtype="bfloat16")
    inputs = Sam2Processor.from_pretrained("mini")(images=IMAGES[0], input_points=CLICKS[:1])
    output = half(**inputs.to(half.device, half.dtype))
    assert output.pred_masks.dtype == torch.float32
    assert output.image_embeddings[2].dtype == torch.bfloat16


GOOD = {"input_points": torch.ones(1, 1, 1, 2), "input_labels": torch.ones(1, 1, 1, dtype=torch.int64)}
MAPS = [torch.zeros(1, 16, 16, 16), torch.zeros(1, 32, 8, 8), torch.zeros(1, 128, 4, 4)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GOOD, "exactly one of pixel_values and image_embeddings"),
        ({"pixel_values": torch.zeros(1, 3, 8, 8)}, r"pixel_values: expected normalized images \[N, 3, 64, 64\], got"),
        ({"image_embeddings": MAPS[:2]}, "image_embeddings: expected what get_image_embeddings gives"),
        ({"image_embeddings": MAPS, "input_points": torch.ones(1, 1, 2)}, r"input_points: expected 4 dim.*\[1, 1, 2\]"),
        ({"image_embeddings": MAPS, **GOOD, "input_labels": torch.ones(1, 1, 2)}, r"one for each point, \[1, 1, 1\]"),
        ({"image_embeddings": MAPS, "input_labels": GOOD["input_labels"]}, "input_labels: need input_points"),
        (
            {"image_embeddings": MAPS, **GOOD, "input_labels": torch.full((1, 1, 1), 7)},
            "image 0, object 0: labels: .*7",
        ),
        ({"image_embeddings": MAPS, "input_boxes": torch.ones(2, 1, 4)}, "input_boxes: .* for 1 images"),
        ({"image_embeddings": MAPS, **GOOD, "input_boxes": torch.ones(1, 2, 4)}, "one for each of 1 objects, got 2"),
        ({"image_embeddings": MAPS, "input_boxes": torch.ones(1, 1, 4)}, "image 0, object 0: box: expected x0 < x1"),
        ({"image_embeddings": MAPS, "input_boxes": torch.full((1, 1, 4), -10.0)}, "image 0: at least one of points"),
        ({"image_embeddings": MAPS, "input_masks": torch.ones(2, 1, 16, 16)}, r"input_masks: expected \[1, objects"),
        ({"image_embeddings": MAPS, **GOOD, "input_masks": torch.ones(1, 2, 16, 16)}, "1 objects need one mask each"),
        ({"image_embeddings": MAPS, "output_attentions": True}, "output_attentions: is not supported"),
        ({"image_embeddings": MAPS, "target_embedding": torch.ones(1, 2)}, "target_embedding: is not supported"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model()(**given)


def test_an_argument_that_is_not_known_is_named() -> None:
    with pytest.raises(TypeError, match="input_mask is not known"):
        model()(image_embeddings=MAPS, **GOOD, input_mask=torch.ones(1, 1, 16, 16))


def test_a_processor_names_several_sizes() -> None:
    part = Sam2Processor(target_size=64).image_processor
    assert Sam2Processor(part).target_size == 64
    with pytest.raises(ValueError, match=r"several sizes, \[64, 128\]"):
        Sam2Processor(part, target_size=128)


def test_masks_are_enlarged_to_the_size_of_each_image() -> None:
    inputs = encoded([IMAGES[0], IMAGES[1][:40]], input_points=CLICKS)
    output = model()(**inputs)
    masks = Sam2Processor(target_size=SMALL_SIZE).post_process_masks(output.pred_masks, inputs["original_sizes"])
    assert [mask.shape for mask in masks] == [(2, 3, 48, 64), (2, 3, 40, 64)]
    best = int(output.iou_scores[0, 0].argmax())
    assert np.logical_and(masks[0][0, best].numpy(), clip(4, 3, 0).mask(1, 0)).any()
