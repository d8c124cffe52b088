"""Proposals on a frame of a session, whose features are computed once for both: a grid of clicks, or given boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.pixels.transforms import upsample_logits
from model.prompts import BoxPrompt
from model.proposals.choosing import Choice, settle, stability_of
from model.proposals.everything import UInt8Array, propose
from model.proposals.found import FoundMask
from model.proposals.grids import Crop
from model.proposals.options import Everything, Kept
from model.tracking.frames import Frame
from model.tracking.prompting import Query, segment_prompts
from model.tracking.session import VideoSession

# A box says itself what is an object, however small or unsure its mask is.
_AS_IT_IS = Kept(0.0, 0.0, min_area=1, max_area_share=1.0, min_region_area=0)


@torch.inference_mode()
def propose_on(
    session: VideoSession, frame: Frame, options: Everything, image_HW3: UInt8Array | None = None
) -> list[FoundMask]:
    """Masks of everything on a frame of the session's video, at the size of the video, the best first.

    A session that keeps features (`num_cached_frames` of 1) encodes the frame once for this and for its objects. Crops
    are cut from `image_HW3`, the frame at the size of the video: without it grids on crops raise `ValueError`.
    """
    network, features = session.model, session.state.features.of(frame)
    still = network.prepare_still((features.stride4, features.stride8, network.without_memory(features.stride16)))
    return propose(network, still, session.frames.size_hw, options, image_HW3)


@torch.inference_mode()
def boxed_on(session: VideoSession, frame: Frame, boxes: Sequence[BoxPrompt]) -> list[FoundMask | None]:
    """For each box its mask on a frame of the session's video, as a prompt there gives it; None for an empty one.

    The boxes must fit the video (`BoxPrompt.fit`).
    """
    network, size_hw = session.model, session.frames.size_hw
    whole = Crop(0, 0, size_hw[1], size_hw[0], 1)
    found: list[FoundMask | None] = []
    for start in range(0, len(boxes), network.objects_per_batch):
        group = boxes[start : start + network.objects_per_batch]
        features = session.state.features.of(frame).for_objects([0] * len(group))
        masks = segment_prompts(network, features, [Query(box, size_hw) for box in group])
        for row, box in enumerate(group):
            logits_HW = upsample_logits(masks.logits_BHW[row : row + 1], size_hw)
            center_xy = ((box.box_xyxy[0] + box.box_xyxy[2]) / 2, (box.box_xyxy[1] + box.box_xyxy[3]) / 2)
            stability = float(stability_of(logits_HW, _AS_IT_IS.stability_offset)[0])
            choice = Choice(logits_HW[0] > 0, float(masks.predicted_ious_B[row]), stability, center_xy)
            found.append(next(iter(settle(choice, whole, size_hw, _AS_IT_IS)), None))
    return found
