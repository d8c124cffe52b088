"""Everything but plain tracking on a GPU: masks and corrections, saved sessions, the documented calls, images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch

from model.hf.model import Sam2VideoModel
from model.network.sam2 import Sam2
from model.tracking.session import VideoSession
from tests.support.sessions import (
    OTHER_BATCH,
    Logits,
    box,
    by_object,
    click,
    clip,
    frames_of,
    gap,
    mask,
    small,
    small_model,
    small_processor,
)

# A GPU adds up in another order, and the difference grows on its way through the memories.
OTHER_DEVICE = 10 * OTHER_BATCH

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("gpu")]


def on_gpu() -> Sam2VideoModel:
    return Sam2VideoModel(small_model().config, copy.deepcopy(small())).to("cuda")


def corrected(model: Sam2) -> Logits:
    """A drawn mask and a box; a click in mid-walk; both directions; an object removed."""
    session = VideoSession(model, frames_of(clip()))
    session.add_prompt(1, 3, mask(clip(), 1, 3))
    session.add_prompt(2, 3, box(clip(), 2, 3))
    session.add_prompt(3, 4, box(clip(), 2, 4))
    list(islice(session.propagate("forward"), 3))
    session.remove_object(3)
    session.add_prompt(2, 5, click(clip(), 2, 5))
    return by_object(session.propagate("both"))


def saved_and_restored(model: Sam2) -> Logits:
    """A session that is saved in mid-walk, its state on the host, and goes on in another."""
    session = VideoSession(model, frames_of(clip()), state_device="cpu")
    session.add_prompt(1, 0, box(clip(), 1, 0))
    before = list(islice(session.propagate("forward"), 4))
    again = VideoSession.from_bytes(session.to_bytes(), model, frames_of(clip()))
    return by_object([*before, *again.propagate("forward", resume=True)])


def streamed(model: Sam2) -> Logits:
    """Frames that come one by one through the documented calls, with an object that is added late."""
    documented = Sam2VideoModel(small_model().config, model)
    processor = small_processor()
    session = processor.init_video_session(inference_device=model.device)
    logits: Logits = {}
    for index, picture in enumerate(clip().frames_THW3):
        inputs = processor(images=picture, device=model.device, return_tensors="pt")
        for object_id in (1, 2) if index == 0 else (3,) if index == 4 else ():
            boxes = [[list(box(clip(), min(object_id, 2), index).box_xyxy)]]
            size = inputs.original_sizes[0]
            processor.add_inputs_to_inference_session(session, index, object_id, input_boxes=boxes, original_size=size)
        output = documented(inference_session=session, frame=inputs.pixel_values[0])
        masks = processor.post_process_masks([output.pred_masks], [[48, 64]], binarize=False)[0]
        logits |= {(object_id, index): one for object_id, one in zip(output.object_ids, masks, strict=True)}
    return logits


@pytest.mark.parametrize("use", [corrected, saved_and_restored, streamed])
def test_a_gpu_gives_the_masks_of_a_cpu(use: Callable[[Sam2], Logits]) -> None:
    expected = use(small())
    found = use(on_gpu().network)
    assert gap({key: one.cpu() for key, one in found.items()}, expected) < OTHER_DEVICE


def segment(model: Sam2VideoModel, **options: Any) -> list[torch.Tensor]:
    """Pictures of two sizes with one and two boxes."""
    pictures = [clip().frames_THW3[0], clip().frames_THW3[4][:40]]
    boxes = [[list(box(clip(), 1, 0).box_xyxy)], [[4.0, 4.0, 20.0, 20.0], [30.0, 10.0, 60.0, 38.0]]]
    inputs = small_processor()(images=pictures, input_boxes=boxes, **options)
    masks: list[torch.Tensor] = model.segment_images(**inputs).pred_masks
    return masks


def test_a_gpu_segments_images_as_a_cpu() -> None:
    for found, expected in zip(segment(on_gpu(), device="cuda"), segment(small_model()), strict=True):
        assert float((found.cpu() - expected).abs().max()) < OTHER_DEVICE
