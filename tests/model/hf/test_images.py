"""Still images: one by one, in batches, with any number of prompts each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.clips import iou
from tests.support.sessions import OTHER_BATCH, box, center, clip, small_model, small_processor

IMAGES = [clip(4, 3, seed).frames_THW3[0] for seed in (0, 1)]


def boxes_of(seed: int) -> list[list[float]]:
    return [list(box(clip(4, 3, seed), object_id, 0).box_xyxy) for object_id in (1, 2, 3)]


def segment(images: Any, **prompts: Any) -> Any:
    return small_model().segment_images(**small_processor()(images=images, **prompts))


def test_images_with_different_numbers_of_prompts_are_segmented_together() -> None:
    point = [float(value) for value in center(clip(4, 3, 1), 2, 0)]
    points = [[[center(clip(4, 3, 0), o, 0)] for o in (1, 2, 3)], [[point, [63.0, 1.0]]]]
    labels = [[[1], [1], [1]], [[1, 0]]]
    encoded = small_processor()(images=IMAGES, input_points=points, input_labels=labels)
    outputs = small_model().segment_images(**encoded)
    assert [masks.shape[:2] for masks in outputs.pred_masks] == [(3, 1), (1, 1)]
    assert [scores.shape for scores in outputs.iou_scores] == [(3, 1), (1, 1)]
    assert all(bool((scores > 0).all()) for scores in outputs.object_score_logits)
    masks = small_processor().post_process_masks(outputs.pred_masks, encoded.original_sizes)
    assert [mask.shape for mask in masks] == [(3, 1, 48, 64), (1, 1, 48, 64)]


def test_drawn_objects_are_found_by_their_boxes() -> None:
    outputs = segment(IMAGES, input_boxes=[boxes_of(0), boxes_of(1)])
    masks = small_processor().post_process_masks(outputs.pred_masks, [[48, 64], [48, 64]])
    for seed in (0, 1):
        for row, object_id in enumerate((1, 2, 3)):
            assert iou(masks[seed][row, 0].numpy(), clip(4, 3, seed).mask(object_id, 0)) > 0.5


def test_an_object_does_not_depend_on_other_prompts_and_images() -> None:
    together = segment(IMAGES, input_boxes=[boxes_of(0), boxes_of(1)[:2]])
    for seed, count in ((0, 3), (1, 2)):
        for row in range(count):
            alone = segment(IMAGES[seed], input_boxes=[[boxes_of(seed)[row]]])
            assert float((alone.pred_masks[0][0] - together.pred_masks[seed][row]).abs().max()) < OTHER_BATCH


def test_an_image_is_segmented_as_a_video_of_one_frame() -> None:
    processor, model = small_processor(), small_model()
    outputs = segment(IMAGES[0], input_boxes=[boxes_of(0)])
    session = processor.init_video_session(video=IMAGES[0])
    processor.add_inputs_to_inference_session(session, 0, [1, 2, 3], input_boxes=[boxes_of(0)])
    masks = model(inference_session=session, frame_idx=0).pred_masks
    assert float((masks - outputs.pred_masks[0]).abs().max()) < OTHER_BATCH


def test_boxes_and_points_go_together() -> None:
    with_point = {"input_points": [[[[63.0, 1.0]]]], "input_labels": [[[0]]], "input_boxes": [boxes_of(0)[:1]]}
    both, alone = segment(IMAGES[0], **with_point), segment(IMAGES[0], input_boxes=[boxes_of(0)[:1]])
    assert not torch.equal(both.pred_masks[0], alone.pred_masks[0])


def test_points_without_labels_are_not_dropped_in_silence() -> None:
    encoded = small_processor()(images=IMAGES[0], input_points=[[[[1, 1]]]], input_labels=[[[0]]])
    for missing in ("input_points", "input_labels"):
        given = {name: value for name, value in encoded.items() if name != missing}
        with pytest.raises(ValueError, match="input_points and input_labels must be given together"):
            small_model().segment_images(**given)


def test_prompts_of_another_number_of_images_are_refused() -> None:
    prompts = {"input_points": [[[[1, 1]]]] * 2, "input_labels": [[[1]]] * 2}
    two = small_processor()(images=IMAGES, **prompts)
    one = small_processor()(images=IMAGES[0], input_points=[[[[1, 1]]]], input_labels=[[[1]]])
    with pytest.raises(ValueError, match="input_points: are of 2 images, pixel_values of 1"):
        small_model().segment_images(one.pixel_values, input_points=two.input_points, input_labels=two.input_labels)


def test_an_image_without_prompts_is_named() -> None:
    encoded = small_processor()(images=IMAGES, input_points=[[[[1, 1]]], [[[1, 1]]]], input_labels=[[[1]], [[1]]])
    encoded.input_labels[1] = -10
    with pytest.raises(ValueError, match="image 1: at least one of points and boxes must be given"):
        small_model().segment_images(**encoded)
    with pytest.raises(ValueError, match="image 0: at least one"):
        small_model().segment_images(encoded.pixel_values)
